"""Tracks written as csv."""

import csv
from pathlib import Path

from cotracker.types import Tracks


def write_csv(path: Path, tracks: Tracks) -> None:
    """Writes a row point,frame,x,y,visibility,visible for each point and frame, by points."""
    xy = tracks.xy[0].tolist()
    visibility = tracks.visibility[0].tolist()
    visible = tracks.visible[0].int().tolist()
    with open(path, "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["point", "frame", "x", "y", "visibility", "visible"])
        for point in range(tracks.xy.shape[2]):
            for frame in range(tracks.xy.shape[1]):
                x, y = xy[frame][point]
                score = f"{visibility[frame][point]:.4f}"
                rows.writerow([point, frame, f"{x:.4f}", f"{y:.4f}", score, visible[frame][point]])
