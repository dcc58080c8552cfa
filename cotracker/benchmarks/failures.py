"""Pictures of the tracks with the largest errors: target and prediction on the same frames."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.breakdown import tapvid_ratio
from cotracker.benchmarks.results import worst
from cotracker.benchmarks.run import Row, Unreadable, predict, read, with_required_direction
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.views import MappedVideo
from cotracker.types import Clip, EvalTargets, Tracks
from cotracker.visualize import contact_sheet

TARGET_COLOUR, PREDICTED_COLOUR = (60, 220, 90), (255, 70, 60)  # green, red
POINTS, FRAMES = 3, 5  # of a picture, at most


def render_failures(
    tracker: Tracker, benchmark: Benchmark, rows: list[Row], count: int
) -> Iterator[tuple[str, np.ndarray, list[dict]]]:
    """Of the `count` worst videos, the worst first: name, picture H W 3 uint8, points as JSON.

    The videos are tracked again, as rows hold no tracks. The target is green, the prediction red;
    rings are invisible points.
    """
    directed = with_required_direction(tracker, benchmark).eval()
    pictures = dict.fromkeys(worst(rows, count))
    for index in range(len(benchmark.clips) if pictures else 0):
        if benchmark.names and benchmark.names[index] not in pictures:
            continue
        try:
            clip, targets = read(benchmark, index)
            if clip.name in pictures:
                tracks = predict(directed, clip, targets)
                pictures[clip.name] = _render(clip, targets, tracks)
        except Unreadable:
            continue
    for name, picture in pictures.items():
        if picture is not None:
            yield name, *picture


def point_errors(targets: EvalTargets, tracks: Tracks, clip: Clip) -> Tensor:
    """N: each point's mean error over its counted visible frames, NaN where it has none.

    In pixels of the 256x256 frame.
    """
    distance = ((tracks.xy - targets.target.xy) * tapvid_ratio(clip)).norm(dim=-1)[0]
    counted = (targets.eval_mask & targets.target.visible)[0]
    total = torch.where(counted, distance, 0.0).sum(0) / counted.sum(0).clamp(min=1)
    return torch.where(counted.any(0), total, torch.nan)


def worst_points(error: Tensor, count: int) -> Tensor:
    """The indices of the `count` points with the largest errors, the largest first, without NaN."""
    order = error.nan_to_num(-1).argsort(descending=True)[:count]
    return order[~error[order].isnan()]


def _render(clip: Clip, targets: EvalTargets, tracks: Tracks) -> tuple[np.ndarray, list[dict]]:
    error = point_errors(targets, tracks, clip)
    chosen = worst_points(error, POINTS)
    queries = targets.queries[0, chosen]
    is_query = torch.arange(clip.video.shape[0])[:, None] == queries[:, 0]
    shown = targets.eval_mask[0, :, chosen] | is_query  # T n
    frames = _spread(shown.any(1).nonzero()[:, 0].tolist())
    target = targets.target
    visible_target = torch.where(shown[None, ..., None], target.xy[:, :, chosen], torch.nan)
    both = Tracks(
        torch.cat([visible_target, tracks.xy[:, :, chosen]], dim=2)[:, frames],
        torch.cat([one.visibility[:, :, chosen] for one in (target, tracks)], dim=2)[:, frames],
        torch.cat([one.visible[:, :, chosen] for one in (target, tracks)], dim=2)[:, frames],
    )
    colours = [TARGET_COLOUR] * len(chosen) + [PREDICTED_COLOUR] * len(chosen)
    picture = contact_sheet(
        MappedVideo(clip.video, frames)[:, :],
        both,
        count=len(frames),
        trail=0,
        colours=np.array(colours, np.uint8).reshape(-1, 3),
    )
    points = [
        {"frame": int(t), "x": round(x, 2), "y": round(y, 2), "error": round(e, 2)}
        for (t, x, y), e in zip(queries.tolist(), error[chosen].tolist())
    ]
    return picture, points


def _spread(frames: list[int]) -> list[int]:
    """FRAMES of them or fewer, with the first and the last; [0] of none."""
    if not frames:
        return [0]
    places = np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)
    return [frames[k] for k in np.unique(places)]
