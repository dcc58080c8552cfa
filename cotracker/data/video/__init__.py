"""Videos as lazy sequences of frames, from files and folders of pictures; and mp4 files written."""

import os
import weakref
from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cotracker import checks
from cotracker.data.video.container import FileSource
from cotracker.data.video.encode import write_frames
from cotracker.data.video.folder import (
    ANIMATED,
    STACKS,
    AnimationSource,
    PictureSource,
    open_folder,
)
from cotracker.data.video.images import read_picture as read_picture
from cotracker.files import refuse_special, replace_file

CACHE_BYTES = 192 * 2**20


class Source(Protocol):
    """What a VideoFile reads from; to be pickled."""

    count: int
    size: tuple[int, int]
    fps: float
    seconds: np.ndarray
    aspect: Fraction

    def frames(self, start: int) -> Generator[np.ndarray, None, None]: ...


class VideoFile:
    """A Video (see cotracker.types) decoded on demand.

    shape: (1, T, 3, H, W).  name.  fps.
    seconds: T float64, the times of the frames, from the first of the file on.
    aspect: of a pixel, width to height.
    first: the number in its file of the first frame.

    `video[:, a:b]` is uint8 RGB 1 n 3 H W; len(video) is T, and iteration gives frames 3 H W.
    Reading forward decodes each frame once. Going back enters the file so much earlier that the
    backward slices that follow are in the cache, which holds at most CACHE_BYTES (or 8 frames).
    It may be pickled, and read after a fork; each process opens the file anew.
    """

    def __init__(self, name: str, source: Source, first: int = 0, stop: int | None = None):
        self.name = name
        self.first = first
        self.fps = source.fps
        self.aspect = source.aspect
        self.seconds = source.seconds[first:stop]
        self.shape = (1, len(self.seconds), 3, *source.size)
        self._source = source
        self._start(0)
        self._capacity = max(8, CACHE_BYTES // (source.size[0] * source.size[1] * 3))
        _OPEN.add(self)

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        """Frames of two slices, of clips and of frames, as uint8 RGB 1 n 3 H W."""
        if not (isinstance(index, tuple) and [type(one) for one in index] == [slice, slice]):
            raise TypeError("a video is read by two slices: video[:, 3:4] is frame 3, 1 1 3 H W")
        batch, frames = index
        numbers = range(self.shape[1])[frames]
        items = len(range(1)[batch])
        if not items or not numbers:
            return torch.empty((items, len(numbers), *self.shape[2:]), dtype=torch.uint8)
        ascending = numbers if numbers.step > 0 else numbers[::-1]
        read = {number: self._frame(number, last=ascending[-1]) for number in ascending}
        stacked = torch.from_numpy(np.stack([read[number] for number in numbers]))
        return stacked.permute(0, 3, 1, 2)[None]

    def __len__(self) -> int:
        return self.shape[1]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[:, number : number + 1][0, 0] for number in range(len(self)))

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __getstate__(self) -> dict:
        return {"name": self.name, "source": self._source, "part": (self.first, len(self))}

    def __setstate__(self, state: dict) -> None:
        first, count = state["part"]
        self.__init__(state["name"], state["source"], first, first + count)

    def cut(self, start: int, stop: int) -> "VideoFile":
        """The frames from `start` to before `stop`, as a video of the same times."""
        return VideoFile(self.name, self._source, self.first + start, self.first + stop)

    def close(self) -> None:
        """Ends a running decoder and empties the cache; the video can still be read afterwards."""
        self._enter(0)
        self._cache.clear()

    def _frame(self, number: int, last: int) -> np.ndarray:
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        if number < self._next:
            self._enter(max(0, min(number, last + 1 - self._capacity)))
        elif number > self._next + self._capacity:
            self._enter(number)
        while self._next <= number:
            try:
                frame = next(self._frames)
            except BaseException:  # an ended generator would end the next reading without a word
                self._enter(0)
                raise
            self._cache[self._next] = frame
            self._next += 1
            if len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
        return frame

    def _enter(self, start: int) -> None:
        self._frames.close()
        self._frames = self._source.frames(self.first + start)
        self._next = start

    def _start(self, start: int) -> None:
        self._frames = self._source.frames(self.first + start)  # begins with the first frame read
        self._next = start
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()


_OPEN: weakref.WeakSet[VideoFile] = weakref.WeakSet()
_INHERITED: list[Generator] = []


def _leave_to_parent() -> None:
    """Keeps a parent's decoders for ever in a child: their threads did not come along."""
    for video in _OPEN:
        _INHERITED.append(video._frames)
        video._start(0)


if os.name == "posix":
    os.register_at_fork(after_in_child=_leave_to_parent)


def open_video(path: str | Path, damaged: str = "refuse") -> VideoFile:
    """The VideoFile of a video file, an animation, a stack, or a folder of numbered frames.

    A file is read once for the times of its frames, without decoding.
    damaged: "refuse", or "repeat" the last good frame where one cannot be decoded.
    Variable rates, dropped frames, interlacing and the like are said in a warning.
    ValueError, one sentence naming the file: nothing can be read, or it is damaged.
    """
    checks.choice("damaged", damaged, ("refuse", "repeat"))
    path = checks.path("video", path)
    _check_there(path)
    repeats = damaged == "repeat"
    if path.is_dir():
        return VideoFile(path.resolve().name, open_folder(path, repeats))
    _check_file(path)
    kind = path.suffix.lower()
    if kind in STACKS:
        return VideoFile(path.stem, PictureSource([path], path, repeats))
    if kind in ANIMATED:
        return VideoFile(path.stem, AnimationSource(path))
    return VideoFile(path.stem, FileSource(path, repeats))


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    size: tuple[int, int],
    aspect: Fraction = Fraction(1),
) -> int:
    """How many frames (H W 3 uint8 RGB each) were written to the h264 mp4 `path`, atomically.

    Frame count, `fps` and `size` (H, W; odd ones too) are kept exactly.
    aspect: of a pixel, width to height.
    ValueError: there is no frame, or one of another size.
    """
    with replace_file(path) as file:
        try:
            count = write_frames(Path(file.name), frames, fps, size, aspect)
        except OSError as error:  # of libav, with the name of the file that is being written
            raise OSError(error.errno, error.strerror, str(path)) from error
        if not count:
            raise ValueError(f"{path} was not written: there is no frame to write")
    return count


def _check_there(path: Path) -> None:
    wanted = "give a video file or a folder of frames"
    try:
        path.stat()
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: {wanted}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): {wanted}") from error


def _check_file(path: Path) -> None:
    refuse_special(path)
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is an empty file: copy it again")
