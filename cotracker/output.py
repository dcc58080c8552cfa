"""The files a run leaves: tracks as npz and csv, and a folder that receives all of them or none."""

import csv
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

from cotracker.types import Tracks


@contextmanager
def folder(path: Path, names: Iterable[str]) -> Iterator[Path]:
    """A temporary folder whose files move into `path` when the block ends well, and vanish when it does not.

    names: the files that will be made. `path` may exist; its other files are kept. It is made only at the end. Each
    file moves in one step, one after the other: a kill in between can leave some new and some old.
    ValueError, before the block and with nothing moved, where `path` can't be a folder or a name there is a folder.
    """
    nearest = next(parent for parent in [path.absolute(), *path.absolute().parents] if parent.exists())
    if not nearest.is_dir():
        raise ValueError(f"{nearest} is a file, so nothing can be written into {path}: choose another --out")
    _refuse_folders(path, names)
    try:  # within `path` when it exists: the same file system, so that moving is one step
        temporary = Path(tempfile.mkdtemp(prefix=".cotracker-partial-", dir=nearest))
    except PermissionError:
        raise ValueError(f"{nearest} cannot be written to: choose another --out") from None
    try:
        yield temporary
        path.mkdir(parents=True, exist_ok=True)
        files = sorted(temporary.iterdir())
        _refuse_folders(path, [file.name for file in files])  # again: the block may have taken hours
        for file in files:
            os.replace(file, path / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_overwriting(path: Path, names: Iterable[str], inputs: Iterable[Path]) -> None:
    """Nothing; ValueError where one of the files read is one of those to be written into `path`."""
    written = [path / name for name in names]
    for one in inputs:
        for file in written:
            if file.exists() and one.exists() and file.samefile(one):
                raise ValueError(f"{one} would be overwritten by {file}, one of the results: choose another --out")


def _refuse_folders(path: Path, names: Iterable[str]) -> None:
    for name in names:
        if (path / name).is_dir():
            raise ValueError(f"{path / name} is a folder, where a file is to be written: choose another --out")


def write_npz(path: Path, tracks: Tracks, queries: Tensor, fps: float, size: tuple[int, int]) -> None:
    """Writes xy T N 2, visibility T N, visible T N, queries N 3, fps and size (H, W), from the Tracks of one video."""
    np.savez_compressed(
        path,
        xy=tracks.xy[0].float().numpy(),
        visibility=tracks.visibility[0].float().numpy(),
        visible=tracks.visible[0].numpy(),
        queries=queries[0].float().numpy(),
        fps=np.float64(fps),
        size=np.array(size, dtype=np.int64),
    )


def write_csv(path: Path, tracks: Tracks) -> None:
    """Writes a row point,frame,x,y,visibility,visible for each point and frame, point by point; visible is 0 or 1."""
    xy, visibility = tracks.xy[0].tolist(), tracks.visibility[0].tolist()
    visible = tracks.visible[0].int().tolist()
    with open(path, "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["point", "frame", "x", "y", "visibility", "visible"])
        for point in range(tracks.xy.shape[2]):
            for frame in range(tracks.xy.shape[1]):
                x, y = xy[frame][point]
                score = f"{visibility[frame][point]:.4f}"
                rows.writerow([point, frame, f"{x:.4f}", f"{y:.4f}", score, visible[frame][point]])
