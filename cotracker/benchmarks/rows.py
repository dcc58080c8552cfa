"""Rows of finished videos as files, from which an interrupted evaluation resumes."""

import hashlib
import math
import re
from pathlib import Path

from cotracker.benchmarks.run import Row
from cotracker.checks import fits
from cotracker.files import read_json, write_json
from cotracker.provenance import commit

ERRORS = {str: {str: [(int, float)]}}
ENTRY = {
    "name": str,
    "commit": (str, type(None)),
    "row": {"name": str, "seconds": (int, float), "errors?": ERRORS},
}
TEXTS = ("name", "errors")  # fields of a row that are no numbers


class RowStore:
    """FOLDER/<video>.json, one for each finished video, written atomically.

    identity: results.identity of the evaluation. Rows of another identity are refused.
    """

    def __init__(self, folder: str | Path, identity: str):
        self.folder, self.identity, self.commit = Path(folder), identity, commit()
        self._owners: dict[str, str] = {}  # file name -> the video it belongs to

    def get(self, name: str) -> Row | None:
        """The row of a video, or None where it is not stored; NaN where nothing was counted."""
        entry = self._read(name)
        if entry is None:
            return None
        return {key: math.nan if value is None else value for key, value in entry["row"].items()}

    def put(self, row: Row) -> None:
        """Writes the row's file."""
        entry = {"name": row["name"], "identity": self.identity, "commit": self.commit}
        values = {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in row.items()
        }
        write_json(self._path(row["name"]), entry | {"row": values})

    def commits(self, rows: list[Row]) -> list[str]:
        """The commits that measured these rows."""
        return sorted({str(self._read(row["name"])["commit"]) for row in rows})

    def _read(self, name: str) -> dict | None:
        path = self._path(name)
        if not path.is_file():
            return None
        entry = read_json(path)
        if entry.get("identity") != self.identity:
            raise ValueError(
                f"{path} was measured with other settings: pass another out=DIR, or remove its rows"
            )
        row = entry.get("row")
        whole = fits(entry, ENTRY) and row["name"] == name
        numbers = [value for key, value in (row.items() if whole else ()) if key not in TEXTS]
        if not whole or not fits(numbers, [(int, float, type(None))]):
            raise ValueError(f"{path} is no row of evaluate.py: remove it, and it is measured anew")
        return entry

    def _path(self, name: str) -> Path:
        """The file of a video, another one for each video; its name resembles the video's."""
        stem = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)
        if stem != name or len(stem) > 100 or stem.startswith("."):
            digest = hashlib.sha256(name.encode()).hexdigest()[:8]
            stem = f"{stem.lstrip('.')[:80]}-{digest}"
        key = stem.lower()  # some file systems ignore case
        owner = self._owners.setdefault(key, name)
        if owner != name:
            raise ValueError(
                f"videos {owner} and {name} would share the row {stem}.json: rename one of them"
            )
        return self.folder / f"{stem}.json"
