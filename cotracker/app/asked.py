"""What a person asks for: points clicked, boxes, masks and grids, each a few named points."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from cotracker import checks
from cotracker.data.video.masks import fit_mask, read_mask
from cotracker.trackers.named_queries import gather_queries
from cotracker.types import Video

MOST = 40  # points on a side of a grid


class Asked(NamedTuple):
    """A point that is to be tracked: its frame, its place, its name, its object."""

    t: int
    x: float
    y: float
    name: str = ""
    group: int = 0


def ask_grid(
    video: Video,
    side: int,
    t: int,
    box: tuple[float, float, float, float] | None = None,
    mask: np.ndarray | None = None,
) -> list[Asked]:
    """The points of a grid in frame t: over the frame, within a box, or where a mask is set.

    box: two opposite corners (x, y, x, y).
    mask: labels of any size H W; 0 is outside.
    """
    side = checks.whole("the grid", side, 1, MOST)
    height, width = video.shape[-2:]
    labels = None if mask is None else torch.from_numpy(fit_mask(mask, (height, width)))
    corners = None if box is None else _pixels_of(box, (height, width))
    found = gather_queries(video, grid=side, mask=labels, frame=t, box=corners)
    groups = [0] * found.queries.shape[1] if found.ids is None else found.ids[0].tolist()
    rows = found.queries[0].tolist()
    return [Asked(int(row[0]), *row[1:], group=group) for row, group in zip(rows, groups)]


def read_labels(mask: Path | np.ndarray) -> np.ndarray:
    """Labels H W of a picture file, or 1 where a layer H W 4 is painted on.

    ValueError, one sentence: it is no picture, or nothing is in it.
    """
    if isinstance(mask, Path):
        labels, name = read_mask(mask), mask.name
    else:
        labels, name = (mask[..., 3] >= 128).astype(np.int64), "the painted mask"
    if not labels.any():
        raise ValueError(f"{name} is empty: paint over what shall be tracked")
    return labels


def _pixels_of(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of two corners, within the frame (H, W) and never empty."""
    height, width = size
    (left, right), (top, bottom) = sorted(box[0::2]), sorted(box[1::2])
    left, top = max(0, round(left)), max(0, round(top))
    right, bottom = min(width, round(right) + 1), min(height, round(bottom) + 1)
    if right - left < 2 or bottom - top < 2:
        raise ValueError("the box is empty: click two opposite corners of it")
    return left, top, right, bottom
