"""Clips small enough to carry to a lent machine: frames as h264, tracks to 1/32 pixel, all in one tar.xz.

python scripts/lease/pack.py OUT.tar.xz runs/scenes3d:20 runs/pseudo:24
Each word is a folder in Kubric's layout and the quality of its videos (x264's crf, lower is better). The other
machine needs no ffmpeg: unpack.py writes the frames out again with OpenCV.
"""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import cv2
import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe

from cotracker.data.layout import clip_names
from cotracker.data.pickles import load_npy_dict


def main(out: str, *words: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        for word in words:
            root, _, quality = word.partition(":")
            for name in clip_names(Path(root)):
                pack(Path(root) / name, Path(temporary) / Path(root).name / name, quality or "20")
        with tarfile.open(out, "w:xz") as tar:
            for folder in sorted(Path(temporary).iterdir()):
                tar.add(folder, folder.name)
    print(f"{out}: {Path(out).stat().st_size / 2**20:.1f} MiB")


def pack(source: Path, target: Path, quality: str) -> None:
    """Writes the clip in `source` to `target`; ValueError where a frame was lost on the way."""
    target.mkdir(parents=True)
    held = load_npy_dict(source / f"{source.name}.npy")
    coords = (np.round(np.asarray(held["coords"]) * 32) / 32).astype(np.float32)
    np.save(target / f"{source.name}.npy", held | {"coords": coords}, allow_pickle=True)
    frames, video = source / "frames", target / "frames.mp4"
    command = [get_ffmpeg_exe(), "-v", "error", "-framerate", "24", "-i", str(frames / "%03d.jpg"), "-c:v", "libx264"]
    command += ["-crf", quality, "-preset", "slow", "-threads", "1", "-pix_fmt", "yuv420p", str(video)]
    subprocess.run(command, check=True)
    capture, count = cv2.VideoCapture(str(video)), 0
    while capture.read()[0]:
        count += 1
    if count != coords.shape[1]:
        raise ValueError(f"{source} came out with {count} frames of {coords.shape[1]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
