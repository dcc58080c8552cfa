"""What a training run shows beside its losses: held-out benchmarks, and pictures of its tracks."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cotracker import checks
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.run import evaluate, mean
from cotracker.model.cotracker import CoTracker
from cotracker.queries import grid, sample_queries
from cotracker.trackers.build import build_chain
from cotracker.trackers.cotracker import CoTrackerPredictor
from cotracker.trackers.options import TrackerOptions
from cotracker.trackers.tracker import Tracker
from cotracker.training.distributed import Group
from cotracker.training.group_attention import group_attention
from cotracker.types import Clip, Tracks
from cotracker.visualize import attention_sheet, contact_sheet

POINTS = 48  # rendered at most


def check_evaluation(evaluation: dict, benchmarks: dict[str, Benchmark], model: CoTracker) -> None:
    """ValueError where the settings under `evaluation` cannot be used; called before a run."""
    best = evaluation["best"]
    if best is not None and str(best).partition("/")[0] not in benchmarks:
        raise ValueError(
            "evaluation.best must be null or BENCHMARK/METRIC, "
            f"with BENCHMARK of {', '.join(benchmarks)}, not {best}"
        )
    checks.switch("evaluation.single_point", evaluation["single_point"])
    try:
        _build_tracker(model, evaluation)
    except ValueError as error:
        raise ValueError(f"evaluation: {error}") from error


def validate(
    model: CoTracker, benchmark: Benchmark, evaluation: dict, group: Group
) -> dict[str, float]:
    """The benchmark's means for the current model, on every rank; the ranks share the videos.

    evaluation: the TrackerOptions of configs/train.yaml and further settings.
    """
    rows = evaluate(_build_tracker(model, evaluation), benchmark, group.rank, group.world)
    return mean([row for part in group.all_gather_object(rows) for row in part])


def best_value(best: str | None, name: str, means: dict[str, float]) -> float | None:
    """The mean that evaluation.best names, BENCHMARK/METRIC; None where it is not among these."""
    benchmark, _, metric = str(best).partition("/")
    if benchmark != name:
        return None
    if metric not in means:
        print(f"evaluation.best: {name} has no metric {metric}, only {', '.join(means)}")
    return means.get(metric)


@torch.no_grad()
def render_pictures(model: CoTracker, clip: Clip) -> dict[str, np.ndarray]:
    """Pictures H W 3 of a batch's first clip: "tracks" and "attention".

    "tracks" has the target above the prediction. "attention" is that of one point; models without
    group layers have none.
    """
    count = min(POINTS, clip.tracks.shape[2])
    parts = {name: getattr(clip, name)[:1, :, :count] for name in ("tracks", "visible", "valid")}
    one = Clip(clip.video[:1], **parts, seed=clip.seed[:1])
    queries, point_mask = sample_queries(one)
    queries = torch.where(point_mask[..., None], queries, 0.0)
    visible = one.visible & one.valid & point_mask[:, None]
    target_xy = torch.where(one.valid[..., None], one.tracks, torch.nan)  # NaN is not drawn
    predicted = CoTrackerPredictor(model)(one.video, queries)
    predicted_xy = torch.where(point_mask[:, None, :, None], predicted.xy, torch.nan)
    sheets = [
        contact_sheet(one.video, tracks)
        for tracks in (
            Tracks(target_xy, visible.float(), visible),
            replace(predicted, xy=predicted_xy),
        )
    ]
    line = np.full((4, sheets[0].shape[1], 3), 255, np.uint8)
    pictures = {"tracks": np.concatenate([sheets[0], line, sheets[1]])}
    if point_mask.any():
        query = queries[:, point_mask[0].int().argmax()][:, None]
        pictures |= _render_attention(model, one.video, query)
    return pictures


def _build_tracker(model: CoTracker, evaluation: dict) -> Tracker:
    names = ("iters", "resolution", "single_point", "support_grid", "local_support_grid")
    return build_chain(model, TrackerOptions(**{name: evaluation[name] for name in names}))


def _render_attention(model: CoTracker, video: Tensor, query: Tensor) -> dict[str, np.ndarray]:
    """What a query 1 1 3 with 6x6 support points attends to, in the last frame; or {}."""
    support = grid(6, tuple(video.shape[-2:]), frame=int(query[0, 0, 0])).to(query)
    queries = torch.cat([query, support], dim=1)
    weights = group_attention(model, video, queries)
    if weights is None:
        return {}
    last = CoTrackerPredictor(model)(video, queries).xy[0, -1]
    return {"attention": attention_sheet(video[0, -1], last, weights[0, 0], 0)}
