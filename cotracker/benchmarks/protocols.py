"""Which points are asked about, and in which frames the answers count: Clip -> Questions (with B = 1 in front)."""

import torch
from torch import Tensor

from cotracker.types import Clip, Questions, Tracks


def from_first_frame(clip: Clip) -> Questions:
    """Every point asked at its place in frame 0, seen there or not; scored in all later frames (BADJA, FastCapture).

    A point that is never annotated is asked all the same, at its stored (0, 0), and never scored.
    """
    start = torch.zeros(clip.tracks.shape[1], dtype=torch.long)
    return _questions(clip, start, torch.arange(len(start)))


def first(clip: Clip) -> Questions:
    """Every point that is ever visible, asked in the first frame that shows it; scored strictly after it.

    TAP-Vid's "queried first" (Doersch et al. 2022); points keep their order.
    """
    shown = clip.visible & clip.valid
    points = shown.any(0).nonzero()[:, 0]
    start = shown[:, points].int().argmax(0)
    return _questions(clip, start, points)


def _questions(clip: Clip, start: Tensor, points: Tensor) -> Questions:
    """The questions about some points (n,), each from its frame `start` (n,) on."""
    xy, visible, valid = clip.tracks[:, points], clip.visible[:, points], clip.valid[:, points]
    place = xy[start, torch.arange(len(points))]
    queries = torch.cat([start[:, None].to(place), place], dim=-1)
    later = torch.arange(len(xy))[:, None] > start
    truth = Tracks(xy[None], visible[None].float(), visible[None])
    return Questions(queries[None], truth, (later & valid)[None])
