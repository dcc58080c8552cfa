"""On the lent machine: python scripts/lease/unpack.py CLIPS.tar.xz runs writes folders of jpg from what was packed."""

import shutil
import sys
import tarfile
from multiprocessing import get_context
from pathlib import Path

import cv2


def main(packed: str, out: str) -> None:
    with tarfile.open(packed) as tar:
        tar.extractall(Path(out) / ".packed", filter="data")
    folders = sorted(path.parent for path in (Path(out) / ".packed").glob("*/*/frames.mp4"))
    with get_context("spawn").Pool() as pool:  # forked beside OpenCV's threads they could hang
        counts = pool.starmap(unpack, [(folder, Path(out) / folder.parent.name / folder.name) for folder in folders])
    shutil.rmtree(Path(out) / ".packed")
    print(f"{len(counts)} clips of {sum(counts)} frames below {out}")


def unpack(source: Path, target: Path) -> int:
    """How many frames were written to target/frames."""
    cv2.setNumThreads(1)
    (target / "frames").mkdir(parents=True)
    shutil.copy(source / f"{source.name}.npy", target)
    capture, count = cv2.VideoCapture(str(source / "frames.mp4")), 0
    while True:
        there, frame = capture.read()
        if not there:
            return count
        cv2.imwrite(str(target / "frames" / f"{count:03d}.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, 95])
        count += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
