"""What is asked of a tracker: queries, points of a file, a grid, the inside of a mask; joined."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cotracker import checks
from cotracker.queries import default_grid, inside_mask, read_points
from cotracker.trackers.inputs import check_queries, pad_queries, to_tensor
from cotracker.types import Video

GRID = 10  # points a side of the grid within a mask, where no grid is given
MAX_GRID = 1024  # points a side; all pixels are asked by encode(video).dense()


@dataclass(frozen=True)
class NamedQueries:
    """Checked queries B N 3 and whose they are: see the fields of these names in Tracks."""

    queries: Tensor
    point_mask: Tensor | None = None
    ids: Tensor | None = None
    names: tuple[str, ...] | None = None
    individuals: tuple[str, ...] | None = None


def join_queries(*parts: NamedQueries) -> NamedQueries:
    """The queries of all parts, B = 1 each, in order; id 0 and an empty name where one has none."""
    counts = [part.queries.shape[1] for part in parts]
    ids = None
    if any(part.ids is not None for part in parts):
        none = [torch.zeros(1, count, dtype=torch.int64) for count in counts]
        ids = [zeros if part.ids is None else part.ids for part, zeros in zip(parts, none)]
        ids = torch.cat(ids, dim=1)
    texts = {}
    for field in ("names", "individuals"):
        found = [getattr(part, field) for part in parts]
        if any(one is not None for one in found):
            texts[field] = sum((one or ("",) * n for one, n in zip(found, counts)), ())
    return NamedQueries(torch.cat([part.queries for part in parts], dim=1), ids=ids, **texts)


def gather_queries(
    video: Video,
    queries: object = None,
    points: object = None,
    grid: int | None = None,
    mask: object = None,
    frame: int = 0,
    box: tuple[int, int, int, int] | None = None,
) -> NamedQueries:
    """All that is asked of a checked video, in this order; see Tracker.__call__.

    box: (left, top, right, bottom), the part that the grid covers; None for the whole frame.
    """
    frames, (height, width) = video.shape[1], video.shape[-2:]
    box = box or (0, 0, width, height)
    queries, point_mask = pad_queries(queries)
    parts, names = [], None
    if queries is not None:
        parts.append(check_queries(queries, video))
    if isinstance(points, (str, Path)):
        points, names = read_points(points, frames, (height, width))
        before = sum(part.shape[1] for part in parts)
    if points is not None:
        parts.append(check_queries(points, video))
    labels = None if mask is None else check_mask(mask, (height, width))
    if grid is not None or labels is not None:
        side = GRID if grid is None else checks.whole("grid", grid, 1, MAX_GRID)
        checks.whole("frame", frame, 0, frames - 1)
        parts.append(_grid_in(side, frame, box, labels))
    if not parts:
        raise ValueError("nothing is asked: pass queries, points=, grid= or mask=")
    if point_mask is not None and len(parts) > 1:
        raise ValueError("queries of different numbers of points a clip cannot be added to others")
    batch = max(video.shape[0], *(len(part) for part in parts))
    joined = torch.cat([part.expand(batch, -1, -1) for part in parts], dim=1)
    warn_of_outside(joined if point_mask is None else joined[point_mask], box)
    if names is not None:
        after = joined.shape[1] - before - len(names)
        names = ("",) * before + names + ("",) * after
    ids = None if labels is None else _label_ids(joined, labels, len(parts[-1][0]))
    return NamedQueries(joined, point_mask, ids, names)


def check_mask(mask: object, size: tuple[int, int]) -> Tensor:
    """The labels H W int64 of a mask, a path or an array of numbers or bool; 0 is outside.

    ValueError, one sentence: it has another size than the video, other axes, or nothing in it.
    """
    if isinstance(mask, (str, Path)):
        from cotracker.data.video.masks import read_mask

        labels, name = torch.from_numpy(read_mask(mask)), str(mask)
    else:
        mask = mask.detach().cpu() if isinstance(mask, Tensor) else mask
        labels, name = to_tensor("mask", mask), "mask"
    labels = labels.squeeze() if labels.ndim > 2 else labels
    if labels.ndim != 2:
        sides = " ".join(map(str, labels.shape))
        raise ValueError(f"{name} must be H W, of one frame and without colours, not {sides}")
    if tuple(labels.shape) != tuple(size):
        raise ValueError(
            f"{name} is {labels.shape[1]}x{labels.shape[0]}, but the video is {size[1]}x{size[0]}: "
            "both must have one size"
        )
    if labels.is_floating_point() and (labels != labels.round()).any():
        raise ValueError(f"{name} must hold whole labels, or True inside: pass such as mask > 0.5")
    labels = labels.to(torch.int64)
    if not labels.any():
        raise ValueError(f"{name} is empty: mark what shall be tracked by other numbers than 0")
    return labels


def _grid_in(
    side: int, frame: int, box: tuple[int, int, int, int], labels: Tensor | None
) -> Tensor:
    """Queries 1 N 3 of a grid over a box, where `labels` are not 0."""
    left, top, right, bottom = box
    points = default_grid(side, (bottom - top, right - left), frame)
    points = points + points.new_tensor([0, left, top])
    if labels is None:
        return points
    inside = inside_mask(points, labels)
    if not inside.shape[1]:
        raise ValueError(
            f"no point of the {side}x{side} grid lies in the mask: use a finer one, grid={2 * side}"
        )
    return inside


def _label_ids(queries: Tensor, labels: Tensor, count: int) -> Tensor:
    """B N int64: the label at each of the last `count` queries, 0 for all before them."""
    ids = torch.zeros(queries.shape[:2], dtype=torch.int64)
    x, y = queries[:, queries.shape[1] - count :, 1:].round().long().unbind(-1)
    ids[:, queries.shape[1] - count :] = labels[y, x]
    return ids


def warn_of_outside(queries: Tensor, box: tuple[int, int, int, int]) -> None:
    """Warns, in one sentence, of queries (..., 3) that lie outside the box; of swapped x and y."""
    left, top, right, bottom = box
    x, y = queries[..., 1], queries[..., 2]

    def within(x: Tensor, y: Tensor) -> Tensor:
        across = (x >= left - 0.5) & (x <= right - 0.5)
        return across & (y >= top - 0.5) & (y <= bottom - 0.5)

    outside = ~within(x, y)
    count = int(outside.sum())
    if not count:
        return
    swapped = within(y, x)[outside].all()
    advice = "x and y look swapped" if swapped else "they are tracked, but not visible there"
    size = f"{right - left}x{bottom - top}"
    warnings.warn(
        f"{count} of {outside.numel()} points lie outside the {size} picture: {advice}; "
        "rows are (frame, x, y)",
        stacklevel=4,
    )
