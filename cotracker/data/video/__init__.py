"""Videos as lazy sequences of frames: mp4 and its like, gif, and folders of pictures; and mp4 written back."""

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from cotracker.data.video import ffmpeg

CACHE_BYTES = 192 * 2**20
FOLDER_FPS = 24.0  # a folder does not say; DAVIS, the usual one, is 24
_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


class VideoFile:
    """A Video (see cotracker.types) decoded on demand: `.shape` (1, T, 3, H, W), `.fps`, `.name`, `video[:, a:b]`.

    Reading on costs one decoding; going back enters the file so much earlier that the following backward slices are
    in the cache, which holds at most CACHE_BYTES (or 8 frames). `decode(start)` gives frames H W 3 from `start` on.
    """

    def __init__(
        self, name: str, decode: Callable[[int], Generator], count: int, size: tuple, fps: float
    ):
        self.name, self.fps = name, fps
        self.shape = (1, count, 3, *size)
        self._decode = decode
        self._frames, self._next = (
            decode(0),
            0,
        )  # a generator: nothing runs before the first frame is asked
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._room = max(8, CACHE_BYTES // (size[0] * size[1] * 3))

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        """Frames of the slice as uint8 RGB 1 n 3 H W."""
        batch, frames = index
        wanted = range(self.shape[1])[frames]
        if not range(1)[batch] or not wanted:
            return torch.empty(
                (len(range(1)[batch]), len(wanted), *self.shape[2:]), dtype=torch.uint8
            )
        ascending = wanted if wanted.step > 0 else wanted[::-1]
        read = {number: self._frame(number, last=ascending[-1]) for number in ascending}
        return torch.from_numpy(np.stack([read[number] for number in wanted])).permute(0, 3, 1, 2)[
            None
        ]

    def _frame(self, number: int, last: int) -> np.ndarray:
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        if number < self._next:
            self._enter(max(0, min(number, last + 1 - self._room)))
        elif number > self._next + self._room:
            self._enter(number)
        while self._next <= number:
            frame = next(self._frames)
            self._cache[self._next] = frame
            self._next += 1
            if len(self._cache) > self._room:
                self._cache.popitem(last=False)
        return frame

    def _enter(self, start: int) -> None:
        self._frames.close()
        self._frames, self._next = self._decode(start), start

    def close(self) -> None:
        """Ends a decoder that may be running and empties the cache; the video can still be read afterwards."""
        self._cache.clear()
        self._enter(0)


def open_video(path: str | Path) -> VideoFile:
    """The VideoFile of an mp4, mov, avi, mkv, webm or gif file, or of a folder of frames sorted by their numbers.

    Frames are counted by decoding, not believed. ValueError, one sentence naming the file, when nothing can be read.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist: give a video file or a folder of frames")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is an empty file: copy it again")
    index = ffmpeg.index_video(path)
    return VideoFile(
        path.stem, partial(ffmpeg.decode, index), len(index.times), index.size, index.fps
    )


def write_video(
    path: str | Path, frames: Iterable[np.ndarray], fps: float, size: tuple[int, int]
) -> int:
    """How many frames (H W 3 uint8 RGB each) were written to the h264 mp4 `path`, whole or not at all.

    Frame count, `fps` and `size` (H, W; odd ones too) are kept exactly. ValueError for none or one of another size.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        count = ffmpeg.encode(temporary, frames, fps, size)
        if not count:
            raise ValueError(f"{path} was not written: there is no frame to write")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def read_picture(path: str | Path) -> np.ndarray:
    """A picture file as H W 3 uint8 RGB, upright; ValueError naming the file when it is none."""
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith(
                "I"
            ):  # 16 bits of grey, which Pillow would clip instead of scale
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            return np.array(upright.convert("RGB"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: give a picture file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} cannot be read as a picture: replace it or take it away"
        ) from error


def _open_folder(path: Path) -> VideoFile:
    files = sorted((f for f in path.iterdir() if _is_frame(f)), key=_natural)
    if not files:
        raise ValueError(
            f"{path} holds no frames: put jpg, png, bmp or webp pictures of one size in it"
        )
    sizes = [_picture_size(file) for file in files]
    for file, size in zip(files, sizes):
        if size != sizes[0]:
            raise ValueError(
                f"{file} is {size[1]}x{size[0]} but {files[0].name} is {sizes[0][1]}x{sizes[0][0]}: "
                "all frames of a folder must have one size"
            )

    def decode(start: int) -> Generator:
        return (read_picture(file) for file in files[start:])

    return VideoFile(path.resolve().name, decode, len(files), sizes[0], FOLDER_FPS)


def _is_frame(file: Path) -> bool:
    return file.suffix.lower() in _PICTURES and not file.name.startswith(".")


def _natural(file: Path) -> list:
    """Sorts frame2 before frame10: digits as numbers, the rest as text."""
    parts = re.split(r"(\d+)", file.name)
    return [int(part) if number % 2 else part.lower() for number, part in enumerate(parts)] + [
        file.name
    ]


def _picture_size(file: Path) -> tuple[int, int]:
    """(H, W) from the header alone, turned as `read_picture` turns it."""
    try:
        with Image.open(file) as picture:
            width, height = picture.size
            turned = picture.getexif().get(0x0112, 1) >= 5
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{file} cannot be read as a picture: replace it or take it away"
        ) from error
    return (width, height) if turned else (height, width)
