"""Small videos and folders of pictures, good and bad."""

import subprocess
from pathlib import Path

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from moving import moving_texture
from PIL import Image

from cotracker.data.video import write_video


def run_ffmpeg(*arguments) -> None:
    subprocess.run(
        [get_ffmpeg_exe(), "-nostdin", "-y", "-v", "error", *map(str, arguments)], check=True
    )


def write_folder(folder: Path, frames: np.ndarray, names: list[str]) -> Path:
    folder.mkdir()
    for frame, name in zip(frames, names):
        Image.fromarray(frame).save(folder / name)
    return folder


def make_bad(kind: str, tmp_path: Path) -> Path:
    """A path that is no video, of the kind named."""
    path = tmp_path / "bad.mp4"
    good = tmp_path / "good.mp4"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("These are words,\nnot pictures.\n" * 50)
    elif kind == "sound":
        run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", path)
    elif kind in ("cut", "cut late"):
        write_video(good, moving_texture(60, 128, 160), 10, (128, 160))
        if kind == "cut":  # the table of contents is at the end, and lost
            run_ffmpeg("-i", good, "-c", "copy", tmp_path / "plain.mp4")
            good = tmp_path / "plain.mp4"
        path.write_bytes(good.read_bytes()[: good.stat().st_size * 2 // 3])
    elif kind == "empty folder":
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "notes.txt").write_text("no frames")
        return tmp_path / "bad"
    elif kind in ("unequal", "unreadable"):
        folder = write_folder(
            tmp_path / "bad", moving_texture(4, 16, 24), [f"{k}.png" for k in range(4)]
        )
        if kind == "unequal":
            Image.new("RGB", (25, 16)).save(folder / "2.png")
        else:
            (folder / "2.png").write_bytes(b"rubbish")
        return folder
    return path


BAD = {
    "missing": "bad.mp4 does not exist",
    "empty": "bad.mp4 is an empty file",
    "text": "bad.mp4 cannot be decoded as a video",
    "sound": "bad.mp4 holds no video, only other streams such as sound",
    "cut": "bad.mp4 cannot be decoded as a video, it is cut short",
    "cut late": "bad.mp4 is cut short or damaged",
    "empty folder": "holds no frames",
    "unequal": "2.png is 25x16 but 0.png is 24x16",
    "unreadable": "2.png cannot be read as a picture",
}
