"""Which part of a clip an example has: a random crop of its frames, and some of its points."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator

from cotracker import checks
from cotracker.geometry import inside_frame
from cotracker.types import Clip


@dataclass(frozen=True)
class ChoosePoints:
    """`count` of the points visible in the first or the middle frame, in random order.

    least: a clip with fewer than `count`, but at least this many, keeps all; None is `count`.
    ValueError, of a clip: there are too few.
    """

    count: int = 256
    least: int | None = None

    def __post_init__(self):
        checks.whole("points.count", self.count, 1)
        check_least("points.least", self.least, self.count)

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        return choose_points(clip, self.count, rng, self.least)


def check_least(name: str, least: int | None, count: int | None) -> None:
    """ValueError unless `least` is None, or a whole number from 1 to `count`, which is then set."""
    if least is None:
        return
    if count is None:
        raise ValueError(f"{name} must be null where all points are kept, not {least}")
    checks.whole(name, least, 1, count)


def check_cut(
    frames: int, height: int | None, width: int | None, points: int | None, least: int | None
) -> None:
    """ValueError unless these settings data.* of a reader say what is cut out of its clips."""
    checks.whole("data.frames", frames, 1)
    for name, value in (("height", height), ("width", width), ("points", points)):
        if value is not None:
            checks.whole(f"data.{name}", value, 1)
    check_least("data.least_points", least, points)


def random_crop(
    clip: Clip, height: int | None, width: int | None, rng: np.random.Generator
) -> Clip:
    """The clip cut to height x width at a random place; None keeps a side whole.

    Points that leave the frame are no longer visible. ValueError: the frames are smaller.
    """
    high, wide = clip.video.shape[-2:]
    height, width = height or high, width or wide
    if height > high or width > wide:
        raise ValueError(
            f"its frames are {high}x{wide} (height x width), smaller than the crop of "
            f"{height}x{width}"
        )
    y = int(rng.integers(high - height + 1))
    x = int(rng.integers(wide - width + 1))
    video = clip.video
    if (height, width) != (high, wide):
        video = video[..., y : y + height, x : x + width].contiguous()
    tracks = clip.tracks - clip.tracks.new_tensor([x, y])
    visible = clip.visible & inside_frame(tracks, (height, width))
    return replace(clip, video=video, tracks=tracks, visible=visible)


def choose_points(
    clip: Clip, count: int, rng: np.random.Generator, least: int | None = None
) -> Clip:
    """The clip with `count` of its points in random order.

    Each is visible and valid in its first or its middle frame.
    least: fewer than `count` are kept if there are at least this many; None is `count`.
    ValueError: there are fewer than `least`.
    """
    least = count if least is None else least
    seen = clip.visible & clip.valid
    candidates = torch.nonzero(seen[0] | seen[len(seen) // 2])[:, 0]
    if len(candidates) < least:
        raise ValueError(
            f"only {len(candidates)} of its points are visible in the first or the middle frame, "
            f"{least} are wanted"
        )
    chosen = candidates[torch.from_numpy(rng.permutation(len(candidates))[:count])]
    return replace(
        clip,
        tracks=clip.tracks[:, chosen],
        visible=clip.visible[:, chosen],
        valid=clip.valid[:, chosen],
    )
