"""What people hand to a tracker, as a Video and as queries; checked here, once."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cotracker.tracks import Tracks
from cotracker.types import Video

ROWS = "rows are (frame, x, y)"
PICTURES = "each H W 3 of 0..255, all of one size"
NORMALISED = 10  # no number of a picture that was divided by its deviation is larger
OVERSHOOT = 128  # by so much at most a resized picture leaves 0..255


@contextmanager
def opened(video: object) -> Iterator[Video]:
    """The Video B T 3 H W of what a user has; a file that it opens is closed at the end.

    Taken: a path (a file or a folder of pictures), a tensor or an array B T 3 H W, T 3 H W,
    T H W 3 or B T H W 3, a list or an iterator of frames H W 3 (all are held in memory), and
    every lazy Video. ValueError, one sentence, for anything else.
    """
    if isinstance(video, (str, bytes, Path)):
        from cotracker.data.video import open_video

        with closing(open_video(video)) as read:
            yield read
        return
    if isinstance(video, (list, tuple)) or isinstance(video, Iterator):
        video = _stack_frames(video)
    if isinstance(video, np.ndarray):
        video = to_tensor("video", video)
    if isinstance(video, Tensor):
        video = five_axes(video)
    check_video(video)
    yield video


def _stack_frames(frames: Iterable) -> np.ndarray | Tensor:
    """T H W 3 of frames H W 3, or T 3 H W of 3 H W."""
    frames = [frame if isinstance(frame, Tensor) else np.asarray(frame) for frame in frames]
    shapes = {tuple(frame.shape) for frame in frames}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        found = ", ".join(" ".join(map(str, shape)) or "a number" for shape in list(shapes)[:3])
        raise ValueError(f"a list of frames must hold pictures, {PICTURES}, not {found or 'none'}")
    if all(isinstance(frame, Tensor) for frame in frames):
        return torch.stack(frames)
    return np.stack([np.asarray(frame) for frame in frames])


def five_axes(video: Tensor) -> Tensor:
    """The tensor as B T 3 H W, a view; ValueError where its colours cannot be told from its axes.

    The colours are where the shape is 3; with 4 axes B is 1.
    """
    sides = " ".join(map(str, video.shape))
    if video.ndim not in (4, 5):
        raise ValueError(f"video must have shape B T 3 H W, T 3 H W or T H W 3, not {sides}")
    first, last = video.shape[-3] == 3, video.shape[-1] == 3
    if first and last and video.ndim == 4:
        raise ValueError(f"video of shape {sides} may be T 3 H W or T H W 3: pass B T 3 H W")
    if last and not first:
        video = video.movedim(-1, -3)
    return video if video.ndim == 5 else video[None]


def to_tensor(name: str, array: object) -> Tensor:
    """A tensor of numbers from an array or nested lists; a view where that can be."""
    try:
        if np.ma.is_masked(array):
            raise ValueError("some are masked")
        array = np.asarray(array)
        if array.dtype.kind not in "fiub":
            raise ValueError(f"numbers, not {array.dtype}")
        if any(step < 0 for step in array.strides) or not array.dtype.isnative:
            array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))
        if not array.flags.writeable:
            array = array.copy()
        return torch.from_numpy(array)
    except (ValueError, TypeError) as error:
        line = str(error).splitlines()[0]
        raise ValueError(f"{name} must hold numbers in equally long rows ({line})") from error


def check_video(video: Video) -> tuple[int, ...]:
    """The shape (B, T, 3, H, W) of a video, or a ValueError, one sentence, on what is wrong.

    Refused: what is neither a tensor nor a lazy video (types.Video), another shape, no frames or
    pixels, whole numbers above 255, and float tensors that look like 0..1 instead of 0..255.
    Frames of a lazy video are not read here.
    """
    shape = getattr(video, "shape", None)
    if not isinstance(shape, (tuple, list)) or isinstance(video, np.ndarray):
        raise ValueError(
            "video must be a tensor B T 3 H W, an array, a list of frames, a path, or a lazy video "
            f"with shape and slices, not {type(video).__name__}"
        )
    sides = " ".join(map(str, shape))
    if len(shape) != 5 or shape[2] != 3:
        raise ValueError(f"video must have shape B T 3 H W, not {sides}")
    if min(shape) < 1:
        raise ValueError(f"video must hold at least one frame and one pixel, and not be {sides}")
    if isinstance(video, Tensor):
        _check_plain("video", video)
        _check_range(video)
    return tuple(shape)


def _check_plain(name: str, tensor: Tensor) -> None:
    """ValueError for a tensor without values of its own, or of other things than real numbers."""
    if tensor.device.type == "meta" or tensor.layout != torch.strided or tensor.is_quantized:
        raise ValueError(f"{name} must be a dense tensor that holds its numbers")
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise ValueError(f"{name} must be numbers, not {tensor.dtype}")


def _check_range(video: Tensor) -> None:
    if video.dtype == torch.uint8:
        return
    real = video.is_floating_point()
    low, high = (one.item() for one in (video if real else video.to(torch.int64)).aminmax())
    if real and 0 < high <= 1 and low >= 0:
        raise ValueError("video looks like 0..1, and must be 0..255: multiply by 255")
    found = f"video holds numbers from {low:g} to {high:g}"
    if real and low < 0 < high <= NORMALISED:
        raise ValueError(f"{found}, as normalised pictures do: give them as they were, 0..255")
    room = OVERSHOOT if real else 0
    if low < -room or high > 255 + room:
        raise ValueError(f"{found}, and must be 0..255: scale them to it")


def check_frames(frames: Tensor) -> Tensor:
    """Frames read from a video; ValueError where they are no tensor or hold NaN or infinity."""
    if not isinstance(frames, Tensor):
        kind = type(frames).__name__
        raise ValueError(f"a slice of video must be a tensor B n 3 H W, not {kind}")
    if frames.is_floating_point() and not torch.isfinite(frames).all():
        raise ValueError("video holds NaN or infinity: every pixel must be a number from 0 to 255")
    return frames


def check_queries(queries: object, video: Video) -> Tensor:
    """The queries as float32 B N 3, or a ValueError, one sentence, on them or on the video.

    queries: B N 3, or N 3 for one video; a tensor, an array or nested lists, of any numbers.
    A video of B = 1 may serve several sets of queries. Refused: another shape or batch, NaN or
    infinity, frames outside the video or between two frames, positions more than half a frame
    outside the picture.
    """
    batch, frames, _, height, width = check_video(video)
    queries = _check_layout(queries, batch)
    if not queries.shape[1]:
        return queries
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
            f"(x {_span(x)}, y {_span(y)}): {ROWS} in pixels"
        )
    return queries


def _check_layout(queries: object, batch: int) -> Tensor:
    """The queries as float32, of the right shape and batch and all finite."""
    if not isinstance(queries, Tensor):
        queries = to_tensor("queries", queries)
    _check_plain("queries", queries)
    if queries.ndim == 2:
        queries = queries[None]
    shape = tuple(queries.shape)
    if queries.ndim == 3 and shape[-1] == 2:
        raise ValueError(
            f"queries must have shape (B, N, 3), not {shape}: {ROWS}, so put the frame, such as 0, "
            "before x and y"
        )
    if queries.ndim != 3 or shape[-1] != 3:
        raise ValueError(f"queries must have shape (B, N, 3), not {shape}: {ROWS}")
    if shape[0] != batch and batch != 1:
        raise ValueError(f"queries are for {shape[0]} videos, but the video holds {batch}")
    queries = queries.float()
    if not torch.isfinite(queries).all():
        raise ValueError("queries hold NaN or infinity: every row must be a finite (frame, x, y)")
    return queries


def check_answer(answer: object, frames: int, queries: Tensor, tracker: object) -> Tracks:
    """What a tracker gave for queries B N 3; ValueError where it is no such Tracks."""
    name = type(tracker).__name__
    if not isinstance(answer, Tracks):
        raise ValueError(f"{name} must give cotracker.tracks.Tracks, not {type(answer).__name__}")
    shape = (queries.shape[0], frames, queries.shape[1])
    for field, wanted in (("xy", (*shape, 2)), ("visibility", shape), ("visible", shape)):
        found = tuple(getattr(answer, field).shape)
        if found != wanted:
            raise ValueError(f"{name} must give {field} of shape {wanted}, B T N, not {found}")
    if answer.visible.dtype != torch.bool:
        raise ValueError(f"{name} must give visible as bool, not {answer.visible.dtype}")
    return answer


def pad_queries(queries: object) -> tuple[object, Tensor | None]:
    """A list of one array N 3 a clip, of different N, padded to B N 3; and B N bool, the real ones.

    Padded points are (0, 0, 0). All else comes back as it is, and None.
    """
    if not isinstance(queries, Sequence) or isinstance(queries, str):
        return queries, None
    counts = [_rows(one) for one in queries]
    if None in counts or len(set(counts)) < 2:
        return queries, None
    parts = [_check_layout(one, 1)[0] for one in queries]
    padded = torch.zeros(len(parts), max(counts), 3)
    mask = torch.zeros(padded.shape[:2], dtype=torch.bool)
    for item, part in enumerate(parts):
        padded[item, : len(part)] = part
        mask[item, : len(part)] = True
    return padded, mask


def _rows(value: object) -> int | None:
    """N of an array or nested lists N 3, None of anything else."""
    try:
        shape = tuple(value.shape) if isinstance(value, Tensor) else np.shape(value)
    except ValueError:
        return None
    return shape[0] if len(shape) == 2 else None


def _span(values: Tensor) -> str:
    return f"{values.min().item():g} to {values.max().item():g}"
