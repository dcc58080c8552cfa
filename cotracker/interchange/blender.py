"""Blender: a csv of markers, and the script that adds them to a movie clip as tracks.

A marker is x / W and y / H with the origin in the lower left corner of the frame, so the centre of
pixel (x, y) is ((x + 1/2) / W, 1 - (y + 1/2) / H); the first frame is 1. A hidden point is a
disabled marker. The first line of the csv, which begins with #, has the frames, their size and fps.
"""

import math
from importlib.resources import files
from pathlib import Path

import numpy as np

from cotracker.files import write_text
from cotracker.interchange.points import (
    empty_places,
    joined_names,
    make_tracks,
    one_clip,
    split_names,
)
from cotracker.interchange.tables import join_cells, read_rows
from cotracker.tracks import Tracks

HEADER = ["track", "frame", "x", "y", "disabled"]


def write(path: Path, tracks: Tracks) -> Path:
    """The path of the csv; NAME_import.py, which Blender runs, is written beside it.

    Individuals stand before the names, as in fly/wing, where a slash of their own is %2F.
    ValueError where the size is unknown.
    """
    tracks = one_clip(tracks)
    if tracks.size is None:
        raise ValueError(
            f"{path}: Blender divides by the frames' size, which these tracks lack: "
            "export the tracker's own tracks.npz"
        )
    height, width = tracks.size
    names = joined_names(tracks)
    frames = tracks.xy.shape[1]
    lines = [f"# frames={frames} width={width} height={height} fps={tracks.fps or 0:.12g}"]
    lines.append(",".join(HEADER))
    xy, visible = tracks.xy[0].tolist(), tracks.visible[0].tolist()
    for n, name in enumerate(names):
        for t in range(frames):
            x, y = (xy[t][n][0] + 0.5) / width, 1 - (xy[t][n][1] + 0.5) / height
            if math.isfinite(x) and math.isfinite(y):
                hidden = int(not visible[t][n])
                lines.append(f"{join_cells([name])},{t + 1},{x:.8f},{y:.8f},{hidden}")
    script = files("cotracker.interchange").joinpath("blender_import.py").read_text()
    write_text(path.with_name(f"{path.stem}_import.py"), script)
    return write_text(path, "\n".join(lines) + "\n")


def read(path: Path) -> Tracks:
    """The Tracks of a csv of markers; points without a marker are not in it."""
    rows = read_rows(path)
    try:
        facts = dict(cell.split("=") for cell in rows[0][0].removeprefix("#").split())
        frames, width, height = (int(facts[name]) for name in ("frames", "width", "height"))
        if rows[1] != HEADER:
            raise ValueError("its header is another")
        cells = [(row[0], int(row[1]) - 1, float(row[2]), float(row[3])) for row in rows[2:]]
        hidden = [row[4] != "0" for row in rows[2:]]
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no csv of markers ({error}): export it again") from error
    names = {name: n for n, name in enumerate(dict.fromkeys(row[0] for row in cells))}
    xy = empty_places(frames, len(names), path)
    visible = np.zeros(xy.shape[:2], bool)
    for (name, frame, x, y), gone in zip(cells, hidden):
        if not 0 <= frame < frames:
            raise ValueError(
                f"{path} has a marker in frame {frame + 1} of {frames}: export it again"
            )
        xy[frame, names[name]] = x * width - 0.5, (1 - y) * height - 0.5
        visible[frame, names[name]] = not gone
    texts, individuals = split_names(list(names))
    return make_tracks(
        xy,
        visible,
        names=texts,
        individuals=individuals,
        size=(height, width),
        fps=float(facts.get("fps", 0)) or None,
    )
