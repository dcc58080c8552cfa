"""The nouns every room shares: Clip, EvalTargets, Tracks, and what a video is.

Letters, here and everywhere: B clips, T frames, S frames of a window, N points, M updates, C channels, H W pixels,
h w cells.
Pixels are (x, y); an integer is a pixel centre, so 0 <= x <= W-1. Visible, never occluded.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor


class Video(Protocol):
    """RGB in 0..255. A uint8 or float tensor B T 3 H W, or any object with its `shape` and its slicing by frames.

    Those who track touch a video only through `video.shape` and `video[:, start:stop]`, a tensor B n 3 H W; so
    a reader may decode lazily and a wrapper may resize or reverse without ever holding the whole clip.
    """

    shape: tuple[int, ...]

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor: ...


class _Moves:
    """Mixin: `.to(device)` moves every tensor field, `.pin_memory()` puts them where a GPU copies from; others stay."""

    def to(self, device, non_blocking: bool = False):
        return self._changed(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self):
        return self._changed(Tensor.pin_memory)

    def _changed(self, change: Callable[[Tensor], Tensor]):
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self,
            **{name: change(value) for name, value in values.items() if isinstance(value, Tensor)},
        )


@dataclass(frozen=True)
class Clip(_Moves):
    """A video with its truth, as every reader returns it; with B in front of every shape once collated.

    video: T 3 H W uint8 RGB (or a lazy Video without its B, for benchmark readers).  tracks: T N 2 float32 pixels.
    visible: T N bool.  valid: T N bool, the truth is known there.  masks: T H W uint8 or None.
    seed: (seed, k); whatever is random about this example is drawn from `numpy.random.default_rng(seed)`.
    replaced: how many bad clips were drawn for this example before this one.  reason: what was wrong with the last.
    """

    video: Tensor
    tracks: Tensor
    visible: Tensor
    valid: Tensor
    masks: Tensor | None = None
    name: str = ""
    seed: tuple = (0, 0)
    replaced: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Tracks(_Moves):
    """Where the queried points are, in every frame and for every query.

    xy: B T N 2 float32 pixels of the video handed over.  visibility: B T N float in 0..1.
    visible: B T N bool, the tracker's own rule.  Before its query a forward-only tracker repeats the query, unseen.
    """

    xy: Tensor
    visibility: Tensor
    visible: Tensor


@dataclass(frozen=True)
class EvalTargets(_Moves):
    """What a protocol evaluates in one clip.

    queries: B N 3 (t, x, y).
    target: the true Tracks.
    eval_mask: B T N bool, the frames that count.
    """

    queries: Tensor
    target: Tracks
    eval_mask: Tensor


def collate(clips: list[Clip]) -> Clip:
    """One Clip with B in front, of clips of equal T, H and W; `name`, `seed`, `replaced` and `reason` become lists.

    Clips with fewer points than others are padded at the end: tracks 0, neither visible nor valid.
    """
    first, most = clips[0], max(clip.tracks.shape[1] for clip in clips)
    for clip in clips[1:]:
        if clip.video.shape != first.video.shape or clip.tracks.shape[0] != first.tracks.shape[0]:
            raise ValueError(
                f"a batch's clips must have equal shapes: {first.name} has video {tuple(first.video.shape)} and "
                f"tracks {tuple(first.tracks.shape)}, {clip.name} has {tuple(clip.video.shape)} and "
                f"{tuple(clip.tracks.shape)}"
            )

    def stacked(name: str) -> Tensor | None:
        values = [getattr(clip, name) for clip in clips]
        return None if values[0] is None else torch.stack(values)

    def padded(name: str) -> Tensor:
        values = [getattr(clip, name) for clip in clips]
        missing = [
            value.new_zeros(len(value), most - value.shape[1], *value.shape[2:]) for value in values
        ]
        return torch.stack([torch.cat(pair, dim=1) for pair in zip(values, missing)])

    tensors = {name: stacked(name) for name in ("video", "masks")}
    tensors |= {name: padded(name) for name in ("tracks", "visible", "valid")}
    return Clip(
        **tensors,
        **{n: [getattr(c, n) for c in clips] for n in ("name", "seed", "replaced", "reason")},
    )
