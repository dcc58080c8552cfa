"""Which points are asked about, and in which frames the answers count: Clip -> EvalTargets (with B = 1 in front)."""

import torch
from torch import Tensor

from cotracker.types import Clip, EvalTargets, Tracks


def from_first_frame(clip: Clip) -> EvalTargets:
    """Every point asked at its place in frame 0, seen there or not; scored in all later frames (BADJA, FastCapture).

    A point that is never annotated is asked all the same, at its stored (0, 0), and never scored.
    """
    start = torch.zeros(clip.tracks.shape[1], dtype=torch.long)
    points = torch.arange(len(start))
    return _eval_targets(clip, start, points, _frames(clip) > start)


def first(clip: Clip) -> EvalTargets:
    """Every point that is ever visible, asked in the first frame that shows it; scored strictly after it.

    TAP-Vid's "queried first" (Doersch et al. 2022); points keep their order.
    """
    shown = clip.visible & clip.valid
    points = shown.any(0).nonzero()[:, 0]
    start = shown[:, points].int().argmax(0)
    return _eval_targets(clip, start, points, _frames(clip) > start)


def strided(clip: Clip, step: int = 5) -> EvalTargets:
    """Every point asked anew in each of the frames 0, 5, 10, … that shows it; scored in all frames but that one.

    TAP-Vid's "queried strided" (Doersch et al. 2022): both directions of time. By frame, then in the points' order; a
    point that is seen only between those frames is not asked.
    """
    shown = clip.visible & clip.valid
    start, points = shown[::step].nonzero().unbind(-1)
    return _eval_targets(clip, step * start, points, _frames(clip) != step * start)


BOTH_DIRECTIONS = (
    strided,
)  # a tracker that goes forwards only is run backwards too (run.with_required_direction)


def _frames(clip: Clip) -> Tensor:
    """T 1: the frames' numbers."""
    return torch.arange(clip.tracks.shape[0])[:, None]


def _eval_targets(clip: Clip, start: Tensor, points: Tensor, asked: Tensor) -> EvalTargets:
    """The targets about some points (n,), each from its frame `start` (n,); asked T n: scored where known."""
    xy, visible, valid = clip.tracks[:, points], clip.visible[:, points], clip.valid[:, points]
    place = xy[start, torch.arange(len(points))]
    queries = torch.cat([start[:, None].to(place), place], dim=-1)
    truth = Tracks(xy[None], visible[None].float(), visible[None])
    return EvalTargets(queries[None], truth, (asked & valid)[None])
