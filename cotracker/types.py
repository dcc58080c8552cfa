"""The nouns every room shares: Clip, EvalTargets, Tracks, and what a video is.

Letters, here and everywhere: B clips, T frames, S frames of a window, N points, M iterations,
C channels, H W pixels, h w cells.
Pixels are (x, y); an integer is a pixel centre, so 0 <= x <= W-1. Visible, never occluded.
"""

from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from cotracker.tracks import Moves, Tracks


class Video(Protocol):
    """RGB in 0..255: a tensor B T 3 H W, or an object with such a `shape` and slices of frames.

    Trackers use only `video.shape` and `video[:, start:stop]`, a tensor B n 3 H W. So a reader may
    decode lazily, and a wrapper may resize or reverse, without holding the whole clip.
    """

    shape: tuple[int, ...]

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor: ...


@dataclass(frozen=True)
class Clip(Moves):
    """A video with its truth, as every reader returns it; collated, B is in front of each shape.

    video: T 3 H W uint8 RGB, or a lazy Video without its B, for benchmarks.
    tracks: T N 2 float32 pixels.
    visible: T N bool.
    valid: T N bool, the truth is known there.
    masks: T H W uint8 or None.
    seed: (seed, k); `numpy.random.default_rng(seed)` samples whatever is random about it.
    replaced: how many bad clips this one replaces.
    reason: what was wrong with the last of them.
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


def check_clip(clip: object, source: object) -> Clip:
    """The clip, as `source` gave it; ValueError, one sentence, where it is none or does not fit."""
    maker = type(source).__name__
    if not isinstance(clip, Clip):
        raise ValueError(f"{maker} must give a cotracker.types.Clip, not {type(clip).__name__}")
    frames, points = clip.video.shape[0], tuple(clip.tracks.shape)[1:2]
    expected = {"tracks": (frames, *points, 2), "visible": (frames, *points)}
    expected["valid"] = expected["visible"]
    kinds = {"tracks": torch.float32, "visible": torch.bool, "valid": torch.bool}
    if len(clip.video.shape) != 4 or clip.video.shape[1] != 3:
        raise ValueError(f"{maker} must give a video T 3 H W, not {tuple(clip.video.shape)}")
    for name, shape in expected.items():
        value = getattr(clip, name)
        if tuple(value.shape) != shape or value.dtype != kinds[name]:
            wanted = "T N 2 float32" if name == "tracks" else "T N bool"
            raise ValueError(
                f"{maker} must give {name} {wanted} for its {frames} frames, "
                f"not {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
            )
    return clip


@dataclass(frozen=True)
class EvalTargets(Moves):
    """What a protocol evaluates in one clip.

    queries: B N 3 (t, x, y).
    target: the true Tracks.
    eval_mask: B T N bool, the frames that count.
    """

    queries: Tensor
    target: Tracks
    eval_mask: Tensor


def collate(clips: list[Clip]) -> Clip:
    """One Clip with B in front, of clips of equal T, H and W.

    `name`, `seed`, `replaced` and `reason` become lists. Clips with fewer points than others are
    padded at the end: tracks 0, neither visible nor valid.
    """
    shape, frames = clips[0].video.shape, clips[0].tracks.shape[0]
    for clip in clips[1:]:
        if clip.video.shape != shape or clip.tracks.shape[0] != frames:
            raise ValueError(
                f"a batch's clips must have equal shapes: {_shapes(clips[0])}, but {_shapes(clip)}"
            )
    points = max(clip.tracks.shape[1] for clip in clips)
    values = {field.name: [getattr(clip, field.name) for clip in clips] for field in fields(Clip)}
    for name in ("tracks", "visible", "valid"):
        values[name] = torch.stack([_pad_points(value, points) for value in values[name]])
    values["video"] = torch.stack(values["video"])
    has_masks = values["masks"][0] is not None
    values["masks"] = torch.stack(values["masks"]) if has_masks else None
    return Clip(**values)


def _pad_points(value: Tensor, points: int) -> Tensor:
    """T points ... of T N ..., zeros at the end."""
    missing = value.new_zeros(len(value), points - value.shape[1], *value.shape[2:])
    return torch.cat([value, missing], dim=1)


def _shapes(clip: Clip) -> str:
    return f"{clip.name} has video {tuple(clip.video.shape)} and tracks {tuple(clip.tracks.shape)}"
