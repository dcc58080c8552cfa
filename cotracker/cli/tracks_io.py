"""Tracks written as npz and csv."""

import csv
from pathlib import Path

import numpy as np
from torch import Tensor

from cotracker.types import Tracks


NPZ_FORMAT = 2  # 2: with format and seconds


def write_npz(
    path: Path,
    tracks: Tracks,
    queries: Tensor,
    fps: float,
    size: tuple[int, int],
    seconds: np.ndarray,
) -> None:
    """Writes the Tracks of one video as numpy arrays.

    xy T N 2, visibility T N, visible T N, queries N 3, fps, size (H, W), and seconds T, the times
    of the frames from the first on.
    """
    np.savez_compressed(
        path,
        format=np.int64(NPZ_FORMAT),
        xy=tracks.xy[0].float().numpy(),
        visibility=tracks.visibility[0].float().numpy(),
        visible=tracks.visible[0].numpy(),
        queries=queries[0].float().numpy(),
        fps=np.float64(fps),
        size=np.array(size, dtype=np.int64),
        seconds=np.asarray(seconds, dtype=np.float64),
    )


def write_csv(path: Path, tracks: Tracks, seconds: np.ndarray) -> None:
    """Writes a row for each point and frame, by points, under the header of its columns.

    seconds: T, the times of the frames from the first on.
    """
    xy = tracks.xy[0].tolist()
    visibility = tracks.visibility[0].tolist()
    visible = tracks.visible[0].int().tolist()
    with open(path, "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["point", "frame", "seconds", "x", "y", "visibility", "visible"])
        for point in range(tracks.xy.shape[2]):
            for frame in range(tracks.xy.shape[1]):
                x, y = xy[frame][point]
                score = f"{visibility[frame][point]:.4f}"
                time = f"{seconds[frame]:.6f}"
                place = [f"{x:.4f}", f"{y:.4f}"]
                rows.writerow([point, frame, time, *place, score, visible[frame][point]])
