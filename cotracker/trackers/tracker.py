"""The one door of every method: a video and queries in, Tracks out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Integral

import numpy as np
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


SMALLEST, LARGEST = 32, 4096  # sides of a working size


def check_video(video: Video) -> tuple[int, ...]:
    """The shape (B, T, 3, H, W) of a video, or a ValueError with one sentence on what is wrong with it.

    Refused: what is neither a tensor nor a lazy video (see types.Video), another shape, no frames or pixels, and float
    tensors that look like 0..1 instead of 0..255. The pictures of a lazy video are not looked at here.
    """
    kind = type(video).__name__
    try:
        shape = tuple(video.shape)
    except (AttributeError, TypeError):
        shape = None
    if shape is None or isinstance(video, np.ndarray):
        raise ValueError(
            f"video must be a tensor B T 3 H W, or a lazy video with shape and slices, not {kind}"
        )
    if len(shape) != 5 or shape[2] != 3:
        raise ValueError(f"video must have shape B T 3 H W, not {_by(shape)}")
    if min(shape) < 1:
        raise ValueError(
            f"video must hold at least one frame and one pixel, and not be {_by(shape)}"
        )
    if (
        isinstance(video, Tensor)
        and video.is_floating_point()
        and video[:, :1].max() <= 1
        and 0 < video.max() <= 1
    ):
        raise ValueError("video looks like 0..1, and must be 0..255: multiply by 255")
    return shape


def check_frames(frames: Tensor) -> Tensor:
    """A slice of a video, or a ValueError where it is no tensor or holds NaN or infinity."""
    if not isinstance(frames, Tensor):
        raise ValueError(
            f"a slice of video must be a tensor B n 3 H W, not {type(frames).__name__}"
        )
    if frames.is_floating_point() and not torch.isfinite(frames).all():
        raise ValueError("video holds NaN or infinity: every pixel must be a number from 0 to 255")
    return frames


def check_size(size: Sequence[int] | None) -> tuple[int, int] | None:
    """A working size as the tuple (H, W), None for the video's own, or a ValueError with one sentence."""
    if size is None:
        return None
    sides = [] if isinstance(size, str) or not isinstance(size, Sequence) else list(size)
    if len(sides) != 2 or not all(is_whole(side) and SMALLEST <= side <= LARGEST for side in sides):
        limits = f"each a whole number from {SMALLEST} to {LARGEST}"
        raise ValueError(
            f"resolution must be (height, width), {limits}, or None for the video's own, not {size}"
        )
    return tuple(sides)


def is_whole(value: object) -> bool:
    """Whether a setting is a whole number; True and False are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_queries(queries: Tensor, video: Video) -> Tensor:
    """The queries B N 3 as float32, or a ValueError with one sentence on what is wrong with them or with the video.

    A video of batch 1 may serve B sets of queries. Refused: another shape or batch, integer dtypes (they cannot hold
    positions between pixels, and rescaling them would truncate), NaN or infinity, frames outside the video or between
    two frames, positions more than half a frame outside the picture.
    """
    batch, frames, _, height, width = check_video(video)
    if not isinstance(queries, Tensor):
        kind = type(queries).__name__
        raise ValueError(
            f"queries must be a tensor (B, N, 3) with rows (frame, x, y), not {kind}: use torch.tensor"
        )
    if queries.ndim != 3 or queries.shape[-1] != 3:
        raise ValueError(
            f"queries must have shape (B, N, 3) with rows (frame, x, y), not {tuple(queries.shape)}"
        )
    if queries.shape[0] != batch and batch != 1:
        raise ValueError(f"queries are for {queries.shape[0]} videos, but the video holds {batch}")
    if not queries.is_floating_point():
        raise ValueError(
            f"queries must be floating point, not {queries.dtype}: use queries.float()"
        )
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
    low, high = (
        queries.new_tensor([-width / 2, -height / 2]),
        queries.new_tensor([1.5 * width, 1.5 * height]),
    )
    return torch.cat([queries[..., :1], queries[..., 1:].maximum(low).minimum(high)], dim=-1)


def _by(shape: tuple[int, ...]) -> str:
    return " ".join(map(str, shape))


def _span(values: Tensor) -> str:
    return f"{values.min().item():g} to {values.max().item():g}"


def usable_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one. ValueError where it cannot be used here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {name} cannot be used on this machine: say auto or cpu"
        ) from error
