"""A tracker put to a benchmark: one row per video, and their mean."""

import math
import time
from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.breakdown import Errors
from cotracker.trackers.tracker import Tracker
from cotracker.types import Clip, Video

Row = dict[str, str | float | Errors]  # "errors", only where the benchmark has a breakdown, is Errors


def evaluate(
    tracker: Tracker,
    benchmark: Benchmark,
    rank: int = 0,
    world: int = 1,
    progress: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Rows {name, the metric's percentages, seconds}, one per video of this rank (videos are dealt rank::world).

    Runs on the tracker's device, in its evaluation mode, without gradients; `progress` is given each row when done.
    """
    device = next(chain(tracker.parameters(), tracker.buffers()), torch.empty(0)).device
    was_training = tracker.training
    tracker.eval()
    rows = []
    try:
        for index in range(rank, len(benchmark.clips), world):
            rows.append(_row(tracker, benchmark, benchmark.clips[index], device))
            if progress:
                progress(rows[-1])
    finally:
        tracker.train(was_training)
    return rows


def mean(rows: list[Row]) -> dict[str, float]:
    """The plain mean over videos of every metric; a video where it is NaN is left out, and none at all gives NaN."""
    values = {key: [row[key] for row in rows if not math.isnan(row[key])] for key in metric_keys(rows)}
    return {key: sum(known) / len(known) if known else math.nan for key, known in values.items()}


def unscored(rows: list[Row]) -> list[str]:
    """Names of the videos that some mean leaves out, because nothing was to be counted there."""
    return [row["name"] for row in rows if any(math.isnan(row[key]) for key in metric_keys(rows))]


def metric_keys(rows: list[Row]) -> list[str]:
    """The metrics' names, in their order."""
    return [key for key in rows[0] if key not in ("name", "seconds", "errors")] if rows else []


@torch.no_grad()
def _row(tracker: Tracker, benchmark: Benchmark, clip: Clip, device: torch.device) -> Row:
    begin = time.perf_counter()
    questions = benchmark.protocol(clip)
    tracks = tracker(_OneVideo(clip.video, device), questions.queries.to(device)).to("cpu")
    if not torch.isfinite(tracks.xy).all():
        raise ValueError(f"the tracker gave NaN or infinite positions on {clip.name}: its weights may be damaged")
    values = benchmark.metric(tracks, questions, clip)
    if benchmark.breakdown:
        values = values | {"errors": benchmark.breakdown(tracks, questions, clip)}
    return {"name": clip.name, **values, "seconds": time.perf_counter() - begin}


class _OneVideo:
    """A clip's video with B = 1 in front, whose slices of frames come on `device`; the rest is never held there."""

    def __init__(self, video: Tensor | Video, device: torch.device):
        self._video, self._device = video, device
        self.shape = (1, *video.shape)

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        batch, frames = index
        return self._video[frames].to(self._device)[None][batch]
