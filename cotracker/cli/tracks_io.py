"""Tracks written as csv."""

import csv
from pathlib import Path

from cotracker.types import Tracks


def write_csv(path: Path, tracks: Tracks) -> None:
    """Writes a row for each point and frame, by points, under a header.

    The columns are point, frame, seconds, x, y, visibility, visible; confidence where the tracker
    has it, and name where points have names.
    """
    xy = tracks.xy[0].tolist()
    visibility = tracks.visibility[0].tolist()
    visible = tracks.visible[0].int().tolist()
    seconds = tracks.seconds.tolist()
    sure = None if tracks.confidence is None else tracks.confidence[0].tolist()
    header = ["point", "frame", "seconds", "x", "y", "visibility", "visible"]
    with open(path, "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        header += [] if sure is None else ["confidence"]
        rows.writerow(header if tracks.names is None else [*header, "name"])
        for point in range(tracks.xy.shape[2]):
            name = [] if tracks.names is None else [tracks.names[point]]
            for frame, time in enumerate(seconds):
                place = [f"{value:.4f}" for value in (*xy[frame][point], visibility[frame][point])]
                shown = [visible[frame][point]]
                shown += [] if sure is None else [f"{sure[frame][point]:.4f}"]
                rows.writerow([point, frame, f"{time:.6f}", *place, *shown, *name])
