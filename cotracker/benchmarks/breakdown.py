"""Errors by kind: by how fast a point moves, and by how long it was hidden before it came back.

Errors are distances in pixels of the 256x256 frame, as TAP-Vid's. Those of all videos are pooled,
as most bins of a single video hold too few for a mean.
"""

import math
from statistics import median

import torch
from torch import Tensor

from cotracker.benchmarks.metrics import TAPVID_SIZE
from cotracker.types import Clip, EvalTargets, Tracks

# Bins: from, and up to but without.
MOTION = {"<1 px": (0, 1), "1-3 px": (1, 3), "3-8 px": (3, 8), ">=8 px": (8, math.inf)}
HIDDEN = {"1-2 frames": (1, 3), "3-6 frames": (3, 7), ">=7 frames": (7, math.inf)}
NEAR = 4  # pixels

Errors = dict[str, dict[str, list[float]]]  # part -> bin -> errors


def by_motion_and_occlusion(tracks: Tracks, targets: EvalTargets, clip: Clip) -> Errors:
    """One video's errors where the target counts and is visible, by motion and by occlusion.

    motion: pixels of the 256x256 frame that the target moved since the previous frame (bins of
    MOTION); point-frame pairs without a valid target in that frame are in no bin.
    reappearing: first visible frames after k frames hidden or outside since the query (HIDDEN).
    """
    ratio = tapvid_ratio(clip)
    target = targets.target.xy * ratio
    error = (tracks.xy * ratio - target).norm(dim=-1)
    shown = targets.eval_mask & targets.target.visible

    def fill(bins: dict, value: Tensor) -> dict[str, list[float]]:
        return {
            name: error[shown & (value >= low) & (value < high)].tolist()
            for name, (low, high) in bins.items()
        }

    return {
        "motion": fill(MOTION, _motion(target, targets)),
        "reappearing": fill(HIDDEN, _hidden_frames(targets)),
    }


def tapvid_ratio(clip: Clip) -> Tensor:
    """The two factors (x, y) that take a clip's pixels to those of the 256x256 frame."""
    height, width = clip.video.shape[-2:]
    return torch.tensor([TAPVID_SIZE[1] / width, TAPVID_SIZE[0] / height])


def pool(errors: list[Errors]) -> dict[str, dict[str, dict[str, float]]]:
    """part -> bin -> count, median, and within_4, the percentage below 4 pixels; NaN for none."""
    return {
        part: {
            name: _summarise([value for one in errors for value in one[part][name]])
            for name in bins
        }
        for part, bins in (errors[0] if errors else {}).items()
    }


def _summarise(values: list[float]) -> dict[str, float]:
    if not values:
        return {"count": 0, "median": math.nan, f"within_{NEAR}": math.nan}
    near = 100 * sum(value < NEAR for value in values) / len(values)
    return {"count": len(values), "median": median(values), f"within_{NEAR}": near}


def _motion(target: Tensor, targets: EvalTargets) -> Tensor:
    """B T N: the distance from the previous frame; NaN in frame 0 and after an invalid target."""
    is_query = _frame_numbers(target) == targets.queries[:, None, :, 0]
    valid = targets.eval_mask | is_query
    motion = torch.full(target.shape[:-1], math.nan, dtype=target.dtype)
    step = (target[:, 1:] - target[:, :-1]).norm(dim=-1)
    motion[:, 1:] = torch.where(valid[:, :-1], step, math.nan)
    return motion


def _hidden_frames(targets: EvalTargets) -> Tensor:
    """B T N: the number of frames since the last one that showed the point; 0 where none did."""
    number = _frame_numbers(targets.target.xy)
    seen = targets.target.visible & (number >= targets.queries[:, None, :, 0])
    last = torch.where(seen, number, -1).cummax(dim=1).values
    gap = torch.zeros_like(last)
    gap[:, 1:] = torch.where(last[:, :-1] >= 0, number[:, 1:] - last[:, :-1] - 1, 0)
    return gap


def _frame_numbers(xy: Tensor) -> Tensor:
    """1 T 1."""
    return torch.arange(xy.shape[1])[None, :, None]
