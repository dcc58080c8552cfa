"""The losses of section 3.3, those of CoTracker3, and the matching loss.

Each is a mean over clips of the clip's own.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cotracker.geometry import inside_frame
from cotracker.model.windows import Estimate
from cotracker.types import Clip


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over clips (B first) of each clip's mean where mask; 0 for a clip with none."""
    rest = tuple(range(1, values.ndim))
    return ((values * mask).sum(rest) / mask.sum(rest).clamp(min=1)).mean()


def window_targets(estimate: Estimate, clip: Clip) -> tuple[Tensor, Tensor, Tensor]:
    """True tracks B S N 2 (0 where masked), visible B S N and the loss mask B S N of one window."""
    frames = slice(estimate.start, estimate.start + estimate.logits.shape[1])
    mask = clip.valid[:, frames] & estimate.active[:, None]
    tracks = torch.where(mask[..., None], clip.tracks[:, frames], 0.0)
    return tracks, clip.visible[:, frames], mask


def track_loss(
    estimate: Estimate,
    clip: Clip,
    gamma: float,
    log_loss_weight: float = 0.0,
    huber_px: float | None = None,
    hidden_share: float | None = None,
) -> Tensor:
    """Eq. 2 for one window: mean |error| in pixels over frames, points and axes.

    Iterations are discounted by gamma and averaged.
    log_loss_weight: the loss of an |error| is |error| + log_loss_weight x log(1 + |error|).
    huber_px: where points are visible, Huber's loss of this many pixels replaces the |error|.
    hidden_share: the mean where visible + hidden_share x the mean where hidden; None: one mean.
    """
    tracks, visible, mask = window_targets(estimate, clip)
    groups = [(1.0, mask)]
    if hidden_share is not None:
        groups = [(1.0, mask & visible), (hidden_share, mask & ~visible)]
    last, total = len(estimate.tracks) - 1, 0.0
    for m, xy in enumerate(estimate.tracks):
        error = loss = (xy - tracks).abs()
        if huber_px is not None:
            huber = F.huber_loss(xy, tracks, reduction="none", delta=huber_px)
            loss = torch.where(visible[..., None], huber, error)
        if log_loss_weight:
            loss = loss + log_loss_weight * error.log1p()
        loss = loss.mean(-1)
        total = total + gamma ** (last - m) * sum(
            share * masked_mean(loss, group) for share, group in groups
        )
    return total / len(estimate.tracks)


def visibility_loss(estimate: Estimate, clip: Clip) -> Tensor:
    """L2 of section 3.3 for one window: cross entropy of the visibility logits.

    Of a network that iterates them, the mean over its iterations.
    """
    _, visible, mask = window_targets(estimate, clip)
    told = estimate.visibility or [estimate.logits]
    return sum(_cross_entropy(logits, visible, mask) for logits in told) / len(told)


def confidence_loss(estimate: Estimate, clip: Clip, radius: float) -> Tensor:
    """Cross entropy of the confidence logits of one window, where points are visible.

    True is what lies within `radius` pixels of the truth at that iteration; mean over iterations.
    """
    tracks, visible, mask = window_targets(estimate, clip)
    told = estimate.confidence
    positions = estimate.tracks[-len(told) :]  # a network that reads it once reads it last
    near = [(xy.detach() - tracks).norm(dim=-1) <= radius for xy in positions]
    terms = [_cross_entropy(some, yes, mask & visible) for some, yes in zip(told, near)]
    return sum(terms) / len(told)


def _cross_entropy(logits: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    entropy = F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")
    return masked_mean(entropy, mask)


def matching_loss(
    track_feat: Tensor,
    maps: Tensor,
    tracks: Tensor,
    visible: Tensor,
    stride: int,
    temperature: Tensor,
) -> Tensor:
    """Cross entropy between each query's softmax over all cells of a frame and the true position.

    track_feat B N C; maps B K h w C; tracks B K N 2 pixels; visible B K N. The target spreads over
    four cells by the bilinear weights of the true position. With it a network leaves the static
    solution (docs/notes/experiments.md).
    """
    batch, frames, height, width, channels = maps.shape
    cells = tracks / stride
    mask = visible & inside_frame(cells, (height, width))
    logits = track_feat.float()[:, None] @ maps.float().flatten(2, 3).transpose(-1, -2)  # B K N hw
    logits = logits * (temperature / math.sqrt(channels))
    corner = cells.floor().nan_to_num(0)
    fraction = cells - corner
    target_logit = 0
    for dx in (0, 1):
        for dy in (0, 1):
            x = (corner[..., 0].long() + dx).clamp(0, width - 1)
            y = (corner[..., 1].long() + dy).clamp(0, height - 1)
            weight_x = fraction[..., 0] if dx else 1 - fraction[..., 0]
            weight_y = fraction[..., 1] if dy else 1 - fraction[..., 1]
            corner_logit = logits.gather(-1, (y * width + x)[..., None])[..., 0]
            target_logit = target_logit + weight_x * weight_y * corner_logit
    return masked_mean(logits.logsumexp(-1) - target_logit, mask)


@torch.no_grad()
def training_metrics(estimates: list[Estimate], clip: Clip) -> dict[str, Tensor]:
    """Means over windows, of the last iteration.

    error: distance of visible points in pixels.  visibility_accuracy: share of right flags.
    """
    errors, accuracies = [], []
    for estimate in estimates:
        tracks, visible, mask = window_targets(estimate, clip)
        distance = (estimate.tracks[-1] - tracks).norm(dim=-1)
        right = (estimate.logits > 0) == visible
        errors.append(masked_mean(distance, mask & visible))
        accuracies.append(masked_mean(right.float(), mask))
    return {
        "error": torch.stack(errors).mean(),
        "visibility_accuracy": torch.stack(accuracies).mean(),
    }
