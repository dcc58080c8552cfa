"""A tracker put to a benchmark: one row per video, and their mean."""

import math
import time
from collections.abc import Callable
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.breakdown import Errors
from cotracker.trackers.tracker import Tracker, check_queries
from cotracker.trackers.wrappers import Bidirectional
from cotracker.types import Clip, EvalTargets, Tracks, Video

Row = dict[
    str, str | float | Errors
]  # "errors", only where the benchmark has a breakdown, is Errors


class Unreadable(ValueError):
    """A video of the benchmark that cannot be read: its name, and one sentence."""

    def __init__(self, name: str, reason: str):
        super().__init__(reason)
        self.name = name


class Kept(Protocol):
    """Where finished rows are kept (rows.Rows is one)."""

    def get(self, name: str) -> Row | None: ...

    def put(self, row: Row) -> None: ...

    def put_broken(self, name: str, reason: str) -> None: ...


def evaluate(
    tracker: Tracker,
    benchmark: Benchmark,
    rank: int = 0,
    world: int = 1,
    progress: Callable[[Row], None] | None = None,
    kept: Kept | None = None,
) -> list[Row]:
    """Rows {name, the metric's percentages, seconds}, one per video of this rank (videos are dealt rank::world).

    Runs on the tracker's device, in its evaluation mode, without gradients, and in both directions where the benchmark
    asks for them; `progress` is given each row when done.
    kept: rows found there are not measured again, new ones go there, and a video that cannot be read is written down
    there and left out; without it, such a video is Unreadable.
    """
    device = next(chain(tracker.parameters(), tracker.buffers()), torch.empty(0)).device
    was_training = tracker.training
    rows = []
    try:
        facing_both = with_required_direction(tracker, benchmark).eval()
        for index in range(rank, len(benchmark.clips), world):
            row = _row(facing_both, benchmark, index, device, kept)
            if row is not None:
                rows.append(row)
                if progress:
                    progress(row)
    finally:
        tracker.train(was_training)
    return rows


def with_required_direction(tracker: Tracker, benchmark: Benchmark) -> Tracker:
    """The tracker, within Bidirectional where the benchmark asks about both directions and it knows one only."""
    if benchmark.both_directions and not tracker.both_directions:
        return Bidirectional(tracker)
    return tracker


@torch.no_grad()
def answers(
    tracker: Tracker, benchmark: Benchmark, clip: Clip, device: torch.device
) -> tuple[EvalTargets, Tracks]:
    """What the benchmark asks about a clip, and what the tracker (already with_required_direction) says, on the CPU."""
    targets = benchmark.protocol(clip)
    tracks = tracker(_OneVideo(clip, device), targets.queries.to(device)).to("cpu")
    if not torch.isfinite(tracks.xy).all():
        raise ValueError(
            f"the tracker gave NaN or infinite positions on {clip.name}: its weights may be damaged"
        )
    return targets, tracks


def read(benchmark: Benchmark, index: int) -> Clip:
    """The clip; Unreadable, with its name where that is known, where its reader says what is wrong with it.

    So is a clip whose truth asks what no tracker answers, as a point far outside the picture: the others are measured.
    """
    try:
        clip = benchmark.clips[index]
    except (ValueError, OSError) as error:
        name = benchmark.names[index] if benchmark.names else f"#{index}"
        raise Unreadable(name, _sentence(error)) from error
    try:
        check_queries(benchmark.protocol(clip).queries, _OneVideo(clip, torch.device("cpu")))
    except ValueError as error:
        raise Unreadable(clip.name, f"{clip.name}: {_sentence(error)}") from error
    return clip


def mean(rows: list[Row]) -> dict[str, float]:
    """The plain mean over videos of every metric; a video where it is NaN is left out, and none at all gives NaN."""
    values = {key: known(rows, key) for key in metric_keys(rows)}
    return {key: sum(found) / len(found) if found else math.nan for key, found in values.items()}


def known(rows: list[Row], key: str) -> list[float]:
    """A metric's values, without the videos where nothing was to be counted."""
    return [row[key] for row in rows if not math.isnan(row[key])]


def unscored(rows: list[Row]) -> list[str]:
    """Names of the videos that some mean leaves out, because nothing was to be counted there."""
    return [row["name"] for row in rows if any(math.isnan(row[key]) for key in metric_keys(rows))]


def metric_keys(rows: list[Row]) -> list[str]:
    """The metrics' names, in their order."""
    return [key for key in rows[0] if key not in ("name", "seconds", "errors")] if rows else []


def _row(
    tracker: Tracker, benchmark: Benchmark, index: int, device: torch.device, kept: Kept | None
) -> Row | None:
    """The row of a video, kept or measured now; None where it cannot be read and that could be written down."""
    try:
        clip = None if kept is not None and benchmark.names else read(benchmark, index)
        row = kept.get(clip.name if clip else benchmark.names[index]) if kept is not None else None
        if row is None:
            row = _measured(tracker, benchmark, clip or read(benchmark, index), device)
            if kept is not None:
                kept.put(row)
        return row
    except Unreadable as error:
        if kept is None:
            raise
        kept.put_broken(error.name, str(error))
        return None


def _measured(tracker: Tracker, benchmark: Benchmark, clip: Clip, device: torch.device) -> Row:
    begin = time.perf_counter()
    targets, tracks = answers(tracker, benchmark, clip, device)
    values = benchmark.metric(tracks, targets, clip)
    if benchmark.breakdown:
        values = values | {"errors": benchmark.breakdown(tracks, targets, clip)}
    return {"name": clip.name, **values, "seconds": time.perf_counter() - begin}


class _OneVideo:
    """A clip's video with B = 1 in front, whose slices of frames come on `device`; the rest is never held there."""

    def __init__(self, clip: Clip, device: torch.device):
        self._name, self._video, self._device = clip.name, clip.video, device
        self.shape = (1, *clip.video.shape)

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        batch, frames = index
        return _frames(self._name, self._video, frames).to(self._device)[None][batch]


def _frames(name: str, video: Tensor | Video, frames: slice) -> Tensor:
    """Some frames; Unreadable where a lazy reader finds now that it cannot decode one."""
    try:
        return video[frames]
    except (ValueError, OSError) as error:
        raise Unreadable(name, _sentence(error)) from error


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
