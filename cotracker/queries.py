"""Where queries come from: the truth of a clip, a grid, a point's surroundings, a mask, a file."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cotracker.files import refuse_special
from cotracker.types import Clip

COLUMNS = ("frame", "x", "y")  # of a points file


def first_visible(visible: Tensor) -> tuple[Tensor, Tensor]:
    """First frame where each point is visible, B N long, and whether there is one, B N bool.

    visible: B T N bool. The frame is 0 where a point is never visible.
    """
    return visible.int().argmax(dim=1), visible.any(dim=1)


def at_frames(tracks: Tensor, frame: Tensor) -> Tensor:
    """Queries B N 3 (t, x, y): each point of tracks B T N 2 at its own frame (B N)."""
    index = frame[:, None, :, None].expand(-1, 1, -1, 2)
    return torch.cat([frame[..., None].to(tracks.dtype), tracks.gather(1, index)[:, 0]], dim=-1)


def sample_queries(clip: Clip, late: float = 0.25) -> tuple[Tensor, Tensor]:
    """Queries B N 3 of a collated clip, and B N bool: False for points that are never visible.

    The first `late` share of a clip's points, its padding not counted, has its query in a random
    frame where the point is visible; the others in the first such frame (appendix A). Random
    numbers come from each example's own seed, whatever it is collated with.
    """
    seen = clip.visible & clip.valid
    frame, point_mask = first_visible(seen)
    device = frame.device
    frame = frame.cpu().clone()  # avoids one GPU sync per point
    seen = seen.cpu()
    counts = clip.valid.any(dim=1).sum(dim=1).tolist()  # points that are no padding
    for item in range(frame.shape[0]):
        rng = np.random.default_rng([int(part) for part in np.ravel(clip.seed[item])] + [0])
        for point in range(int(counts[item] * late)):
            choices = seen[item, :, point].nonzero()[:, 0]
            if len(choices):
                frame[item, point] = choices[int(rng.integers(len(choices)))]
    return at_frames(clip.tracks, frame.to(device)), point_mask


def grid(
    count: int,
    size: tuple[int, int],
    frame: int = 0,
    margin: float | tuple[float, float] | None = None,
) -> Tensor:
    """Queries 1 count*count 3 on a regular grid over a frame of `size` (H, W), row by row.

    margin: from the borders, of both axes or of (H, W); the grid ends at W - margin and
        H - margin. None is W // 64, as in the published support grid.
    One point alone is at the centre, (W/2, H/2).
    """
    height, width = size
    if count < 1:
        raise ValueError(f"a grid needs at least 1 point a side, not {count}")
    if count == 1:
        return torch.tensor([[[frame, width / 2, height / 2]]], dtype=torch.float32)
    margin = width // 64 if margin is None else margin
    top, left = margin if isinstance(margin, tuple) else (margin, margin)
    steps = torch.arange(count, dtype=torch.float64) / (count - 1)
    rows, columns = top + steps * (height - 2 * top), left + steps * (width - 2 * left)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([torch.full_like(x, frame), x, y], dim=-1).reshape(1, -1, 3).float()


def around(centre: Tensor, count: int, box: float = 50, centred: bool = True) -> Tensor:
    """Points (..., count*count, 2) on a grid in a square of side `box` around centres (..., 2).

    With an even count the centre lies between four points. centred=False shifts the grid by half
    a step, so that one point is the centre itself, as in the published local grid (for count 6
    and box 50: -30, -20, ..., +20).
    """
    middle = (count - 1) / 2 if centred else count // 2
    offsets = (torch.arange(count, dtype=torch.float64) - middle) * (box / max(count - 1, 1))
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    return centre[..., None, :] + torch.stack([x, y], dim=-1).reshape(-1, 2).to(centre)


def inside_mask(queries: Tensor, mask: Tensor) -> Tensor:
    """The queries of 1 N 3 whose nearest pixel is set in `mask` (H W, bool or numbers)."""
    height, width = mask.shape
    x, y = queries[0, :, 1:].round().long().unbind(-1)
    in_bounds = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    chosen = mask[y.clamp(0, height - 1), x.clamp(0, width - 1)] != 0
    return queries[:, in_bounds & chosen.to(in_bounds.device)]


def read_points(
    path: str | Path, frames: int, size: tuple[int, int], first: int = 0
) -> tuple[Tensor, tuple[str, ...] | None]:
    """Queries 1 N 3 from a csv file with columns frame, x and y, and their names if it has any.

    Commas, semicolons or tabs may separate; further columns are left out, but for `name`. Where
    there are `point` and `visible` too, as in tracks.csv, each point is queried where it is visible
    first.
    frames, size: the number of the video's frames, and their (H, W).
    first: the number in its file of the video's first frame; the csv has numbers of the file.
    ValueError that names the file and the line: no such columns, text, NaN, frames outside the
    video or between two frames, positions more than half a frame outside the picture.
    """
    head, lines = _read_lines(path)
    if {"point", "visible"} <= set(head):
        lines = _first_visible_lines(head, lines)
    columns = [head.index(name) for name in COLUMNS]
    points = []
    for number, row in lines:
        cells = [row[column] for column in columns if column < len(row)]
        points.append(_parse_row(f"{path} line {number}", cells, frames, size, first))
    names = None
    if "name" in head:
        column = head.index("name")
        names = tuple(row[column].strip() if column < len(row) else "" for _, row in lines)
    return torch.tensor([points], dtype=torch.float32), names


def _read_lines(path: str | Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header of a points file, and the rows below it with their line numbers, empty ones out.

    Numbers have decimal points, also where semicolons separate and commas were in them.
    """
    wanted = "a csv file with the columns frame,x,y"
    refuse_special(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            text = file.read()
        header = text.split("\n", 1)[0]
        separator = max(",;\t", key=header.count)  # a comma where there is none
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: give {wanted}") from None
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{path} is not a csv text file: give {wanted}") from None
    head = [name.strip().lower() for name in rows[0]] if rows else []
    if not set(COLUMNS) <= set(head):
        found = ",".join(head)[:60] or "an empty line"
        raise ValueError(f"{path} must begin with a header that has frame,x,y, not {found}")
    twice = [name for name in COLUMNS if head.count(name) > 1]
    if twice:
        raise ValueError(f"{path} has two columns {twice[0]}: take one out")
    if separator == ";":
        names = head.index("name") if "name" in head else -1
        rows = [[c if k == names else c.replace(",", ".") for k, c in enumerate(r)] for r in rows]
    lines = [(k, row) for k, row in enumerate(rows[1:], 2) if any(map(str.strip, row))]
    if not lines:
        raise ValueError(f"{path} holds no points: add a row frame,x,y for each")
    return head, lines


def _first_visible_lines(head: list[str], lines: list) -> list[tuple[int, list[str]]]:
    """Of each point's lines the first that says 1 under visible, or else its first."""
    point, visible = head.index("point"), head.index("visible")
    chosen = {}
    for number, row in lines:
        name, is_seen = (row[k].strip() if k < len(row) else "" for k in (point, visible))
        seen = is_seen.lower() in ("1", "1.0", "true")
        if name not in chosen or (seen and not chosen[name][0]):
            chosen[name] = (seen, number, row)
    return [(number, row) for _, number, row in chosen.values()]


def _parse_row(
    where: str, row: list[str], frames: int, size: tuple[int, int], first: int
) -> tuple[float, float, float]:
    """(frame, x, y) of a row's three cells, or a ValueError that begins with `where`."""
    height, width = size
    text = ",".join(row)
    try:
        frame, x, y = (float(cell) for cell in row)
    except ValueError:
        said = " ".join(text[:60].split())
        raise ValueError(f"{where}: expected three numbers frame,x,y, not {said}") from None
    if not all(map(math.isfinite, (frame, x, y))):
        raise ValueError(f"{where}: {text} is not finite: every point needs a frame, x and y")
    if frame != int(frame):
        raise ValueError(f"{where}: frame {frame:g} must be a whole number")
    if not first <= frame < first + frames:
        raise ValueError(
            f"{where}: frame {frame:g} is outside the video, which has frames {first} to "
            f"{first + frames - 1}"
        )
    if not (-width / 2 <= x <= 1.5 * width and -height / 2 <= y <= 1.5 * height):
        raise ValueError(f"{where}: x {x:g}, y {y:g} lies far outside the {width}x{height} picture")
    return frame - first, x, y


def default_grid(side: int, size: tuple[int, int], frame: int = 0) -> Tensor:
    """Queries 1 side*side 3 over a frame (H, W), with margins that suit narrow frames too."""
    margin = max(1, size[1] // 64)
    vertical, horizontal = (min(margin, max(1, (length - 1) / 2)) for length in size)
    return grid(side, size, frame, margin=(vertical, horizontal))
