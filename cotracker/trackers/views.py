"""Videos seen another way, frame by frame: nothing of a whole clip is held."""

from collections import OrderedDict

import torch
from torch import Tensor

from cotracker.geometry import resize_video
from cotracker.trackers.tracker import check_frames
from cotracker.types import Video


class ResizedVideo:
    """A video at another size, float 0..255, each slice resized when it is read."""

    def __init__(self, video: Video, size: tuple[int, int], align_corners: bool = True):
        self.video, self.size, self.align_corners = video, tuple(size), align_corners
        self.shape = (*video.shape[:-2], *size)

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        frames = check_frames(self.video[index]).split(
            1, dim=1
        )  # in turn: floats of a large video's frames are large
        return torch.cat(
            [resize_video(frame, self.size, self.align_corners) for frame in frames], dim=1
        )


class ReversedVideo:
    """A video played backwards."""

    def __init__(self, video: Video):
        self.video, self.shape = video, tuple(video.shape)

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        start, stop, _ = index[1].indices(self.shape[1])
        frames = self.shape[1]
        return self.video[index[0], frames - stop : frames - start].flip(1)


class MirroredVideo:
    """A video with left and right exchanged."""

    def __init__(self, video: Video):
        self.video, self.shape = video, tuple(video.shape)

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        return self.video[index].flip(-1)


class SharedVideo:
    """A video from frame `start` on, whose views share a memory of what was computed from each frame.

    So many queries of one video, each with its own first frame, cost one encoding of each frame. `memory` maps a
    frame of the whole video to its value; beyond `budget` bytes the oldest are forgotten, to be computed again.
    """

    def __init__(
        self, video: Video, start: int = 0, memory: "Memory | None" = None, budget: float = 2e9
    ):
        self.video, self.start = video, start
        self.memory = Memory(budget) if memory is None else memory
        batch, frames, *rest = video.shape
        self.shape = (batch, frames - start, *rest)

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        start, stop, _ = index[1].indices(self.shape[1])
        return self.video[index[0], self.start + start : self.start + stop]

    def starting(self, start: int) -> "SharedVideo":
        """The same video from its frame `start` on, with the same memory."""
        return SharedVideo(self.video, start, self.memory)


class Memory:
    """Lists of tensors by frame number, the oldest forgotten beyond `budget` bytes."""

    def __init__(self, budget: float):
        self.budget, self.used, self.values = budget, 0, OrderedDict()

    def get(self, frame: int) -> list[Tensor] | None:
        return self.values.get(frame)

    def put(self, frame: int, value: list[Tensor]) -> None:
        if frame in self.values:
            return
        self.values[frame] = value
        self.used += _bytes(value)
        while self.used > self.budget and len(self.values) > 1:
            self.used -= _bytes(self.values.popitem(last=False)[1])


def _bytes(value: list[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in value)
