"""Rows of finished videos as files: so that a benchmark can be resumed, and processes hand theirs to the first."""

import hashlib
import math
import re
import time
from collections.abc import Callable
from pathlib import Path

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.run import Row, Unreadable, read
from cotracker.files import read_json, write_json
from cotracker.provenance import commit

FRAMES = 8  # of a video read at once, to see whether it can be read


class Rows:
    """FOLDER/<video>.json, one for each finished video, each written whole or not at all.

    identity: of what makes two rows alike (results.identity). A row of another is refused, never mixed in.
    """

    def __init__(self, folder: str | Path, identity: str):
        self.folder, self.identity, self.commit = Path(folder), identity, commit()
        self._files: dict[str, str] = {}  # file's name -> the video it belongs to

    def get(self, name: str) -> Row | None:
        """The row of a video, or None where it is not there; NaN where nothing was counted."""
        held = self._held(name)
        if held is None or "row" not in held:
            return None
        return {key: math.nan if value is None else value for key, value in held["row"].items()}

    def broken(self, name: str) -> str | None:
        """Why the video could not be read by the process that tried last, if it could not."""
        return (self._held(name) or {}).get("broken")

    def put(self, row: Row) -> None:
        self._write(row["name"], {"row": {key: _plain(value) for key, value in row.items()}})

    def put_broken(self, name: str, reason: str) -> None:
        self._write(name, {"broken": reason})

    def commits(self, rows: list[Row]) -> list[str]:
        """The commits that these rows were measured by."""
        return sorted({str(self._held(row["name"])["commit"]) for row in rows})

    def count(self) -> int:
        """How many files there are."""
        return sum(1 for _ in self.folder.glob("[!.]*.json"))

    def _write(self, name: str, held: dict) -> None:
        head = {"name": name, "identity": self.identity, "commit": self.commit}
        write_json(self._file(name), head | held)

    def _held(self, name: str) -> dict | None:
        path = self._file(name)
        if not path.is_file():
            return None
        held = read_json(path)
        if held.get("identity") != self.identity:
            raise ValueError(
                f"{path} was measured otherwise than asked now: give another out=DIR, or remove its rows"
            )
        return held

    def _file(self, name: str) -> Path:
        """A file's name made of the video's, and another one for each video."""
        plain = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)
        if plain != name or len(plain) > 100 or plain.startswith("."):
            plain = f"{plain.lstrip('.')[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        owner = self._files.setdefault(
            plain.lower(), name
        )  # lower: some file systems do not tell A from a
        if owner != name:
            raise ValueError(
                f"two videos would share the row {plain}.json, {owner} and {name}: rename one of them"
            )
        return self.folder / f"{plain}.json"


def collected(
    benchmark: Benchmark, rows: Rows, wait_minutes: float, check: Callable[[], None] = lambda: None
) -> tuple[list[Row], list[dict]]:
    """The rows of all videos in the benchmark's order, and the broken ones {name, reason}, once every process has them.

    check: called while waiting; it raises where a process is known to have died. TimeoutError after wait_minutes in
    which no row came.
    """
    found, broken = [], [{"name": "", "reason": reason} for reason in benchmark.broken]
    patience = _Patience(rows, wait_minutes)
    for index in range(len(benchmark.clips)):
        try:
            name = benchmark.names[index] if benchmark.names else read(benchmark, index).name
            found.append(_awaited(benchmark, index, name, rows, patience, check))
        except Unreadable as error:
            broken.append({"name": error.name, "reason": str(error)})
    return found, broken


def _awaited(
    benchmark: Benchmark, index: int, name: str, rows: Rows, patience: "_Patience", check
) -> Row:
    """The row of a video; Unreadable where a process found that and it still is so (it may stand from an older run)."""
    while True:
        row = rows.get(name)
        if row is not None:
            return row
        if rows.broken(name) is not None:
            _read_whole(benchmark, index)
        check()
        patience.pause(name)


def _read_whole(benchmark: Benchmark, index: int) -> None:
    clip = read(benchmark, index)
    try:
        for start in range(0, clip.video.shape[0], FRAMES):
            clip.video[start : start + FRAMES]
    except (ValueError, OSError) as error:
        raise Unreadable(clip.name, " ".join(str(error).split())) from error


class _Patience:
    """Waits for other processes, as long as rows keep coming."""

    def __init__(self, rows: Rows, minutes: float):
        self.rows, self.minutes = rows, minutes
        self.seen, self.since = rows.count(), time.monotonic()

    def pause(self, name: str) -> None:
        count = self.rows.count()
        if count != self.seen:
            self.seen, self.since = count, time.monotonic()
        if time.monotonic() - self.since > 60 * self.minutes:
            raise TimeoutError(
                f"no row came for {self.minutes:g} minutes (wait_minutes) and {name} is not there: did a process die? "
                f"The same command goes on from the rows in {self.rows.folder}"
            )
        time.sleep(0.1)


def _plain(value):
    return None if isinstance(value, float) and math.isnan(value) else value
