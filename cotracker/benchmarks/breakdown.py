"""Where the errors are: by how fast a point moves, and by how long it was hidden before it came back.

Errors are distances in pixels of the 256x256 frame, as TAP-Vid's, and those of all videos are pooled: in one video
most bins hold too little for a mean over videos to say anything.
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

Errors = dict[str, dict[str, list[float]]]  # part -> bin -> the errors counted there


def by_motion_and_occlusion(tracks: Tracks, targets: EvalTargets, clip: Clip) -> Errors:
    """Errors of one video where the truth is scored and visible: {"motion": {bin: […]}, "reappearing": {bin: […]}}.

    motion: pixels that the true track moved since the frame before, of the 256x256 frame (bins of MOTION); places
    whose truth a frame earlier is unknown are in no bin.
    reappearing: the first visible place after k frames unseen, hidden or outside, since the query (bins of HIDDEN).
    """
    height, width = clip.video.shape[-2:]
    ratio = tracks.xy.new_tensor([TAPVID_SIZE[1] / width, TAPVID_SIZE[0] / height])
    truth = targets.target.xy * ratio
    error = (tracks.xy * ratio - truth).norm(dim=-1)
    moved, gap = _moved(truth, targets), _frames_unseen(targets)
    shown = targets.eval_mask & targets.target.visible

    def within(value: Tensor, bins: dict) -> dict[str, list[float]]:
        return {
            name: error[shown & (value >= low) & (value < high)].tolist()
            for name, (low, high) in bins.items()
        }

    return {"motion": within(moved, MOTION), "reappearing": within(gap, HIDDEN)}


def pooled(errors: list[Errors]) -> dict[str, dict[str, dict[str, float]]]:
    """part -> bin -> count, median error, and within_4: the percentage below 4 pixels; NaN where there are none."""
    return {
        part: {
            name: _summary([value for one in errors for value in one[part][name]]) for name in bins
        }
        for part, bins in (errors[0] if errors else {}).items()
    }


def _summary(values: list[float]) -> dict[str, float]:
    if not values:
        return {"count": 0, "median": math.nan, f"within_{NEAR}": math.nan}
    near = 100 * sum(value < NEAR for value in values) / len(values)
    return {"count": len(values), "median": median(values), f"within_{NEAR}": near}


def _moved(truth: Tensor, targets: EvalTargets) -> Tensor:
    """B T N: the distance from the frame before, NaN in the first frame and where the truth was unknown then."""
    asked = _frame_numbers(truth) == targets.queries[:, None, :, 0]
    known = targets.eval_mask | asked
    moved = torch.full(truth.shape[:-1], math.nan, dtype=truth.dtype)
    step = (truth[:, 1:] - truth[:, :-1]).norm(dim=-1)
    moved[:, 1:] = torch.where(known[:, :-1], step, math.nan)
    return moved


def _frames_unseen(targets: EvalTargets) -> Tensor:
    """B T N: how many frames lie between each frame and the last one before it that shows the point; 0 where none."""
    number = _frame_numbers(targets.target.xy)
    seen = targets.target.visible & (number >= targets.queries[:, None, :, 0])
    last = torch.where(seen, number, -1).cummax(dim=1).values
    gap = torch.zeros_like(last)
    gap[:, 1:] = torch.where(last[:, :-1] >= 0, number[:, 1:] - last[:, :-1] - 1, 0)
    return gap


def _frame_numbers(xy: Tensor) -> Tensor:
    """1 T 1."""
    return torch.arange(xy.shape[1])[None, :, None]
