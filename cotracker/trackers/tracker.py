"""The interface of every method: a video and queries in, Tracks out; both are checked here."""

from abc import ABC, abstractmethod
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from cotracker.trackers.live import Live, LiveOptions
from cotracker.types import Tracks, Video


class Tracker(nn.Module, ABC):
    """Whatever answers tracker(video, queries) with Tracks.

    A call checks the video and the queries. `forward` trusts them; so a tracker that wraps
    another calls that one's `forward`.
    """

    both_directions = False  # whether frames before a query are tracked too

    def __call__(self, video: Video, queries: Tensor) -> Tracks:
        """Tracks of `queries` B N 3 (t, x, y) in each frame of `video` B T 3 H W, 0..255.

        Queries and tracks are in the pixels of this video. A video of B = 1 may serve several
        sets of queries. ValueError, one sentence, for a video or queries that cannot be.
        """
        return super().__call__(video, check_queries(queries, video))

    @abstractmethod
    def forward(self, video: Video, queries: Tensor) -> Tracks:
        """The Tracks of checked float32 queries B N 3 in a checked video."""

    def stream(
        self,
        queries: object = None,
        *,
        mode: str = "window",
        provisional: bool = True,
        iters: int | None = None,
        context: int | None = None,
    ):
        """A Stream of queries N 3 (t, x, y): frames in, tracks out, in bounded memory.

        The settings are those of LiveOptions.  ValueError, one sentence: this tracker cannot follow
        a stream, or a setting or a query cannot be.
        """
        from cotracker.trackers.stream import Stream

        options = LiveOptions(mode, provisional, iters, context)
        stream = Stream(self, queries, options)
        stream.describe()  # makes what follows it once: this refuses now and not at the first frame
        return stream

    def start_live(self, size: tuple[int, int], options: LiveOptions) -> Live:
        """What follows frames of a size (H, W); ValueError where a tracker cannot."""
        raise ValueError(
            f"{type(self).__name__} cannot follow a stream: take a tracker that goes forward, "
            "frame by frame or window by window, with all points together"
        )

    @property
    def device(self) -> torch.device:
        """Where the parameters are; the CPU for a tracker without."""
        tensors = chain(self.parameters(), self.buffers())
        return next(tensors, torch.empty(0)).device

    def describe(self) -> dict:
        """What a result must record about this tracker, as JSON values."""
        return {"tracker": type(self).__name__}


def check_video(video: Video) -> tuple[int, ...]:
    """The shape (B, T, 3, H, W) of a video, or a ValueError, one sentence, on what is wrong.

    Refused: what is neither a tensor nor a lazy video (types.Video), another shape, no frames or
    pixels, and float tensors that look like 0..1 instead of 0..255. Frames of a lazy video are
    not read here.
    """
    shape = getattr(video, "shape", None)
    if not isinstance(shape, (tuple, list)) or isinstance(video, np.ndarray):
        raise ValueError(
            "video must be a tensor B T 3 H W, or a lazy video with shape and slices, "
            f"not {type(video).__name__}"
        )
    sides = " ".join(map(str, shape))
    if len(shape) != 5 or shape[2] != 3:
        raise ValueError(f"video must have shape B T 3 H W, not {sides}")
    if min(shape) < 1:
        raise ValueError(f"video must hold at least one frame and one pixel, and not be {sides}")
    if isinstance(video, Tensor) and _looks_like_shares(video):
        raise ValueError("video looks like 0..1, and must be 0..255: multiply by 255")
    return tuple(shape)


def _looks_like_shares(video: Tensor) -> bool:
    """Whether a float video holds nothing above 1, and something above 0."""
    if not video.is_floating_point() or video[:, :1].max() > 1:
        return False
    return bool(0 < video.max() <= 1)


def check_frames(frames: Tensor) -> Tensor:
    """Frames read from a video; ValueError where they are no tensor or hold NaN or infinity."""
    if not isinstance(frames, Tensor):
        kind = type(frames).__name__
        raise ValueError(f"a slice of video must be a tensor B n 3 H W, not {kind}")
    if frames.is_floating_point() and not torch.isfinite(frames).all():
        raise ValueError("video holds NaN or infinity: every pixel must be a number from 0 to 255")
    return frames


def check_queries(queries: Tensor, video: Video) -> Tensor:
    """The queries B N 3 as float32, or a ValueError, one sentence, on them or on the video.

    A video of B = 1 may serve several sets of queries. Refused: another shape or batch, integer
    dtypes (rescaling would truncate them), NaN or infinity, frames outside the video or between
    two frames, positions more than half a frame outside the picture.
    """
    batch, frames, _, height, width = check_video(video)
    queries = _check_layout(queries, batch)
    time, x, y = queries.unbind(-1)
    if ((time < 0) | (time > frames - 1)).any():
        raise ValueError(
            f"a query's frame is outside the video: it has frames 0 to {frames - 1}, "
            f"queries have {_span(time)}"
        )
    if (time != time.round()).any():
        raise ValueError("a query's frame must be a whole number")
    outside = (x < -width / 2) | (x > 1.5 * width) | (y < -height / 2) | (y > 1.5 * height)
    if outside.any():
        raise ValueError(
            f"a query lies far outside the {width}x{height} picture "
            f"(x {_span(x)}, y {_span(y)}): rows are (frame, x, y) in pixels"
        )
    return queries


def _check_layout(queries: Tensor, batch: int) -> Tensor:
    """The queries as float32, of the right shape, batch and dtype and all finite."""
    if not isinstance(queries, Tensor):
        kind = type(queries).__name__
        raise ValueError(
            "queries must be a tensor (B, N, 3) with rows (frame, x, y), "
            f"not {kind}: use torch.tensor"
        )
    shape = tuple(queries.shape)
    if queries.ndim != 3 or shape[-1] != 3:
        raise ValueError(f"queries must have shape (B, N, 3) with rows (frame, x, y), not {shape}")
    if shape[0] != batch and batch != 1:
        raise ValueError(f"queries are for {shape[0]} videos, but the video holds {batch}")
    if not queries.is_floating_point():
        raise ValueError(
            f"queries must be floating point, not {queries.dtype}: use queries.float()"
        )
    queries = queries.float()
    if not torch.isfinite(queries).all():
        raise ValueError("queries hold NaN or infinity: every row must be a finite (frame, x, y)")
    return queries


def _span(values: Tensor) -> str:
    return f"{values.min().item():g} to {values.max().item():g}"


def resolve_device(name: str) -> torch.device:
    """The device of that name, which works here; "auto" is a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {name} cannot be used on this machine: use auto or cpu"
        ) from error
