"""Small videos and folders of pictures, good and bad."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from moving import moving_texture
from PIL import Image

from cotracker.data.video import write_video

FAILING = Path(__file__).parents[1] / "data" / "failing"


def encode(
    path: Path,
    frames: np.ndarray,
    codec: str,
    rate: Fraction | int = 25,
    pixels: str = "yuv420p",
    times: list[int] | None = None,
    rotation: int = 0,
    **options: str,
) -> Path:
    """The file written with frames T H W 3, by libav in any codec and container it has.

    times: the pts of each frame in thousandths of a second; None for the rate.
    rotation: degrees, in the container's display matrix.
    """
    container_options = {"movflags": options.pop("movflags")} if "movflags" in options else {}
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        if rotation:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = number if times is None else times[number]
            picture.time_base = 1 / Fraction(rate) if times is None else Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> None:
    """A file with a sound track alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())


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
        write_sound(path)
    elif kind in ("cut", "cut late"):
        write_video(good, moving_texture(60, 128, 160), 10, (128, 160))
        if kind == "cut":  # the table of contents is at the end, and lost
            encode(good, moving_texture(60, 128, 160), "libx264", 10)
        path.write_bytes(good.read_bytes()[: good.stat().st_size * 2 // 3])
    elif kind == "unknown codec":
        data = write_video(good, moving_texture(3, 16, 16), 10, (16, 16)) and good.read_bytes()
        path.write_bytes(data.replace(b"avc1", b"zzz1"))
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
    "unknown codec": "bad.mp4 is coded in a way that is not known here",
    "empty folder": "holds no frames",
    "unequal": "2.png is 25x16 but 0.png is 24x16",
    "unreadable": "2.png cannot be read as a picture",
}
