"""Lazy views of videos, read frame by frame: a whole clip is never held."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cotracker.geometry import resize_video
from cotracker.trackers.tracker import check_frames
from cotracker.types import Video


class MappedVideo:
    """A Video whose frames are those of another, chosen by `frames` and changed by `change`.

    video: a Video B T 3 H W, or the T 3 H W of a Clip, which gets B = 1 in front.
    frames: which of the video's frames, in which order; None for all of them.
    change: what is done to frames B n 3 H W when they are read, one result a frame.
    shape: of the result, where `change` alters more than the number of frames.
    cache: where a tracker may keep what it computes from each of the video's frames.
    """

    def __init__(
        self,
        video: Video,
        frames: Sequence[int] | None = None,
        change: Callable[[Tensor], Tensor] | None = None,
        shape: tuple[int, ...] | None = None,
        cache: "FeatureCache | None" = None,
    ):
        batch, length, *picture = video.shape if len(video.shape) == 5 else (1, *video.shape)
        self.video = video
        self.frames = range(length) if frames is None else frames
        self.change = change
        self.shape = shape or (batch, len(self.frames), *picture)
        self.cache = cache

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        frames = self._read(self.frames[index[1]])[index[0]]
        return frames if self.change is None else self.change(frames)

    def _read(self, numbers: Sequence[int]) -> Tensor:
        """Frames B n 3 H W with these numbers; neighbours are read at once."""
        if not isinstance(numbers, range) or abs(numbers.step) != 1:
            return torch.cat([self._slice(number, number + 1) for number in numbers], dim=1)
        if numbers.step < 0:
            forward = numbers[::-1]
            return self._slice(forward.start, forward.stop).flip(1)
        return self._slice(numbers.start, numbers.stop)

    def _slice(self, start: int, stop: int) -> Tensor:
        if len(self.video.shape) == 5:
            return self.video[:, start:stop]
        return self.video[start:stop][None]


def resize_view(video: Video, size: tuple[int, int], align_corners: bool = True) -> MappedVideo:
    """The video at another size (H, W), float 0..255; frames are resized one by one."""

    def resize(frames: Tensor) -> Tensor:
        single = check_frames(frames).split(1, dim=1)  # floats of a large frame are large
        return torch.cat([resize_video(frame, size, align_corners) for frame in single], dim=1)

    return MappedVideo(video, change=resize, shape=(*video.shape[:-2], *size))


def reverse_view(video: Video) -> MappedVideo:
    """The video played backwards."""
    return MappedVideo(video, frames=range(video.shape[1])[::-1])


def flip_view(video: Video) -> MappedVideo:
    """The video with left and right exchanged."""
    return MappedVideo(video, change=lambda frames: frames.flip(-1))


def select_clip(video: Video, item: int) -> Video:
    """Clip number `item` of a batch of videos, with B = 1."""
    if video.shape[0] == 1:
        return video
    shape = (1, *video.shape[1:])
    return MappedVideo(video, change=lambda frames: frames[item : item + 1], shape=shape)


class FeatureCache:
    """Lists of tensors by frame number; the oldest are dropped beyond `budget` bytes."""

    def __init__(self, budget: float = 2e9):
        self.budget = budget
        self.used = 0
        self.values = OrderedDict()

    def get(self, frame: int) -> list[Tensor] | None:
        return self.values.get(frame)

    def put(self, frame: int, value: list[Tensor]) -> None:
        """Keeps copies of the tensors: a view would hold its whole storage."""
        if frame in self.values:
            return
        self.values[frame] = [tensor.clone() for tensor in value]
        self.used += _bytes(value)
        while self.used > self.budget and len(self.values) > 1:
            self.used -= _bytes(self.values.popitem(last=False)[1])


def _bytes(value: list[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in value)
