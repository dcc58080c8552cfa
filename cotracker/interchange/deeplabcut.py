"""DeepLabCut: csv, and h5 by pandas; predictions and labelled frames, one animal or several.

x and y are pixels whose centre is an integer, as ours. A row is a frame: its number from 0 on, or
the picture of a labelled frame, whose name ends with the number. DeepLabCut has no flag for hidden
points: a place that is not seen is empty, and its likelihood is the visibility.
"""

import re
from pathlib import Path

import numpy as np

from cotracker.files import write_text
from cotracker.interchange.hdf5 import check_hdf5
from cotracker.interchange.plain_pickle import parse_plain_pickle
from cotracker.interchange.points import (
    empty_places,
    make_tracks,
    need,
    one_clip,
    point_individuals,
    point_names,
    write_through,
)
from cotracker.interchange.tables import join_cells, read_rows
from cotracker.tracks import Tracks

SCORER = "CoTracker"
KEY = "df_with_missing"  # of the table in an h5 file
COORDS = ("x", "y", "likelihood")


def write_csv(path: Path, tracks: Tracks) -> Path:
    """The path of the csv with a header of three lines, or four where points have individuals."""
    names, columns, values = _layout(tracks)
    levels = zip(*columns) if columns else [[]] * len(names)
    lines = [join_cells([name, *level]) for name, level in zip(names, levels)]
    for frame, row in enumerate(values.tolist()):
        lines.append(",".join([str(frame), *("" if v != v else f"{v:.6g}" for v in row)]))
    return write_text(path, "\n".join(lines) + "\n")


def write_h5(path: Path, tracks: Tracks) -> Path:
    """The path of the h5 file that DeepLabCut and pandas read, under the key df_with_missing."""
    try:
        import pandas
        import tables  # noqa: F401  pandas writes through it
    except ImportError as error:
        raise need("deeplabcut", "pandas and tables", error) from error
    names, columns, values = _layout(tracks)
    if not columns:
        raise ValueError(f"{path} would hold no points, which DeepLabCut's h5 cannot: write csv")
    header = pandas.MultiIndex.from_tuples(columns, names=names)
    frame = pandas.DataFrame(values, columns=header)
    return write_through(path, lambda name: frame.to_hdf(name, key=KEY, mode="w"))


def read_csv(path: Path) -> Tracks:
    """The Tracks of a csv of DeepLabCut; visible wherever a place is given."""
    rows = read_rows(path)
    head = next((k for k, row in enumerate(rows[:5]) if row[0].strip() == "coords"), None)
    if head is None or rows[0][0].strip() != "scorer":
        raise ValueError(f"{path} is no csv of DeepLabCut: its lines begin scorer, bodyparts, …")
    coords = rows[head]
    first = next((k for k, one in enumerate(coords) if one.strip() in COORDS), len(coords))
    columns = list(zip(*(row[first:] for row in rows[: head + 1])))
    frames = [_frame_number(row[max(first - 1, 0)], path) for row in rows[head + 1 :]]
    try:
        values = np.array(
            [[float(c) if c.strip() else np.nan for c in row[first:]] for row in rows[head + 1 :]]
        )
    except ValueError as error:
        raise ValueError(f"{path} holds text where a number is due ({error})") from error
    return _from_columns(path, columns, frames, values.reshape(len(frames), len(columns)))


def read_h5(path: Path) -> Tracks:
    """The Tracks of an h5 file of DeepLabCut; what it holds as pickles runs no code."""
    try:
        import h5py
    except ImportError as error:
        raise need("deeplabcut", "h5py", error) from error
    check_hdf5(path)
    try:
        with h5py.File(path) as file:
            group = next(iter(file.values()))
            read = _read_table if "table" in group else _read_blocks
            columns, index, values = read(group)
    except Exception as error:  # the library raises many kinds
        raise ValueError(f"{path} is no h5 file of DeepLabCut, or damaged ({error})") from error
    return _from_columns(path, columns, [_frame_number(one, path) for one in index], values)


def _layout(tracks: Tracks) -> tuple[list[str], list[tuple[str, ...]], np.ndarray]:
    """The header's names, each column's header, and the values T x columns, by individuals."""
    tracks = one_clip(tracks)
    names, owners = point_names(tracks), point_individuals(tracks)
    order = list(range(len(names)))
    if owners is not None:
        first = {owner: k for k, owner in reversed(list(enumerate(owners)))}
        order.sort(key=lambda n: first[owners[n]])
    xy, visible = tracks.xy[0].numpy(), tracks.visible[0].numpy()
    places = np.where(visible[..., None], xy, np.nan)
    values = np.concatenate([places, tracks.visibility[0].numpy()[..., None]], axis=-1)
    columns = [
        (SCORER, *([] if owners is None else [owners[n]]), names[n], coord)
        for n in order
        for coord in COORDS
    ]
    header = ["scorer", *([] if owners is None else ["individuals"]), "bodyparts", "coords"]
    return header, columns, values[:, order].reshape(len(values), len(columns)).astype(np.float64)


def _from_columns(path: Path, columns: list, frames: list[int], values: np.ndarray) -> Tracks:
    """Tracks of columns (scorer, [individual,] bodypart, coord) and of rows at `frames`."""
    points: dict[tuple, dict[str, int]] = {}
    for k, column in enumerate(columns):
        points.setdefault(tuple(column[:-1]), {})[column[-1]] = k
    if any(not {"x", "y"} <= parts.keys() for parts in points.values()):
        raise ValueError(f"{path} has a body part without x or y: each needs both")
    length = max(frames, default=-1) + 1
    xy = empty_places(length, len(points), path)
    likelihood = np.full(xy.shape[:2], np.nan)
    for n, parts in enumerate(points.values()):
        xy[frames, n, 0], xy[frames, n, 1] = values[:, parts["x"]], values[:, parts["y"]]
        if "likelihood" in parts:
            likelihood[frames, n] = values[:, parts["likelihood"]]
    scored = any("likelihood" in parts for parts in points.values())
    several = any(len(key) == 3 for key in points)
    return make_tracks(
        xy,
        visibility=likelihood if scored else None,
        names=[key[-1] for key in points],
        individuals=[key[-2] for key in points] if several else None,
    )


def _frame_number(cell: object, path: Path) -> int:
    """The frame of a row: a number, or the last digits in a picture's name."""
    text = cell.decode() if isinstance(cell, bytes) else str(cell)
    found = re.findall(r"\d+", Path(text.replace("\\", "/")).stem)
    if not found or len(found[-1]) > 9:
        raise ValueError(f"{path}: no frame number can be read from {text[:60]}")
    return int(found[-1])


def _read_table(group) -> tuple[list[tuple], list, np.ndarray]:
    """Columns, index and values of pandas' format "table"."""
    table = group["table"][()]
    blocks = [name for name in table.dtype.names if name.startswith("values_block_")]
    axes = parse_plain_pickle(bytes(group.attrs["non_index_axes"]))
    columns = [tuple(map(str, column)) for column in axes[0][1]]
    if len(blocks) != 1:
        raise ValueError("its columns have several types")
    return columns, list(table["index"]), np.asarray(table[blocks[0]], np.float64)


def _read_blocks(group) -> tuple[list[tuple], list, np.ndarray]:
    """Columns, index and values of pandas' format "fixed"."""
    columns = list(zip(*_read_levels(group, "axis0")))
    if "axis1" in group:
        index = list(group["axis1"][()])
    else:
        index = _read_levels(group, "axis1")[-1]
    values = np.full((len(index), len(columns)), np.nan)
    for block in range(int(group.attrs["nblocks"])):  # one for each type of number
        items = zip(*_read_levels(group, f"block{block}_items"))
        where = [columns.index(item) for item in items]
        values[:, where] = group[f"block{block}_values"][()]
    return columns, index, values


def _read_levels(group, axis: str) -> list[list[str]]:
    """The texts of each level of a MultiIndex."""
    levels = []
    while f"{axis}_level{len(levels)}" in group:
        number = len(levels)
        texts = [
            one.decode() if isinstance(one, bytes) else str(one)
            for one in group[f"{axis}_level{number}"][()]
        ]
        levels.append([texts[k] for k in group[f"{axis}_label{number}"][()]])
    return levels
