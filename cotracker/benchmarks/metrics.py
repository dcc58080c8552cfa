"""Metrics, pure functions (tracks, targets, clip) -> percentages of one video.

Distances are strict and measured after the plain ratio of sizes, W'/W and H'/H. A number is NaN
where a video has nothing to count; run.mean leaves it out and run.unscored names the video.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cotracker.types import Clip, EvalTargets, Tracks

BADJA_SIZE = (384, 512)
TAPVID_SIZE = (256, 256)
TAPVID_PIXELS = (1, 2, 4, 8, 16)


def tapvid(tracks: Tracks, targets: EvalTargets, clip: Clip) -> dict[str, float]:
    """aj, delta_avg and oa of TAP-Vid at 256x256, with delta_K and jaccard_K of each threshold K.

    delta_K counts positions within K pixels. jaccard_K divides true positives by visible targets
    plus false positives. oa is the accuracy of visible against occluded.
    """
    squared = _squared_distance(tracks, targets, clip, TAPVID_SIZE)
    counted, visible, predicted = targets.eval_mask, targets.target.visible, tracks.visible
    shown = counted & visible
    delta, jaccard = [], []
    for pixels in TAPVID_PIXELS:
        within = squared < pixels**2
        true_positive = shown & within & predicted
        false_positive = counted & predicted & ~(visible & within)
        delta.append(_percent(shown & within, shown))
        jaccard.append(_ratio(true_positive.sum(), shown.sum() + false_positive.sum()))
    values = {
        "aj": _mean(jaccard),
        "delta_avg": _mean(delta),
        "oa": _percent(counted & (visible == predicted), counted),
    }
    values |= {f"delta_{pixels}": value for pixels, value in zip(TAPVID_PIXELS, delta)}
    return values | {f"jaccard_{pixels}": value for pixels, value in zip(TAPVID_PIXELS, jaccard)}


def confidence(tracks: Tracks, targets: EvalTargets) -> dict[str, float]:
    """confidence, its mean where counted points are visible; {} of a tracker that has none."""
    if tracks.confidence is None:
        return {}
    shown = targets.eval_mask & targets.target.visible
    return {"confidence": _ratio((tracks.confidence * shown).sum(), shown.sum())}


def badja(tracks: Tracks, targets: EvalTargets, clip: Clip) -> dict[str, float]:
    """seg and 3px, the two numbers of BADJA at 384x512 (paper, section 4)."""
    return pck_segment(tracks, targets, clip) | within_pixels(tracks, targets, clip)


def pck_segment(
    tracks: Tracks,
    targets: EvalTargets,
    clip: Clip,
    size: tuple[int, int] = BADJA_SIZE,
    fraction: float = 0.2,
) -> dict[str, float]:
    """seg: visible counted points closer than a fraction of the square root of the object's area.

    The area is that of the frame's mask, nearest-resized to `size`; every value above 0 is object.
    """
    if clip.masks is None:
        raise ValueError(f"{clip.name} has no masks: the segment metric needs them")
    masks = F.interpolate(clip.masks[:, None], size=size, mode="nearest")[:, 0]
    limit = fraction * (masks > 0).sum((1, 2)).float().sqrt()
    distance = _squared_distance(tracks, targets, clip, size).sqrt()
    counted = targets.eval_mask & targets.target.visible
    return {"seg": _percent(counted & (distance < limit[None, :, None]), counted)}


def within_pixels(
    tracks: Tracks,
    targets: EvalTargets,
    clip: Clip,
    size: tuple[int, int] = BADJA_SIZE,
    pixels: float = 3,
) -> dict[str, float]:
    """3px (named for `pixels`): visible counted points closer than that at `size`."""
    distance = _squared_distance(tracks, targets, clip, size).sqrt()
    counted = targets.eval_mask & targets.target.visible
    return {f"{pixels:g}px": _percent(counted & (distance < pixels), counted)}


def _squared_distance(
    tracks: Tracks, targets: EvalTargets, clip: Clip, size: tuple[int, int]
) -> Tensor:
    """B T N, in squared pixels of the frame resized to `size`."""
    height, width = clip.video.shape[-2:]
    ratio = tracks.xy.new_tensor([size[1] / width, size[0] / height])
    return ((tracks.xy * ratio - targets.target.xy * ratio) ** 2).sum(-1)


def _percent(hits: Tensor, of: Tensor) -> float:
    return _ratio(hits.sum(), of.sum())


def _ratio(part: Tensor, whole: Tensor) -> float:
    return 100 * part.item() / whole.item() if whole.item() else float("nan")


def _mean(values: list[float]) -> float:
    return torch.tensor(values, dtype=torch.float64).mean().item()
