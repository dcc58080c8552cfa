"""Protocols, Clip -> EvalTargets with B = 1: which points are queried, and which frames count."""

import torch
from torch import Tensor

from cotracker.types import Clip, EvalTargets, Tracks


def from_first_frame(clip: Clip) -> EvalTargets:
    """Every point queried in frame 0, visible or not; all later frames count.

    BADJA and FastCapture. A point without any annotation is queried at its stored (0, 0) and
    never counts.
    """
    start = torch.zeros(clip.tracks.shape[1], dtype=torch.long)
    points = torch.arange(len(start))
    return _eval_targets(clip, start, points, _frames(clip) > start)


def first(clip: Clip) -> EvalTargets:
    """Every point that is ever visible, queried in its first visible frame; later frames count.

    TAP-Vid's "queried first" (Doersch et al. 2022). Points keep their order.
    """
    shown = clip.visible & clip.valid
    points = shown.any(0).nonzero()[:, 0]
    start = shown[:, points].int().argmax(0)
    return _eval_targets(clip, start, points, _frames(clip) > start)


def strided(clip: Clip, step: int = 5) -> EvalTargets:
    """Every point queried in each of the frames 0, 5, 10, … that shows it; all other frames count.

    TAP-Vid's "queried strided" (Doersch et al. 2022), in both directions of time: the benchmark
    needs `both_directions`. Queries are ordered by frame, then by point. A point visible only
    between those frames is not queried.
    """
    shown = clip.visible & clip.valid
    start, points = shown[::step].nonzero().unbind(-1)
    return _eval_targets(clip, step * start, points, _frames(clip) != step * start)


def _frames(clip: Clip) -> Tensor:
    """T 1: the frames' numbers."""
    return torch.arange(clip.tracks.shape[0])[:, None]


def _eval_targets(clip: Clip, start: Tensor, points: Tensor, counted: Tensor) -> EvalTargets:
    """The targets of points n, queried in frames `start` n; counted T n, where also valid."""
    xy, visible, valid = clip.tracks[:, points], clip.visible[:, points], clip.valid[:, points]
    query_xy = xy[start, torch.arange(len(points))]
    queries = torch.cat([start[:, None].to(query_xy), query_xy], dim=-1)
    target = Tracks(xy[None], visible[None].float(), visible[None])
    return EvalTargets(queries[None], target, (counted & valid)[None])
