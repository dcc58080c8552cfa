"""Lazy views of videos, read frame by frame: a whole clip is never held."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cotracker.geometry import resize_video
from cotracker.trackers.inputs import check_frames
from cotracker.trackers.options import FEATURE_MEMORY
from cotracker.types import Video


class MappedVideo:
    """A Video whose frames are those of another, chosen by `frames` and changed by `change`.

    video: a Video B T 3 H W, or the T 3 H W of a Clip, which gets B = 1 in front.
    frames: which of the video's frames, in which order; None for all of them.
    change: what is done to frames B n 3 H W when they are read, one result a frame.
    shape: of the result, where `change` alters more than the number of frames.
    cache: where a tracker may keep what it computes from each frame; None for the video's own.
    key: what `change` does, as plain values, so that frames of other views are told apart in the
        cache; () where it leaves the pictures as they are, None where that cannot be said: such a
        view has no cache.
    skipped: called with the number of frames that a tracker found in the cache.
    """

    def __init__(
        self,
        video: Video,
        frames: Sequence[int] | None = None,
        change: Callable[[Tensor], Tensor] | None = None,
        shape: tuple[int, ...] | None = None,
        cache: "FeatureCache | None" = None,
        key: tuple | None = None,
        skipped: Callable[[int], object] | None = None,
    ):
        batch, length, *picture = video.shape if len(video.shape) == 5 else (1, *video.shape)
        self.video = video
        self.frames = range(length) if frames is None else frames
        self.change = change
        self.skipped = skipped
        self.shape = shape or (batch, len(self.frames), *picture)
        self.key = () if change is None else key
        same = frames is None  # what the video knows of its times
        self.fps = getattr(video, "fps", None) if same else None
        self.seconds = getattr(video, "seconds", None) if same else None
        self.name = getattr(video, "name", None)
        self._inner = video if isinstance(video, MappedVideo) and video.cache is not None else None
        if self._inner is not None and cache is None and self.key is not None:
            cache = self._inner.cache
        self.cache = cache

    def skip(self, count: int) -> None:
        """Says, to the video below, that so many frames are not read, as they are in the cache."""
        if isinstance(self.video, MappedVideo):
            self.video.skip(count)
        if self.skipped is not None:
            self.skipped(count)

    def frame_key(self, number: int) -> tuple:
        """What the cache knows frame `number` of this view by."""
        number = self.frames[number]
        if self._inner is not None and self._inner.cache is self.cache:
            return (*self._inner.frame_key(number), *self.key)
        return (number, *(self.key or ()))

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

    key = ("resized", *size, align_corners)
    return MappedVideo(video, change=resize, shape=(*video.shape[:-2], *size), key=key)


def pad_view(video: Video, size: tuple[int, int]) -> MappedVideo:
    """The video with grey at the right and below, up to a size (H, W)."""
    height, width = video.shape[-2:]
    missing = (0, size[1] - width, 0, size[0] - height)

    def pad(frames: Tensor) -> Tensor:
        return F.pad(frames, missing, value=127.5 if frames.is_floating_point() else 127)

    shape = (*video.shape[:-2], *size)
    return MappedVideo(video, change=pad, shape=shape, key=("padded", *size))


def reverse_view(video: Video) -> MappedVideo:
    """The video played backwards."""
    return MappedVideo(video, frames=range(video.shape[1])[::-1])


def flip_view(video: Video) -> MappedVideo:
    """The video with left and right exchanged."""
    return MappedVideo(video, change=lambda frames: frames.flip(-1), key=("flipped",))


def crop_view(video: Video, box: tuple[int, int, int, int]) -> MappedVideo:
    """What of the video lies in a box (left, top, right, bottom), the last two left out."""
    left, top, right, bottom = box

    def crop(frames: Tensor) -> Tensor:
        return check_frames(frames)[..., top:bottom, left:right]

    shape = (*video.shape[:-2], bottom - top, right - left)
    return MappedVideo(video, change=crop, shape=shape, key=("cropped", *box))


def cached_view(video: Video, budget: float) -> MappedVideo:
    """The video with its cache; with one of `budget` bytes where it has none."""
    if isinstance(video, MappedVideo) and video.cache is not None:
        return video
    return MappedVideo(video, cache=FeatureCache(budget))


def select_clip(video: Video, item: int) -> Video:
    """Clip number `item` of a batch of videos, with B = 1."""
    if video.shape[0] == 1:
        return video
    shape = (1, *video.shape[1:])
    key = ("clip", item)
    return MappedVideo(video, change=lambda frames: frames[item : item + 1], shape=shape, key=key)


class FeatureCache:
    """Lists of tensors by key, at most `budget` bytes of them; what comes when it is full is lost.

    A video is read from end to end, again and again: dropping the oldest would find nothing.
    """

    def __init__(self, budget: float = FEATURE_MEMORY):
        self.budget = budget
        self.used = 0
        self.values: dict[tuple, list[Tensor]] = {}

    def get(self, key: tuple) -> list[Tensor] | None:
        return self.values.get(key)

    def put(self, key: tuple, value: list[Tensor]) -> None:
        """Keeps copies of the tensors: a view would hold its whole storage."""
        size = sum(tensor.numel() * tensor.element_size() for tensor in value)
        if key in self.values or self.used + size > self.budget:
            return
        self.values[key] = [tensor.clone() for tensor in value]
        self.used += size
