"""csv: a row for each point and frame (long), or a row for each frame (wide)."""

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cotracker.files import write_text
from cotracker.interchange.points import (
    empty_places,
    frame_times,
    joined_names,
    make_tracks,
    one_clip,
    split_names,
)
from cotracker.tracks import Tracks

NEEDED = ("point", "frame", "x", "y")  # the columns without which a file is no long csv
SCORES = ("visibility", "confidence")


def write_long(path: Path, tracks: Tracks, first: int = 0) -> Path:
    """The path of a csv with a row for each point and frame, point by point, under a header.

    The columns are point, frame, seconds, x, y, visibility, visible; then confidence, id, name and
    individual, where the tracks have them. A place that nobody knows is nan.
    first: the number of the first frame.
    """
    tracks = one_clip(tracks)
    columns = _columns(tracks)
    frames, points = tracks.visible.shape[1:]
    lines = [",".join(("point", "frame", *columns))]
    for point in range(points):
        for frame in range(frames):
            cells = (column(frame, point) for column in columns.values())
            lines.append(f"{point},{first + frame},{','.join(cells)}")
    return write_text(path, "\n".join(lines) + "\n")


def read_long(path: Path) -> Tracks:
    """The Tracks of a csv with the columns point, frame, x and y at least.

    Points keep the order of their numbers. A csv of no points has no frames.
    """
    table = _read_table(path, NEEDED)
    point, frame = (_whole(path, name, table[name]) for name in ("point", "frame"))
    _, which = np.unique(point, return_inverse=True)
    frames = int(frame.max()) + 1 if len(frame) else 0
    count = int(which.max()) + 1 if len(which) else 0
    xy = empty_places(frames, count, path)
    xy[frame, which] = np.stack([_numbers(path, table[name]) for name in "xy"], axis=-1)
    grids = {name: _grid(path, table, name, frame, which, xy) for name in (*SCORES, "visible")}
    shown = grids["visible"]
    labels = {name: _by_point(table, name, which, count) for name in ("name", "individual", "id")}
    tracks = make_tracks(
        xy,
        None if shown is None else np.nan_to_num(shown) > 0.5,
        grids["visibility"],
        grids["confidence"],
        labels["name"],
        labels["individual"],
    )
    return _with_times(path, tracks, table, frame, labels["id"])


def write_wide(path: Path, tracks: Tracks) -> Path:
    """The path of a csv with a row for each frame: frame, seconds, then each point's columns.

    These are NAME_x, NAME_y, NAME_visibility and NAME_visible; INDIVIDUAL/NAME_x of individuals.
    """
    tracks = one_clip(tracks)
    names, columns = joined_names(tracks), _columns(tracks)
    parts = [name for name in ("x", "y", *SCORES, "visible") if name in columns]
    header = ["frame", "seconds", *(f"{name}_{part}" for name in names for part in parts)]
    rows = [join_cells(header)]
    for frame in range(tracks.xy.shape[1]):
        row = [str(frame), columns["seconds"](frame, 0)]
        row += [columns[part](frame, point) for point in range(len(names)) for part in parts]
        rows.append(",".join(row))
    return write_text(path, "\n".join(rows) + "\n")


def read_wide(path: Path) -> Tracks:
    """The Tracks of a csv as `write_wide` makes it; names that are numbered points are dropped."""
    table = _read_table(path, ("frame",))
    frame = _whole(path, "frame", table["frame"])
    names = [name.removesuffix("_x") for name in table if name.endswith("_x")]
    if not names and set(table) - {"frame", "seconds"}:
        raise ValueError(f"{path} has no columns NAME_x and NAME_y: its header must name points")
    frames = int(frame.max()) + 1 if len(frame) else 0
    xy = empty_places(frames, len(names), path)
    grids = {part: np.full(xy.shape[:2], np.nan) for part in (*SCORES, "visible")}
    for point, name in enumerate(names):
        if f"{name}_y" not in table:
            raise ValueError(f"{path} has a column {name}_x and no {name}_y: add it")
        for axis in (0, 1):
            xy[frame, point, axis] = _numbers(path, table[f"{name}_{'xy'[axis]}"])
        for part, grid in grids.items():
            if f"{name}_{part}" in table:
                grid[frame, point] = _numbers(path, table[f"{name}_{part}"])
    shown, scores = grids["visible"], [grids[name] for name in SCORES]
    given = [None if np.isnan(grid).all() else grid for grid in scores]
    seen = None if np.isnan(shown).all() else np.nan_to_num(shown) > 0.5
    numbered = names == [f"point{n}" for n in range(len(names))]
    tracks = make_tracks(xy, seen, *given, *((None,) if numbered else split_names(names)))
    return _with_times(path, tracks, table, frame, None)


def _columns(tracks: Tracks) -> dict:
    """By name, a function (frame, point) -> text for each column that the tracks have."""
    xy, visibility = tracks.xy[0].tolist(), tracks.visibility[0].tolist()
    visible = tracks.visible[0].int().tolist()
    seconds = frame_times(tracks)
    columns = {
        "seconds": lambda t, n: "" if seconds is None else f"{seconds[t]:.6f}",
        "x": lambda t, n: f"{xy[t][n][0]:.4f}",
        "y": lambda t, n: f"{xy[t][n][1]:.4f}",
        "visibility": lambda t, n: f"{visibility[t][n]:.4f}",
        "visible": lambda t, n: str(visible[t][n]),
    }
    if tracks.confidence is not None:
        confidence = tracks.confidence[0].tolist()
        columns["confidence"] = lambda t, n: f"{confidence[t][n]:.4f}"
    if tracks.ids is not None:
        ids = tracks.ids[0].tolist()
        columns["id"] = lambda t, n: str(ids[n])
    if tracks.names is not None:
        columns["name"] = lambda t, n: join_cells([tracks.names[n]])
    if tracks.individuals is not None:
        columns["individual"] = lambda t, n: join_cells([tracks.individuals[n]])
    return columns


def join_cells(cells: list[str]) -> str:
    """A line of csv without its end; cells with commas and their like are quoted."""
    return ",".join(
        '"' + cell.replace('"', '""') + '"' if set(cell) & set(',"\r\n') else cell for cell in cells
    )


def _read_table(path: Path, needed: tuple[str, ...]) -> dict[str, list[str]]:
    """The columns of a csv by name; ValueError where one is missing or a row has another length."""
    rows = read_rows(path)
    header = [name.strip() for name in rows[0]] if rows else []
    missing = [name for name in needed if name not in header]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]}: its header must name it")
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:
        raise ValueError(f"{path} has two columns {twice[0]}: take one out")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise ValueError(f"{path} line {number} has {len(row)} cells, not {len(header)}")
    return {name: [row[k] for row in rows[1:]] for k, name in enumerate(header)}


def read_rows(path: Path) -> list[list[str]]:
    """The rows of a csv, empty ones left out; ValueError where it is missing or no text."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return [row for row in csv.reader(file) if any(map(str.strip, row))]
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: give a csv file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a csv text file ({error}): give one") from error


def _numbers(path: Path, cells: list[str]) -> np.ndarray:
    try:
        return np.array([float(cell) if cell.strip() else np.nan for cell in cells], np.float64)
    except ValueError as error:
        raise ValueError(f"{path} holds text where a number is due ({error})") from error


def _whole(path: Path, name: str, cells: list[str]) -> np.ndarray:
    numbers = _numbers(path, cells)
    if not (np.isfinite(numbers).all() and (numbers >= 0).all() and (numbers % 1 == 0).all()):
        raise ValueError(f"{path}: every {name} must be a whole number from 0 on")
    return numbers.astype(np.int64)


def _grid(path, table: dict, name: str, frame, which, xy: np.ndarray) -> np.ndarray | None:
    """T N of one column, NaN where there is no row."""
    if name not in table:
        return None
    grid = np.full(xy.shape[:2], np.nan)
    grid[frame, which] = _numbers(path, table[name])
    return grid


def _by_point(table: dict, name: str, which: np.ndarray, count: int) -> list[str] | None:
    """A column's text of each point: that of its first row."""
    if name not in table:
        return None
    texts: dict[int, str] = {}
    for point, text in zip(which.tolist(), table[name]):
        texts.setdefault(point, text)
    return [texts[point] for point in range(count)]


def _with_times(path: Path, tracks: Tracks, table: dict, frame, ids: list[str] | None) -> Tracks:
    """The tracks with the seconds and ids of the table, where it has all of them."""
    if ids is not None:
        tracks = replace(tracks, ids=torch.from_numpy(_whole(path, "id", ids))[None])
    seconds = np.full(tracks.xy.shape[1], np.nan)
    if "seconds" in table:
        seconds[frame] = _numbers(path, table["seconds"])
    if np.isfinite(seconds).all() and len(seconds):
        tracks = replace(tracks, seconds=torch.from_numpy(seconds))
    return tracks
