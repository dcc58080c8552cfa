"""The one door of every method: a video and queries in, Tracks out."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from cotracker.types import Tracks, Video


class Tracker(nn.Module, ABC):
    """Whatever answers (video, queries) -> Tracks; `both_directions` says whether frames before a query are tracked."""

    both_directions = False

    @abstractmethod
    def forward(self, video: Video, queries: Tensor) -> Tracks:
        """Tracks of `queries` B N 3 (t, x, y; float, its pixels) in each frame of `video` B T 3 H W, 0..255."""

    def describe(self) -> dict:
        """What a result must say about this tracker (resolution, support, threshold, …): JSON values only."""
        return {"tracker": type(self).__name__}


def check_queries(queries: Tensor, video: Video) -> Tensor:
    """The queries B N 3 as float32, or a ValueError with one sentence on what is wrong with them.

    A video of batch 1 may serve B sets of queries. Refused: another shape or batch, integer dtypes (they cannot hold
    positions between pixels, and rescaling them would truncate), NaN or infinity, frames outside the video or between
    two frames, positions more than half a frame outside the picture.
    """
    batch, frames, _, height, width = video.shape
    if queries.ndim != 3 or queries.shape[-1] != 3:
        raise ValueError(f"queries must have shape (B, N, 3) with rows (frame, x, y), not {tuple(queries.shape)}")
    if queries.shape[0] != batch and batch != 1:
        raise ValueError(f"queries are for {queries.shape[0]} videos, but the video holds {batch}")
    if not queries.is_floating_point():
        raise ValueError(f"queries must be floating point, not {queries.dtype}: use queries.float()")
    queries = queries.float()
    if not torch.isfinite(queries).all():
        raise ValueError("queries hold NaN or infinity: every row must be a finite (frame, x, y)")
    time, x, y = queries.unbind(-1)
    if queries.numel() and ((time < 0) | (time > frames - 1)).any():
        raise ValueError(
            f"a query's frame is outside the video: it has frames 0 to {frames - 1}, queries ask {_span(time)}"
        )
    if (time != time.round()).any():
        raise ValueError("a query's frame must be a whole number")
    outside = (x < -width / 2) | (x > 1.5 * width) | (y < -height / 2) | (y > 1.5 * height)
    if outside.any():
        raise ValueError(
            f"a query lies far outside the {width}x{height} picture (x {_span(x)}, y {_span(y)}): "
            "rows are (frame, x, y) in pixels"
        )
    return queries


def held_near(queries: Tensor, size: tuple[int, int]) -> Tensor:
    """Queries (..., 3) with positions held where check_queries allows them in a picture of `size` (H, W).

    For wrappers: rescaling or a support grid may carry a query that is itself allowed a little beyond that.
    """
    height, width = size
    low, high = queries.new_tensor([-width / 2, -height / 2]), queries.new_tensor([1.5 * width, 1.5 * height])
    return torch.cat([queries[..., :1], queries[..., 1:].maximum(low).minimum(high)], dim=-1)


def _span(values: Tensor) -> str:
    return f"{values.min().item():g} to {values.max().item():g}"
