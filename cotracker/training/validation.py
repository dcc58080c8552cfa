"""For train.py: what a run shows beside its losses: held-out benchmarks, and pictures of what it does."""

import numpy as np
import torch
from torch import Tensor

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.run import evaluate, mean
from cotracker.model.cotracker import CoTracker
from cotracker.queries import grid, training_mix
from cotracker.trackers.cotracker import CoTrackerPredictor, build_chain
from cotracker.trackers.tracker import Tracker
from cotracker.training.attention import group_attention
from cotracker.training.distributed import Group
from cotracker.types import Clip, Tracks
from cotracker.visualize import attention_sheet, contact_sheet

POINTS = 48  # at most so many are drawn


def checked(evaluation: dict, benchmarks: dict[str, Benchmark], model: CoTracker) -> None:
    """Nothing, or ValueError, one sentence, where settings under `evaluation` cannot be: asked before a run begins."""
    best, names = evaluation["best"], ", ".join(benchmarks)
    if best is not None and str(best).partition("/")[0] not in benchmarks:
        raise ValueError(
            f"evaluation.best must be null or BENCHMARK/METRIC, with BENCHMARK of {names}, not {best}"
        )
    if type(evaluation["single_point"]) is not bool:
        raise ValueError(
            f"evaluation.single_point must be true or false, not {evaluation['single_point']}"
        )
    try:
        _chain(model, evaluation)
    except ValueError as error:
        raise ValueError(f"evaluation: {error}") from error


def _chain(model: CoTracker, chain: dict) -> Tracker:
    support = (chain["global_grid"], chain["local_grid"])
    return build_chain(model, chain["iters"], chain["resolution"], chain["single_point"], support)


def measured(model: CoTracker, benchmark: Benchmark, chain: dict, group: Group) -> dict[str, float]:
    """The benchmark's means for the model as it is, on every rank; the videos are dealt over the ranks.

    chain: iters, resolution, single_point, global_grid, local_grid, as in configs/tracker/cotracker.yaml.
    """
    rows = evaluate(_chain(model, chain), benchmark, group.rank, group.world)
    return mean([row for part in group.gathered(rows) for row in part])


@torch.no_grad()
def pictures(model: CoTracker, clip: Clip) -> dict[str, np.ndarray]:
    """Of a collated batch's first clip: "tracks", the truth above what the model says, and "attention", one point's."""
    count = min(POINTS, clip.tracks.shape[2])
    parts = {name: getattr(clip, name)[:1, :, :count] for name in ("tracks", "visible", "valid")}
    one = Clip(clip.video[:1], **parts, seed=clip.seed[:1])
    queries, real = training_mix(one)
    queries = torch.where(real[..., None], queries, 0.0)
    seen = one.visible & one.valid & real[:, None]
    truth = Tracks(torch.where(one.valid[..., None], one.tracks, torch.nan), seen.float(), seen)
    said = CoTrackerPredictor(model)(one.video, queries)
    said = Tracks(torch.where(real[:, None, :, None], said.xy, torch.nan), said.visibility, said.visible)
    rows = [contact_sheet(one.video, tracks) for tracks in (truth, said)]
    drawn = {
        "tracks": np.concatenate(
            [rows[0], np.full((4, rows[0].shape[1], 3), 255, np.uint8), rows[1]]
        )
    }
    if real.any():
        target = queries[:, real[0].int().argmax()][:, None]
        drawn |= _attention(model, one.video, target)
    return drawn


def _attention(model: CoTracker, video: Tensor, target: Tensor) -> dict[str, np.ndarray]:
    """What a target 1 1 3 with 6x6 support points attends to, drawn in the last frame; {} without group layers."""
    support = grid(6, tuple(video.shape[-2:]), frame=int(target[0, 0, 0])).to(target)
    queries = torch.cat([target, support], dim=1)
    weights = group_attention(model, video, queries)
    if weights is None:
        return {}
    last = CoTrackerPredictor(model)(video, queries).xy[0, -1]
    return {"attention": attention_sheet(video[0, -1], last, weights[0, 0], 0)}
