"""The losses of section 3.3, and the matching loss: each a mean over the clips of each clip's own."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cotracker.geometry import inside_frame
from cotracker.model.windows import Estimate
from cotracker.types import Clip


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the clips (B first) of each clip's mean of values where mask; 0 for a clip with none."""
    rest = tuple(range(1, values.ndim))
    return ((values * mask).sum(rest) / mask.sum(rest).clamp(min=1)).mean()


def _truth(estimate: Estimate, clip: Clip) -> tuple[Tensor, Tensor, Tensor]:
    """True tracks B S N 2 (0 where nothing counts), visible B S N, and what counts B S N, in one window's frames."""
    frames = slice(estimate.start, estimate.start + estimate.logits.shape[1])
    counts = clip.valid[:, frames] & estimate.active[:, None]
    return (
        torch.where(counts[..., None], clip.tracks[:, frames], 0.0),
        clip.visible[:, frames],
        counts,
    )


def track_loss(estimate: Estimate, clip: Clip, gamma: float, small_errors: float = 0.0) -> Tensor:
    """Eq. 2 for one window: mean |error| in pixels over frames, points and axes, discounted, averaged over updates.

    Of each |error| counts |error| + small_errors x log(1 + |error|).
    """
    truth, _, counts = _truth(estimate, clip)
    last = len(estimate.tracks) - 1
    errors = [(xy - truth).abs() for xy in estimate.tracks]
    if small_errors:
        errors = [error + small_errors * error.log1p() for error in errors]
    terms = [
        gamma ** (last - m) * masked_mean(error.mean(-1), counts) for m, error in enumerate(errors)
    ]
    return sum(terms) / len(terms)


def visibility_loss(estimate: Estimate, clip: Clip) -> Tensor:
    """L2 of section 3.3 for one window: cross entropy of the visibility logits."""
    _, visible, counts = _truth(estimate, clip)
    entropy = F.binary_cross_entropy_with_logits(estimate.logits, visible.float(), reduction="none")
    return masked_mean(entropy, counts)


def matching_loss(
    features: Tensor,
    maps: Tensor,
    tracks: Tensor,
    visible: Tensor,
    real: Tensor,
    stride: int,
    temperature: Tensor,
) -> Tensor:
    """Cross entropy between each query's softmax over all cells of a frame and where the point truly is there.

    features B N C; maps B K h w C; tracks B K N 2 pixels; visible B K N; the target spreads over four cells as the
    bilinear weights of the true position. With it a network leaves the static solution (docs/experiments.md).
    """
    batch, frames, height, width, channels = maps.shape
    cells = tracks / stride
    counts = visible & real[:, None] & inside_frame(cells, (height, width))
    logits = features.float()[:, None] @ maps.float().flatten(2, 3).transpose(-1, -2)  # B K N hw
    logits = logits * (temperature / math.sqrt(channels))
    corner = cells.floor().nan_to_num(0)
    fraction = cells - corner
    at_truth = 0
    for dx in (0, 1):
        for dy in (0, 1):
            x = (corner[..., 0].long() + dx).clamp(0, width - 1)
            y = (corner[..., 1].long() + dy).clamp(0, height - 1)
            weight = (fraction[..., 0] if dx else 1 - fraction[..., 0]) * (
                fraction[..., 1] if dy else 1 - fraction[..., 1]
            )
            at_truth = at_truth + weight * logits.gather(-1, (y * width + x)[..., None])[..., 0]
    return masked_mean(logits.logsumexp(-1) - at_truth, counts)


@torch.no_grad()
def measures(estimates: list[Estimate], clip: Clip) -> dict[str, Tensor]:
    """Means over windows, of the last update: error of visible points in pixels, share of right visibility flags."""
    errors, accuracies = [], []
    for estimate in estimates:
        truth, visible, counts = _truth(estimate, clip)
        errors.append(masked_mean((estimate.tracks[-1] - truth).norm(dim=-1), counts & visible))
        accuracies.append(masked_mean(((estimate.logits > 0) == visible).float(), counts))
    return {
        "error": torch.stack(errors).mean(),
        "visibility_accuracy": torch.stack(accuracies).mean(),
    }
