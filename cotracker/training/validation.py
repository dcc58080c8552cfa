"""What a run shows beside its losses: held-out benchmarks, and pictures of tracks and attention."""

import math

import numpy as np
import torch
from torch import Tensor

from cotracker import checks
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.run import evaluate, mean
from cotracker.model.cotracker import CoTracker
from cotracker.queries import grid, sample_training_queries
from cotracker.trackers.cotracker import CoTrackerPredictor, build_chain
from cotracker.trackers.tracker import Tracker
from cotracker.training.attention import group_attention
from cotracker.training.distributed import Group
from cotracker.types import Clip, Tracks
from cotracker.visualize import attention_sheet, contact_sheet

POINTS = 48  # drawn at most


def check_evaluation(evaluation: dict, benchmarks: dict[str, Benchmark], model: CoTracker) -> None:
    """Nothing; ValueError, one sentence, for settings under `evaluation` that cannot be."""
    best = evaluation["best"]
    if best is not None and str(best).partition("/")[0] not in benchmarks:
        raise ValueError(
            "evaluation.best must be null or BENCHMARK/METRIC, with BENCHMARK of "
            f"{', '.join(benchmarks)}, not {best}"
        )
    checks.switch("evaluation.single_point", evaluation["single_point"])
    try:
        _tracker(model, evaluation)
    except ValueError as error:
        raise ValueError(f"evaluation: {error}") from error


def _tracker(model: CoTracker, options: dict) -> Tracker:
    support = (options["global_grid"], options["local_grid"])
    return build_chain(
        model, options["iters"], options["resolution"], options["single_point"], support
    )


def evaluate_model(
    model: CoTracker, benchmark: Benchmark, options: dict, group: Group
) -> dict[str, float]:
    """The benchmark's means for the model as it is, on every rank; the ranks share the videos.

    options: of the tracker, as in configs/tracker/cotracker.yaml.
    """
    rows = evaluate(_tracker(model, options), benchmark, group.rank, group.world)
    return mean([row for part in group.all_gather_object(rows) for row in part])


def best_value(best: str, name: str, means: dict[str, float]) -> float:
    """The mean that evaluation.best names, BENCHMARK/METRIC, -inf where it is not among these."""
    benchmark, _, metric = best.partition("/")
    if benchmark == name and metric not in means:
        print(f"evaluation.best: {name} has no metric {metric}, only {', '.join(means)}")
    return means.get(metric, -math.inf) if benchmark == name else -math.inf


@torch.no_grad()
def draw_pictures(model: CoTracker, clip: Clip) -> dict[str, np.ndarray]:
    """Pictures of a collated batch's first clip.

    "tracks": the true ones above the model's.  "attention": of one point, see _draw_attention.
    """
    few = min(POINTS, clip.tracks.shape[2])
    clip = Clip(
        clip.video[:1],
        clip.tracks[:1, :, :few],
        clip.visible[:1, :, :few],
        clip.valid[:1, :, :few],
        seed=clip.seed[:1],
    )
    queries, point_mask = sample_training_queries(clip)
    queries = torch.where(point_mask[..., None], queries, 0.0)
    visible = clip.visible & clip.valid & point_mask[:, None]
    true_xy = torch.where(clip.valid[..., None], clip.tracks, torch.nan)
    found = CoTrackerPredictor(model)(clip.video, queries)
    found_xy = torch.where(point_mask[:, None, :, None], found.xy, torch.nan)
    rows = [
        contact_sheet(clip.video, Tracks(true_xy, visible.float(), visible)),
        contact_sheet(clip.video, Tracks(found_xy, found.visibility, found.visible)),
    ]
    line = np.full((4, rows[0].shape[1], 3), 255, np.uint8)
    pictures = {"tracks": np.concatenate([rows[0], line, rows[1]])}
    if point_mask.any():
        query = queries[:, point_mask[0].int().argmax()][:, None]
        pictures |= _draw_attention(model, clip.video, query)
    return pictures


def _draw_attention(model: CoTracker, video: Tensor, query: Tensor) -> dict[str, np.ndarray]:
    """What a query 1 1 3 with 6x6 support points attends to, in the last frame.

    {} for a model without group layers.
    """
    support = grid(6, tuple(video.shape[-2:]), frame=int(query[0, 0, 0])).to(query)
    queries = torch.cat([query, support], dim=1)
    weights = group_attention(model, video, queries)
    if weights is None:
        return {}
    last = CoTrackerPredictor(model)(video, queries).xy[0, -1]
    return {"attention": attention_sheet(video[0, -1], last, weights[0, 0], 0)}
