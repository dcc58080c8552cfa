"""Clips small enough to carry to a lent machine: h264 frames, tracks to 1/32 pixel, one tar.xz.

python scripts/dev/lease/pack.py OUT.tar.xz runs/scenes3d:20 runs/pseudo:24
Each word is a folder in Kubric's layout and the quality of its videos (x264's crf, lower is
better). The other machine needs no ffmpeg: unpack.py writes the frames again with OpenCV.
"""

import argparse
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import cv2
import numpy as np

from cotracker.data.kubric.layout import clip_names, open_frames, read_tracks
from cotracker.data.pickles import load_npy_dict
from cotracker.data.video.encode import write_frames


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 and one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT.tar.xz")
    parser.add_argument(
        "folders", nargs="+", metavar="FOLDER:CRF", help=":20 where no number is said"
    )
    arguments = parser.parse_args(argv)
    out = arguments.out
    temporary = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        if out.is_dir() or not out.absolute().parent.is_dir():
            raise ValueError(f"{out} cannot be written: give a file in a folder that exists")
        todo = checked(arguments.folders)
        with tempfile.TemporaryDirectory() as packed:
            for source, name, quality in todo:
                pack(source, Path(packed) / name / source.name, quality)
            with tarfile.open(temporary, "w:xz") as tar:
                for folder in sorted(Path(packed).iterdir()):
                    tar.add(folder, folder.name)
        os.replace(temporary, out)
    except (ValueError, OSError) as error:
        print(f"pack.py: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    finally:
        temporary.unlink(missing_ok=True)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")
    return 0


def checked(words: list[str]) -> list[tuple[Path, str, str]]:
    """Each clip's folder, the name of its root, and its quality; ValueError for a bad one."""
    todo, seen = [], {}
    for word in words:
        root, _, quality = word.rpartition(":") if ":" in word else (word, "", "20")
        name = Path(os.path.abspath(root)).name  # of . and .. as well; a link keeps its name
        if not (quality.isdecimal() and len(quality) < 3 and int(quality) <= 51):
            raise ValueError(
                f"{word}: the quality must be a whole number from 0 to 51, "
                f"such as {root or 'FOLDER'}:20"
            )
        if not Path(root).is_dir() or not clip_names(root):
            raise ValueError(f"{root or word} is no folder of clips: give one in Kubric's layout")
        if name in seen:
            raise ValueError(
                f"{seen[name]} and {root} would both be unpacked as {name}: rename one of them"
            )
        seen[name] = root
        for clip in clip_names(root):
            folder = Path(root) / clip
            open_frames(folder, len(read_tracks(folder)[0]))
            todo.append((folder, name, quality))
    return todo


def pack(source: Path, target: Path, quality: str) -> None:
    """Writes the clip in `source` to `target`; ValueError where a frame was lost on the way."""
    target.mkdir(parents=True)
    held = load_npy_dict(source / f"{source.name}.npy")
    coords = (np.round(np.asarray(held["coords"]) * 32) / 32).astype(np.float32)
    np.save(target / f"{source.name}.npy", held | {"coords": coords}, allow_pickle=True)
    frames = open_frames(source, coords.shape[1])[:, :][0].permute(0, 2, 3, 1).numpy()
    video = target / "frames.mp4"
    options = {"crf": quality, "preset": "slow", "threads": "1"}
    try:
        write_frames(video, frames, 24.0, frames.shape[1:3], options=options)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{source} could not be written as h264 ({error}): make room, or leave it out"
        ) from error
    capture, count = cv2.VideoCapture(str(video)), 0
    while capture.read()[0]:
        count += 1
    if count != len(frames):
        raise ValueError(f"{source} came out with {count} frames of {len(frames)}: leave it out")


if __name__ == "__main__":
    sys.exit(main())
