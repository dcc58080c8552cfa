"""Tracks to and from other programs' files, one format a file (docs/interchange.md)."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from cotracker import checks
from cotracker.files import refuse_special
from cotracker.interchange import json_tracks, poseinterface
from cotracker.interchange.tables import read_rows
from cotracker.tracks import Tracks


@dataclass(frozen=True)
class Format:
    """Where a format's functions are, and how its files' names end.

    module, write, read: names of the module in this package and of its functions.
    suffix: what a file's name ends with where nobody says.
    """

    module: str
    write: str
    read: str
    suffix: str

    def function(self, name: str) -> Callable:
        return getattr(import_module(f"cotracker.interchange.{self.module}"), name)


FORMATS = {
    "npz": Format("npz", "write", "read", ".npz"),
    "csv": Format("tables", "write_long", "read_long", ".csv"),
    "csv-wide": Format("tables", "write_wide", "read_wide", "_wide.csv"),
    "json": Format("json_tracks", "write", "read", ".json"),
    "dlc-csv": Format("deeplabcut", "write_csv", "read_csv", "_dlc.csv"),
    "dlc-h5": Format("deeplabcut", "write_h5", "read_h5", ".h5"),
    "sleap": Format("sleap", "write", "read", ".slp"),
    "movement": Format("movement", "write", "read", ".nc"),
    "coco": Format("coco", "write", "read", "_coco.json"),
    "tapvid": Format("tapvid", "write", "read", ".pkl"),
    "cliplabels": Format("poseinterface", "write_clip_labels", "read", "_cliplabels.json"),
    "startlabels": Format("poseinterface", "write_start_labels", "read", "_startlabels.json"),
    "blender": Format("blender", "write", "read", "_blender.csv"),
    "colmap": Format("colmap", "write", "read", ".db"),
}
DAMAGED = (ValueError, TypeError, LookupError, RuntimeError, AttributeError)
BY_SUFFIX = {
    ".npz": "npz",
    ".h5": "dlc-h5",
    ".slp": "sleap",
    ".nc": "movement",
    ".pkl": "tapvid",
    ".db": "colmap",
}


def write_tracks(path: str | Path, tracks: Tracks, kind: str) -> Path:
    """The path of the file just written, atomically, in the format `kind` of FORMATS.

    ValueError, one sentence: no such format, tracks that it cannot hold, or a package is missing.
    """
    chosen = FORMATS[checks.choice("format", kind, tuple(FORMATS))]
    return chosen.function(chosen.write)(Path(path), tracks)


def read_tracks(path: str | Path, kind: str | None = None) -> Tracks:
    """The Tracks of one clip in a file.

    kind: one of FORMATS; None: what the file's name and its first lines tell.
    ValueError, one sentence naming the file: it is missing, damaged or of another format.
    """
    path = Path(path)
    refuse_special(path)
    kind = find_format(path) if kind is None else checks.choice("format", kind, tuple(FORMATS))
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    read = FORMATS[kind].function(FORMATS[kind].read)
    try:
        return read(path)
    except DAMAGED as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, ValueError) and path.name in said:
            raise
        raise ValueError(f"{path} cannot be read as {kind}: {said}") from error


def find_format(path: Path) -> str:
    """The name of a file's format, by its suffix and, of csv and JSON, by how it begins."""
    if path.suffix in BY_SUFFIX:
        return BY_SUFFIX[path.suffix]
    if path.suffix == ".csv":
        return _format_of_csv(path)
    if path.suffix == ".json":
        value = json_tracks.load(path)
        if value.get("format") == json_tracks.FORMAT:
            return "json"
        return "cliplabels" if poseinterface.PATTERN.fullmatch(path.stem) else "coco"
    known = ", ".join([".csv", ".json", *BY_SUFFIX])
    raise ValueError(f"{path} is of no format that is known here: its name must end in {known}")


def _format_of_csv(path: Path) -> str:
    first = (read_rows(path) or [[""]])[0]
    if first[0].startswith("#"):
        return "blender"
    if first[0].strip() == "scorer":
        return "dlc-csv"
    return "csv" if first[0].strip() == "point" else "csv-wide"
