"""npz: the one file that keeps all of Tracks."""

from pathlib import Path

from cotracker.tracks import Tracks


def write(path: Path, tracks: Tracks) -> Path:
    """The path of the file of `Tracks.save`."""
    return tracks.save(path)


def read(path: Path) -> Tracks:
    """The Tracks of `Tracks.load`."""
    return Tracks.load(path)
