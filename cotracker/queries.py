"""Where queries come from: the truth (training, benchmarks), or nothing (a grid, around a point, a mask, a file)."""

import csv
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cotracker.types import Clip


def first_visible(visible: Tensor) -> tuple[Tensor, Tensor]:
    """First frame where each point is visible, B N long (0 where it never is), and whether there is one, B N bool."""
    return visible.int().argmax(dim=1), visible.any(dim=1)


def at_frames(tracks: Tensor, frame: Tensor) -> Tensor:
    """Queries B N 3 (t, x, y): each point of tracks B T N 2 where it is at its own frame (B N)."""
    index = frame[:, None, :, None].expand(-1, 1, -1, 2)
    return torch.cat([frame[..., None].to(tracks.dtype), tracks.gather(1, index)[:, 0]], dim=-1)


def sample_training_queries(clip: Clip, late: float = 0.25) -> tuple[Tensor, Tensor]:
    """Queries B N 3 of a collated clip, and a mask B N: False for points that are never visible.

    The query of the first `late` share of each clip's points is at a random frame among those where
    the point is visible; the others' is at their first (appendix A). Padding, which is valid
    nowhere, is not counted. The random numbers come from each example's own seed, so that an example
    has the same queries whatever it is collated with.
    """
    visible = clip.visible & clip.valid
    frame, point_mask = first_visible(visible)
    frame = frame.clone()
    counts = clip.valid.any(dim=1).sum(dim=1).tolist()  # points of each clip, without the padding
    for item, count in enumerate(counts):
        rng = np.random.default_rng([int(part) for part in np.ravel(clip.seed[item])] + [0])
        for point in range(int(count * late)):
            choices = visible[item, :, point].nonzero()[:, 0]
            if len(choices):
                frame[item, point] = choices[int(rng.integers(len(choices)))]
    return at_frames(clip.tracks, frame), point_mask


def grid(
    count: int,
    size: tuple[int, int],
    frame: int = 0,
    margin: float | tuple[float, float] | None = None,
) -> Tensor:
    """Queries 1 count*count 3 on a regular grid over a frame of `size` (H, W), row by row.

    From `margin` to W - margin and H - margin; by default W // 64 on both axes, as the published support grid; two
    numbers are those of (H, W). One point stands in the centre (W/2, H/2).
    """
    height, width = size
    if count < 1:
        raise ValueError(f"a grid needs at least 1 point a side, not {count}")
    if count == 1:
        return torch.tensor([[[frame, width / 2, height / 2]]], dtype=torch.float32)
    margin = width // 64 if margin is None else margin
    top, left = margin if isinstance(margin, tuple) else (margin, margin)
    steps = torch.arange(count, dtype=torch.float64) / (count - 1)
    y, x = torch.meshgrid(
        top + steps * (height - 2 * top), left + steps * (width - 2 * left), indexing="ij"
    )
    return torch.stack([torch.full_like(x, frame), x, y], dim=-1).reshape(1, -1, 3).float()


def around(centre: Tensor, count: int, box: float = 50, centred: bool = True) -> Tensor:
    """Points (..., count*count, 2) on a regular grid in a square of side `box` around each centre (..., 2), row by row.

    With an even count the centre lies between four points. centred=False shifts the grid by half a step, so that
    one point is the centre itself and the square reaches further left and up: the published local grid (for count 6
    and box 50: -30, -20, ..., +20).
    """
    middle = (count - 1) / 2 if centred else count // 2
    offsets = (torch.arange(count, dtype=torch.float64) - middle) * (box / max(count - 1, 1))
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    return centre[..., None, :] + torch.stack([x, y], dim=-1).reshape(-1, 2).to(centre)


def inside_mask(queries: Tensor, mask: Tensor) -> Tensor:
    """The queries of 1 N 3 whose nearest pixel is set in `mask` (H W, bool or numbers); outside the mask is unset."""
    height, width = mask.shape
    x, y = queries[0, :, 1:].round().long().unbind(-1)
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    chosen = mask[y.clamp(0, height - 1), x.clamp(0, width - 1)] != 0
    return queries[:, within & chosen.to(within.device)]


def read_points(path: str | Path, frames: int, size: tuple[int, int]) -> Tensor:
    """Queries 1 N 3 from a csv file with the header `frame,x,y`, for a video of `frames` frames of `size` (H, W).

    ValueError, one sentence naming the file and the line, for whatever is not such a row: other columns, text, NaN,
    frames outside the video or between two frames, positions more than half a frame outside the picture.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError:
        raise ValueError(
            f"{path} does not exist: give a csv file with the header frame,x,y"
        ) from None
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(
            f"{path} is not a csv text file: give one with the header frame,x,y"
        ) from None
    head = [name.strip().lower() for name in rows[0]] if rows else []
    if head != ["frame", "x", "y"]:
        raise ValueError(
            f"{path} must begin with the header frame,x,y, not {','.join(head)[:60] or 'an empty line'}"
        )
    lines = [
        (number, row)
        for number, row in enumerate(rows[1:], start=2)
        if any(cell.strip() for cell in row)
    ]
    if not lines:
        raise ValueError(f"{path} holds no points: add a row frame,x,y for each")
    points = [_read_row(f"{path} line {number}", row, frames, size) for number, row in lines]
    return torch.tensor([points], dtype=torch.float32)


def _read_row(
    place: str, row: list[str], frames: int, size: tuple[int, int]
) -> tuple[float, float, float]:
    """(frame, x, y) of one csv row, or a ValueError that begins with its place."""
    height, width = size
    try:
        frame, x, y = (float(cell) for cell in row)
    except ValueError:
        raise ValueError(
            f"{place}: expected three numbers frame,x,y, not {','.join(row)[:60]}"
        ) from None
    if not all(map(math.isfinite, (frame, x, y))):
        raise ValueError(
            f"{place}: {','.join(row)} is not finite: every point needs a frame, x and y"
        )
    if frame != int(frame):
        raise ValueError(f"{place}: frame {frame:g} must be a whole number")
    if not 0 <= frame < frames:
        raise ValueError(
            f"{place}: frame {frame:g} is outside the video, which has frames 0 to {frames - 1}"
        )
    if not (-width / 2 <= x <= 1.5 * width and -height / 2 <= y <= 1.5 * height):
        raise ValueError(f"{place}: x {x:g}, y {y:g} lies far outside the {width}x{height} picture")
    return frame, x, y
