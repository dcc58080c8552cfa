"""results.json: everything a number needs to be believed and compared, written whole or not at all."""

import hashlib
import json
import math
import tempfile
from pathlib import Path

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.breakdown import pooled
from cotracker.benchmarks.intervals import interval
from cotracker.benchmarks.run import (
    Row,
    known,
    mean,
    metric_keys,
    unscored,
    with_required_direction,
)
from cotracker.files import read_json, write_json
from cotracker.provenance import commit, versions
from cotracker.trackers.tracker import Tracker

__all__ = ["commit", "heading", "identity", "record", "refuse_unlike", "versions", "write"]
NAME, HEADING = "results.json", "rows/.heading.json"
FORMAT = 2  # of results.json: 1, which said nothing of its format, called iters updates
WORST = 5  # so many of the worst videos are listed


def heading(tracker_name: str, tracker: Tracker, benchmark: Benchmark) -> dict:
    """What makes two results alike: benchmark, tracker, protocol and checkpoint {name, hash}.

    A tracker made from a file says so under "checkpoint" of its describe(); the others have None there.
    """
    said = with_required_direction(tracker, benchmark).describe()
    checkpoint = said.pop("checkpoint", None) or {"name": None, "hash": None}
    protocol = benchmark.describe() | {
        key: value for key, value in said.items() if key != "tracker"
    }
    same = {
        "benchmark": benchmark.name,
        "tracker": tracker_name,
        "protocol": protocol,
        "checkpoint": checkpoint,
    }
    return json.loads(json.dumps(same))  # as it will be read back: tuples are lists


def identity(heading: dict) -> str:
    """A hash of all that makes two rows alike: the heading, where a checkpoint counts by its weights, not its name."""
    return _hash(heading | {"checkpoint": heading["checkpoint"]["hash"]})


def record(
    heading: dict, benchmark: Benchmark, rows: list[Row], broken: list[dict] | None = None
) -> dict:
    """All of results.json; percentages and seconds are rounded to 4 decimals, and null where nothing was counted.

    "protocol_hash" is of benchmark and protocol. "interval" is of the mean over videos, 95 %, by bootstrap. "worst" are
    videos by their first metric. "broken" are {name, reason}; "seconds" of all videos, whichever process had them.
    "breakdown" (errors by kind) and "made" (what drawn clips were made from) are there where the benchmark has them.
    """
    names = [row["name"] for row in rows]
    bad = [one["name"] for one in broken or []]
    whole = heading | {
        "format": FORMAT,
        "protocol_hash": protocol_hash(heading),
        "commit": commit(),
        "versions": versions(),
        "found": len(rows),
        "expected": len(benchmark.expected) or len(rows) + len(bad),
        "missing": [name for name in benchmark.expected if name not in (*names, *bad)],
        "broken": broken or [],
        "unscored": unscored(rows),
        "seconds": _plain(sum(row["seconds"] for row in rows)),
        "mean": _plain(mean(rows)),
        "interval": {key: _plain(interval(known(rows, key))) for key in metric_keys(rows)},
        "worst": worst(rows),
        "videos": [
            {key: _plain(value) for key, value in row.items() if key != "errors"} for row in rows
        ],
    }
    if benchmark.breakdown:
        whole["breakdown"] = _plain(pooled([row["errors"] for row in rows]))
    return whole | ({"made": benchmark.made} if benchmark.made else {})


def protocol_hash(heading: dict) -> str:
    """A hash of how was asked, tracked and measured: another one where any of it is another."""
    return _hash({key: heading[key] for key in ("benchmark", "protocol")})


def worst(rows: list[Row], count: int = WORST) -> list[str]:
    """Names of the videos where the first metric is lowest, the worst first; none where nothing is counted."""
    key = next(iter(metric_keys(rows)), "")
    scored = [row for row in rows if not math.isnan(row[key])]
    return [row["name"] for row in sorted(scored, key=lambda row: row[key])[:count]]


def refuse_unlike(folder: str | Path, heading: dict) -> None:
    """Nothing, when `folder` can hold such a result; else ValueError says why not. To be asked before the long part.

    The folder is made where it is not there, and written to; a results.json within, and the rows of a run that has not
    ended, must be of the same heading.
    """
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(f"out={folder} is a file: give a folder")
    _refuse_unwritable(Path(folder))
    for name in (NAME, HEADING):
        path = Path(folder) / name
        if path.exists():
            _refuse_other(path, heading)


def begin(folder: str | Path, heading: dict) -> Path:
    """The folder for the rows of this heading, which is written down there; ValueError as refuse_unlike."""
    refuse_unlike(folder, heading)
    path = Path(folder) / HEADING
    return (path if path.exists() else write_json(path, heading)).parent


def _refuse_other(path: Path, heading: dict) -> None:
    try:
        there = read_json(path)
        differing = [key for key in heading if there.get(key) != heading[key]]
        if (
            there.get("checkpoint", {}).get("hash") == heading["checkpoint"]["hash"]
        ):  # the same weights, renamed
            differing = [key for key in differing if key != "checkpoint"]
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} is there and is not a result of evaluate.py: give another out=DIR"
        ) from error
    if differing:
        telling = [key for key in differing if key != "protocol" or "tracker" not in differing]
        differs = "; ".join(f"{key} there is {_short(there, heading, key)}" for key in telling)
        remove = f"{path.parent}" if path.name != NAME else "that file and rows/"
        raise ValueError(
            f"{path} holds another result ({differs}): give another out=DIR, or remove {remove}"
        )


def _refuse_unwritable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except OSError as error:
        raise ValueError(
            f"out={folder} cannot be written to ({error.strerror}): give another out=DIR"
        ) from error


def write(folder: str | Path, record: dict) -> Path:
    """The path of the results.json just written in `folder`; other files there are left alone."""
    return write_json(Path(folder) / NAME, record)


def _hash(value: dict) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _plain(value: str | float | dict | list | None) -> str | float | dict | list | None:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value


def _short(there: dict, heading: dict, key: str) -> str:
    """`old, here new`; of two dictionaries only the fields that differ."""
    old, new = there.get(key), heading[key]
    if isinstance(old, dict) and isinstance(new, dict):
        fields = [field for field in {**old, **new} if old.get(field) != new.get(field)]
        old, new = (
            {field: old.get(field) for field in fields},
            {field: new.get(field) for field in fields},
        )
    return f"{json.dumps(old)}, here {json.dumps(new)}"
