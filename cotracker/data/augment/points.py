"""Which part of a clip an example has: a random crop of its frames, and some of its points."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator

from cotracker.data.augment.common import check_least, check_whole
from cotracker.geometry import inside_frame
from cotracker.types import Clip


@dataclass(frozen=True)
class ChoosePoints:
    """`count` of the points visible in the first or the middle frame, in random order.

    ValueError, of a clip: there are fewer.  least: clips that have so many keep all they have; None is `count`.
    """

    count: int = 256
    least: int | None = None

    def __post_init__(self):
        check_whole("the number of points", self.count, 1)
        check_least("the least number of points", self.least, self.count)

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        return choose_points(clip, self.count, rng, self.least)


def random_crop(
    clip: Clip, height: int | None, width: int | None, rng: np.random.Generator
) -> Clip:
    """The clip cut to height x width at a random place, the same in all frames; None keeps a side whole.

    Points that leave the frame are no longer visible. ValueError: the frames are smaller.
    """
    high, wide = clip.video.shape[-2:]
    height, width = height or high, width or wide
    if height > high or width > wide:
        raise ValueError(
            f"its frames are {high}x{wide} (height x width), smaller than the {height}x{width} wanted"
        )
    y, x = (int(rng.integers(room + 1)) for room in (high - height, wide - width))
    video = clip.video
    if (height, width) != (high, wide):
        video = video[..., y : y + height, x : x + width].contiguous()
    tracks = clip.tracks - clip.tracks.new_tensor([x, y])
    return replace(
        clip,
        video=video,
        tracks=tracks,
        visible=clip.visible & inside_frame(tracks, (height, width)),
    )


def choose_points(
    clip: Clip, count: int, rng: np.random.Generator, least: int | None = None
) -> Clip:
    """The clip with `count` of its points, in random order, all visible and known in its first or its middle frame.

    ValueError: there are fewer; or, where `least` is a number, fewer than that, while all of fewer than `count` stay.
    """
    least = count if least is None else least
    seen = clip.visible & clip.valid
    candidates = torch.nonzero(seen[0] | seen[len(seen) // 2])[:, 0]
    if len(candidates) < least:
        raise ValueError(
            f"only {len(candidates)} of its points are visible in the first or the middle frame, {least} are wanted"
        )
    chosen = candidates[torch.from_numpy(rng.permutation(len(candidates))[:count])]
    tracks, visible, valid = (
        getattr(clip, name)[:, chosen] for name in ("tracks", "visible", "valid")
    )
    return replace(clip, tracks=tracks, visible=visible, valid=valid)
