"""On the lent machine: python scripts/dev/lease/unpack.py CLIPS.tar.xz runs writes folders of jpg.

All of them or none: they appear in the folder when the last frame is written.
"""

import argparse
import lzma
import os
import shutil
import sys
import tarfile
import tempfile
from multiprocessing.pool import ThreadPool
from pathlib import Path

import cv2

from cotracker.data.kubric.layout import read_tracks


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 and one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packed", type=Path, metavar="CLIPS.tar.xz")
    parser.add_argument("out", type=Path, metavar="FOLDER")
    arguments = parser.parse_args(argv)
    packed, out = arguments.packed, arguments.out
    try:
        if not packed.is_file():
            raise ValueError(f"{packed} is no file: make it with scripts/dev/lease/pack.py")
        counts = unpack_all(packed, out)
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        why = (str(error).splitlines() or ["it is cut short"])[0]
        print(
            f"unpack.py: {packed} cannot be unpacked ({why}): pack or copy it again",
            file=sys.stderr,
        )
        return 2
    except (ValueError, OSError) as error:
        print(f"unpack.py: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    print(f"{len(counts)} clips of {sum(counts)} frames below {out}")
    return 0


def unpack_all(packed: Path, out: Path) -> list[int]:
    """Each clip's number of frames, of a tar unpacked into `out`; ValueError: nothing is there."""
    with tarfile.open(packed) as tar:
        names = [Path(name) for name in tar.getnames()]
        clips = sorted(
            name.parent for name in names if name.name == "frames.mp4" and len(name.parts) == 3
        )
        if not clips:
            raise ValueError(f"{packed} holds no clips: make it with scripts/dev/lease/pack.py")
        roots = sorted({clip.parts[0] for clip in clips})
        for root in roots:
            if os.path.lexists(out / root):
                raise ValueError(
                    f"{out / root} is there already: delete it or unpack into another folder"
                )
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".packed-") as temporary:
            held, made = Path(temporary) / "held", Path(temporary) / "made"
            tar.extractall(held, filter="data")  # nothing outside it
            cv2.setNumThreads(1)
            try:
                with ThreadPool() as pool:
                    counts = pool.starmap(unpack, [(held / clip, made / clip) for clip in clips])
            except ValueError as error:
                raise ValueError(f"{packed} is damaged, pack it again: {error}") from error
            for root in roots:
                os.rename(made / root, out / root)
    return counts


def unpack(source: Path, target: Path) -> int:
    """How many frames target/frames now holds; ValueError unless as many as the tracks have."""
    frames = len(read_tracks(source)[0])
    (target / "frames").mkdir(parents=True)
    shutil.copy(source / f"{source.name}.npy", target)
    capture, count = cv2.VideoCapture(str(source / "frames.mp4")), 0
    while True:
        there, frame = capture.read()
        if not there:
            break
        data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[
            1
        ]  # imwrite would hide a full disk
        (target / "frames" / f"{count:03d}.jpg").write_bytes(data.tobytes())
        count += 1
    if count != frames:
        raise ValueError(
            f"{source.parent.name}/{source.name} has {count} frames but tracks for {frames}"
        )
    return count


if __name__ == "__main__":
    sys.exit(main())
