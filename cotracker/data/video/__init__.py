"""Videos as lazy sequences of frames, from files and folders of pictures; and mp4 files written."""

import re
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cotracker.data.video import ffmpeg
from cotracker.data.video.images import is_picture, picture_size, read_picture
from cotracker.files import replace_file

CACHE_BYTES = 192 * 2**20
FOLDER_FPS = 24.0  # a folder has no rate; DAVIS, the usual one, has 24


class VideoFile:
    """A Video (see cotracker.types) decoded on demand: `.shape` (1, T, 3, H, W), `.fps`, `.name`,
    and `.seconds`, the times of the frames from the first on.

    `video[:, a:b]` is uint8 RGB 1 n 3 H W. Reading forward decodes each frame once. Going back
    enters the file so much earlier that the backward slices that follow are in the cache, which
    holds at most CACHE_BYTES (or 8 frames).
    decode: from a frame number to a generator of that frame and all after it, H W 3 each.
    """

    def __init__(
        self,
        name: str,
        decode: Callable[[int], Generator],
        count: int,
        size: tuple,
        fps: float,
        seconds: np.ndarray | None = None,
    ):
        self.name = name
        self.fps = fps
        self.seconds = np.arange(count) / fps if seconds is None else seconds
        self.shape = (1, count, 3, *size)
        self._decode = decode
        self._frames = decode(0)  # a generator: it starts with the first frame that is read
        self._next = 0
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._capacity = max(8, CACHE_BYTES // (size[0] * size[1] * 3))

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        """Frames of the slice as uint8 RGB 1 n 3 H W."""
        batch, frames = index
        numbers = range(self.shape[1])[frames]
        items = len(range(1)[batch])
        if not items or not numbers:
            return torch.empty((items, len(numbers), *self.shape[2:]), dtype=torch.uint8)
        ascending = numbers if numbers.step > 0 else numbers[::-1]
        read = {number: self._frame(number, last=ascending[-1]) for number in ascending}
        stacked = torch.from_numpy(np.stack([read[number] for number in numbers]))
        return stacked.permute(0, 3, 1, 2)[None]

    def _frame(self, number: int, last: int) -> np.ndarray:
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        if number < self._next:
            self._enter(max(0, min(number, last + 1 - self._capacity)))
        elif number > self._next + self._capacity:
            self._enter(number)
        while self._next <= number:
            frame = next(self._frames)
            self._cache[self._next] = frame
            self._next += 1
            if len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
        return frame

    def _enter(self, start: int) -> None:
        self._frames.close()
        self._frames = self._decode(start)
        self._next = start

    def close(self) -> None:
        """Ends a running decoder and empties the cache; the video can still be read afterwards."""
        self._cache.clear()
        self._enter(0)


def open_video(path: str | Path) -> VideoFile:
    """The VideoFile of an mp4, mov, avi, mkv, webm or gif, or of a folder of numbered frames.

    Frames are counted by decoding; what the container claims is not used.
    ValueError, one sentence naming the file: nothing can be read.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist: give a video file or a folder of frames")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is an empty file: copy it again")
    index = ffmpeg.index_video(path)
    decode = partial(ffmpeg.decode, index)
    seconds = np.array([float(time - index.times[0]) for time in index.times])
    return VideoFile(path.stem, decode, len(seconds), index.size, index.fps, seconds)


def write_video(
    path: str | Path, frames: Iterable[np.ndarray], fps: float, size: tuple[int, int]
) -> int:
    """How many frames (H W 3 uint8 RGB each) were written to the h264 mp4 `path`, atomically.

    Frame count, `fps` and `size` (H, W; odd ones too) are kept exactly.
    ValueError: there is no frame, or one of another size.
    """
    with replace_file(path) as file:
        count = ffmpeg.encode(Path(file.name), frames, fps, size)
        if not count:
            raise ValueError(f"{path} was not written: there is no frame to write")
    return count


def _open_folder(path: Path) -> VideoFile:
    files = sorted(filter(is_picture, path.iterdir()), key=natural_order)
    if not files:
        raise ValueError(
            f"{path} holds no frames: put jpg, png, bmp or webp pictures of one size in it"
        )
    sizes = [picture_size(file) for file in files]
    for file, size in zip(files, sizes):
        if size != sizes[0]:
            raise ValueError(
                f"{file} is {size[1]}x{size[0]} but {files[0].name} is "
                f"{sizes[0][1]}x{sizes[0][0]}: all frames of a folder must have one size"
            )

    def decode(start: int) -> Generator:
        return (read_picture(file) for file in files[start:])

    return VideoFile(path.resolve().name, decode, len(files), sizes[0], FOLDER_FPS)


def natural_order(file: Path) -> list:
    """A key that sorts frame2 before frame10: digits as numbers, the rest as text."""
    parts = re.split(r"(\d+)", file.name)
    ordered = [int(part) if number % 2 else part.lower() for number, part in enumerate(parts)]
    return [*ordered, file.name]
