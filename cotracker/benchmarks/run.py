"""Evaluation of a tracker on a benchmark: one row a video, and their mean."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from typing import Protocol

import torch
from torch import Tensor

from cotracker.benchmarks import metrics
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.breakdown import Errors
from cotracker.trackers.inputs import check_answer, check_queries
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.views import MappedVideo
from cotracker.trackers.wrappers import Bidirectional
from cotracker.types import Clip, EvalTargets, Tracks, check_clip

Row = dict[str, str | float | Errors]  # "errors" is there where the benchmark has a breakdown


class Unreadable(ValueError):
    """A video of the benchmark that cannot be evaluated: its name and one sentence."""

    def __init__(self, name: str, reason: str):
        super().__init__(reason)
        self.name = name


class Store(Protocol):
    """Where finished rows are stored (rows.RowStore)."""

    def get(self, name: str) -> Row | None: ...

    def put(self, row: Row) -> None: ...


def evaluate(
    tracker: Tracker,
    benchmark: Benchmark,
    rank: int = 0,
    world: int = 1,
    *,
    progress: Callable[[Row], None] | None = None,
    store: Store | None = None,
    skip: Callable[[int, Unreadable], None] | None = None,
) -> list[Row]:
    """Rows {name, the metric's percentages, seconds} of this rank's videos, rank::world.

    Runs on the tracker's device in evaluation mode, in both directions where the benchmark needs
    them, and restores the tracker's mode.
    progress: called with each row.
    store: its rows are not evaluated again, and new rows are put there.
    skip: called with index and error of a video that cannot be read; None raises the error.
    """
    was_training, rows = tracker.training, []
    try:
        directed = with_required_direction(tracker, benchmark).eval()
        for index in range(rank, len(benchmark.clips), world):
            try:
                row = _find_or_measure(directed, benchmark, index, store)
            except Unreadable as error:
                if skip is None:
                    raise
                skip(index, error)
                continue
            rows.append(row)
            if progress:
                progress(row)
    finally:
        tracker.train(was_training)
    return rows


def with_required_direction(tracker: Tracker, benchmark: Benchmark) -> Tracker:
    """The tracker, in Bidirectional where the benchmark needs both directions and it has one."""
    if benchmark.both_directions and not tracker.both_directions:
        return Bidirectional(tracker)
    return tracker


def read(benchmark: Benchmark, index: int) -> tuple[Clip, EvalTargets]:
    """A clip and its targets; Unreadable where the clip, or a query of its targets, is bad."""
    try:
        clip = check_clip(benchmark.clips[index], benchmark.clips)
    except (ValueError, OSError) as error:
        name = benchmark.names[index] if benchmark.names else f"#{index}"
        raise Unreadable(name, _one_line(error)) from error
    targets = _call("protocol", benchmark.protocol, clip)
    if not isinstance(targets, EvalTargets):
        name = benchmark.protocol.__name__
        raise ValueError(f"the protocol {name} must give EvalTargets, not {type(targets).__name__}")
    try:
        queries = check_queries(targets.queries, MappedVideo(clip.video))
    except ValueError as error:
        raise Unreadable(clip.name, f"{clip.name}: {_one_line(error)}") from error
    if not benchmark.both_directions and _counts_before_query(targets):
        raise ValueError(
            f"benchmark {benchmark.name} counts frames before a query: set both_directions to true"
        )
    return clip, replace(targets, queries=queries)


@torch.no_grad()
def predict(tracker: Tracker, clip: Clip, targets: EvalTargets) -> Tracks:
    """The tracker's answer to the targets' checked queries, on the CPU, as it comes.

    By `forward`: a call would make `visible` False outside the frame, which metrics judge.
    ValueError for NaN positions.
    """
    device = tracker.device
    video = MappedVideo(_DecodedVideo(clip), change=lambda frames: frames.to(device))
    answer = tracker.forward(video, targets.queries.to(device))
    tracks = check_answer(answer, video.shape[1], targets.queries, tracker).to("cpu")
    if not torch.isfinite(tracks.xy).all():
        raise ValueError(
            f"the tracker gave NaN or infinite positions on {clip.name}: its weights may be damaged"
        )
    return tracks


def merge_ranks(parts: list[list[Row]], count: int, skipped: set[int]) -> list[Row]:
    """All ranks' rows in the order of the benchmark's `count` videos, without those skipped."""
    rows = [iter(part) for part in parts]
    return [next(rows[index % len(rows)]) for index in range(count) if index not in skipped]


def mean(rows: list[Row]) -> dict[str, float]:
    """The plain mean over videos of every metric, without NaN; NaN where no number is left."""
    values = {key: non_nan(rows, key) for key in metric_keys(rows)}
    return {key: sum(kept) / len(kept) if kept else math.nan for key, kept in values.items()}


def non_nan(rows: list[Row], key: str) -> list[float]:
    """A metric's values, without the videos that had nothing to count."""
    return [row[key] for row in rows if not math.isnan(row[key])]


def unscored(rows: list[Row]) -> list[str]:
    """Names of the videos that some mean leaves out, as they had nothing to count."""
    return [row["name"] for row in rows if any(math.isnan(row[key]) for key in metric_keys(rows))]


def metric_keys(rows: list[Row]) -> list[str]:
    """The metrics' names, in their order."""
    return [key for key in rows[0] if key not in ("name", "seconds", "errors")] if rows else []


def _find_or_measure(
    tracker: Tracker, benchmark: Benchmark, index: int, store: Store | None
) -> Row:
    """The video's row from the store, else measured and put there."""
    loaded = None if benchmark.names else read(benchmark, index)
    name = benchmark.names[index] if loaded is None else loaded[0].name
    row = None if store is None else store.get(name)
    if row is None:
        row = _measure(tracker, benchmark, *(loaded or read(benchmark, index)))
        if store is not None:
            store.put(row)
    return row


def _call(kind: str, function: Callable, *arguments):
    """function(*arguments); ValueError where it is one of another kind."""
    try:
        return function(*arguments)
    except TypeError as error:
        name = getattr(function, "__name__", function)
        raise ValueError(
            f"the {kind} {name} cannot be called as benchmark.{kind} is ({_one_line(error)})"
        ) from error


def _measure(tracker: Tracker, benchmark: Benchmark, clip: Clip, targets: EvalTargets) -> Row:
    begin = time.perf_counter()
    tracks = predict(tracker, clip, targets)
    values = _call("metric", benchmark.metric, tracks, targets, clip)
    if not isinstance(values, dict) or not all(isinstance(one, Real) for one in values.values()):
        name = benchmark.metric.__name__
        raise ValueError(f"the metric {name} must give numbers by name, a dict, not {values}")
    values = values | metrics.confidence(tracks, targets)
    if benchmark.breakdown:
        values = values | {"errors": benchmark.breakdown(tracks, targets, clip)}
    return {"name": clip.name, **values, "seconds": time.perf_counter() - begin}


def _counts_before_query(targets: EvalTargets) -> bool:
    frame = torch.arange(targets.eval_mask.shape[1])[None, :, None]
    return bool((targets.eval_mask & (frame < targets.queries[:, None, :, 0])).any())


class _DecodedVideo:
    """A clip's video T 3 H W; Unreadable where a lazy reader cannot decode a frame."""

    def __init__(self, clip: Clip):
        self.clip = clip
        self.name = clip.name
        self.shape = clip.video.shape

    def __getitem__(self, frames: slice) -> Tensor:
        try:
            return self.clip.video[frames]
        except (ValueError, OSError) as error:
            raise Unreadable(self.clip.name, _one_line(error)) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
