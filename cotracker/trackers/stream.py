"""Frames in, tracks out: a tracker that follows a stream whose end is not known."""

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import wraps

import numpy as np
import torch
from torch import Tensor

from cotracker import checks
from cotracker.geometry import inside_frame
from cotracker.model.hardware import usual_defaults
from cotracker.trackers.inputs import check_frames, check_queries
from cotracker.trackers.live import Live, LiveOptions, Part, count_bytes
from cotracker.trackers.stream_result import StreamResult
from cotracker.trackers.tracker import Tracker
from cotracker.tracks import map_tracks

TIMED = 256  # pushes whose times describe() tells
NEVER = 2**24  # frames: a float32 holds no more of them


def _as_usual(method: Callable) -> Callable:
    """The method of a Stream, in which the caller's autocast and defaults change nothing."""

    @wraps(method)
    def wrapped(self: "Stream", *arguments):
        with usual_defaults(self.tracker.device.type):
            return method(self, *arguments)

    return wrapped


class Stream:
    """Follows points through frames as they come, in memory that does not grow.

    Made by `tracker.stream(queries, …)`.  Points may be added and removed between pushes; their
    ids are never used again.
    """

    def __init__(self, tracker: Tracker, queries: object, options: LiveOptions):
        self.tracker, self.options = tracker, options
        self._first = None if queries is None else _to_queries(queries)
        self.reset()

    @_as_usual
    def reset(self) -> None:
        """Begins again at frame 0, with the queries that the stream was made with."""
        self.size: tuple[int, int] | None = None
        self.frames = 0
        self._live: Live | None = None
        self._ids: list[int] = []
        self._queries = torch.zeros(0, 3)
        self._next_id = 0
        self._ended = False
        self._seconds: deque[float] = deque(maxlen=TIMED)
        if self._first is not None:
            self.add(self._first)

    @property
    def ids(self) -> tuple[int, ...]:
        """Of the points that are followed, in the order of the answers."""
        return tuple(self._ids)

    @property
    def open_from(self) -> int:
        """The first frame that a new query may be at: no answer of it is final yet."""
        return 0 if self._live is None else self._live.open_from

    @_as_usual
    def add(self, queries: object) -> tuple[int, ...]:
        """The ids of new points, queries N 3 (t, x, y) with t counted from the stream's first.

        What is not final yet is answered as if they had been asked from the start.
        ValueError: t is before `open_from`, or a position lies far outside the picture.
        """
        queries = _to_queries(queries)
        self._check(queries)
        ids = tuple(range(self._next_id, self._next_id + len(queries)))
        self._next_id += len(queries)
        if self._live is not None:
            with torch.inference_mode():
                self._live.add(queries)
        self._ids += ids
        self._queries = torch.cat([self._queries, queries])
        return ids

    @_as_usual
    def remove(self, ids: object) -> None:
        """Forgets these points.  Windows to come are as if they had not been asked.

        Where points see each other, what the others' tracks already owe to them stays.
        ValueError for an id that is not followed.
        """
        gone = {checks.whole("an id", one) for one in np.ravel(np.asarray(ids)).tolist()}
        missing = sorted(gone - set(self._ids))
        if missing:
            raise ValueError(f"id {missing[0]} is not followed: stream.ids has those that are")
        rows = torch.tensor([k for k, one in enumerate(self._ids) if one not in gone]).long()
        if self._live is not None:
            with torch.inference_mode():
                self._live.keep(rows)
        self._ids = [self._ids[k] for k in rows.tolist()]
        self._queries = self._queries[rows]

    @_as_usual
    def push(self, frames: object) -> StreamResult:
        """What the next frames tell: one, H W 3 or 3 H W, or several in front of each other.

        frames: numbers of 0..255, arrays or tensors, of one size in all pushes.
        """
        if self._ended:
            raise ValueError("the stream was flushed: call reset() to begin another")
        frames = to_frames(frames)
        begin = time.perf_counter()
        self._open(tuple(frames.shape[-2:]))
        with torch.inference_mode():
            part = self._live.push(frames.to(self.tracker.device))
        self.frames += frames.shape[1]
        result = self._result(part)
        self._seconds.append((time.perf_counter() - begin) / frames.shape[1])
        return result

    @_as_usual
    def flush(self) -> StreamResult:
        """What was not final yet, now final: no frame comes after it."""
        if self._live is None or self._ended:
            raise ValueError("there is nothing to flush: push frames first")
        self._ended = True
        with torch.inference_mode():
            return self._result(self._live.flush())

    @_as_usual
    def describe(self) -> dict:
        """The tracker's own, and of the stream: mode, latency and memory, as JSON values.

        final_after_frames: a frame is final when so many more have come, at the latest.
        milliseconds: a frame, median and 95th percentile of the last pushes; None before any.
        state_bytes: of all tensors held between pushes.
        """
        live = self._live or self._make_live((1, 1))
        first = 0 if self.options.mode == "frame" or self.options.provisional else live.latency
        told = [1000 * seconds for seconds in self._seconds]
        stream = {
            "mode": self.options.mode,
            "answered_after_frames": min(first, live.latency),
            "final_after_frames": live.latency,
            "milliseconds": None if not told else _percentiles(told),
            "state_bytes": 0 if self._live is None else count_bytes(live.tensors()),
        }
        return self.tracker.describe() | {"direction": "forward", "stream": stream}

    def _check(self, queries: Tensor) -> None:
        check_queries(queries[None], _Endless(self.size))
        if len(queries) and queries[:, 0].min() < self.open_from:
            raise ValueError(
                f"a query's frame {queries[:, 0].min():g} is final already: "
                f"take frame {self.open_from} or a later one"
            )

    def _open(self, size: tuple[int, int]) -> None:
        if self._live is not None:
            if size != self.size:
                raise ValueError(
                    f"a frame is {size[1]}x{size[0]}, but the stream is {self.size[1]}x"
                    f"{self.size[0]}: all frames must have one size"
                )
            return
        check_queries(self._queries[None], _Endless(size))
        live = self._make_live(size)
        with torch.inference_mode():
            live.add(self._queries)
        self.size, self._live = size, live

    def _make_live(self, size: tuple[int, int]) -> Live:
        with torch.inference_mode():
            return self.tracker.start_live(size, self.options)

    def _result(self, part: Part) -> StreamResult:
        tracks = part.tracks
        count = tracks.xy.shape[1]
        visible = tracks.visible & inside_frame(tracks.xy, self.size)
        tracks = replace(tracks, visible=visible)
        with torch.inference_mode(False):  # or nobody could write to them
            tracks = map_tracks(lambda values: values.detach().clone().cpu(), tracks)
            return StreamResult(
                torch.arange(part.start, part.start + count),
                torch.arange(count) < part.final,
                self.ids,
                replace(tracks, queries=self._queries[None].clone(), size=self.size),
            )


class _Endless:
    """What `check_queries` asks of a video, for a stream; any size before the first frame."""

    def __init__(self, size: tuple[int, int] | None):
        self.shape = (1, NEVER, 3, *(size or (2**20, 2**20)))


def to_frames(frames: object) -> Tensor:
    """1 n 3 H W of a frame H W 3 or 3 H W, or of n of them; ValueError for anything else."""
    if not isinstance(frames, Tensor):
        try:
            frames = torch.from_numpy(np.require(frames, requirements=["C", "W"]))
        except (TypeError, ValueError) as error:
            raise ValueError("frames must be arrays or tensors H W 3 of 0..255") from error
    if frames.ndim == 5 and len(frames) == 1:
        frames = frames[0]
    if frames.ndim == 3:
        frames = frames[None]
    if frames.ndim == 4 and frames.shape[1] != 3 and frames.shape[-1] == 3:
        frames = frames.movedim(-1, 1)
    if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
        sides = " ".join(map(str, frames.shape))
        raise ValueError(f"frames must be H W 3, 3 H W, or several of them, not {sides}")
    return check_frames(frames[None])


def _to_queries(queries: object) -> Tensor:
    """Queries N 3 float32 of N 3 or 1 N 3 numbers."""
    if not isinstance(queries, Tensor):
        try:
            queries = torch.as_tensor(np.asarray(queries, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError("queries must be rows (frame, x, y) of numbers") from error
    if queries.ndim == 3 and len(queries) == 1:
        queries = queries[0]
    if queries.ndim != 2 or queries.shape[1] != 3:
        sides = " ".join(map(str, queries.shape))
        raise ValueError(f"queries of a stream must be N 3, rows (frame, x, y), not {sides}")
    return queries.detach().cpu().float()


def _percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    last = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {"p50": round(statistics.median(ordered), 3), "p95": round(last, 3)}
