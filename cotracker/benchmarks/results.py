"""results.json: everything that a number needs to be believed and compared."""

import hashlib
import json
import math
import tempfile
from pathlib import Path

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.breakdown import pool
from cotracker.benchmarks.intervals import interval
from cotracker.benchmarks.run import (
    Row,
    mean,
    metric_keys,
    non_nan,
    unscored,
    with_required_direction,
)
from cotracker.files import read_json, write_json
from cotracker.provenance import commit, versions
from cotracker.trackers.tracker import Tracker

NAME, HEADING = "results.json", "rows/.heading.json"
FORMAT = 3  # of results.json; another number whenever a name in it changes
WORST = 5  # number of worst videos listed


def make_heading(tracker_name: str, tracker: Tracker, benchmark: Benchmark) -> dict:
    """What makes two results comparable: benchmark, tracker, protocol and checkpoint {name, hash}.

    A tracker made from a file has a "checkpoint" in its describe(); others have None in both.
    """
    described = with_required_direction(tracker, benchmark).describe()
    checkpoint = described.pop("checkpoint", None) or {"name": None, "hash": None}
    described.pop("tracker", None)
    heading = {
        "benchmark": benchmark.name,
        "tracker": tracker_name,
        "protocol": benchmark.describe() | described,
        "checkpoint": checkpoint,
    }
    return json.loads(json.dumps(heading))  # as read back: tuples become lists


def identity(heading: dict) -> str:
    """A hash of what makes two rows comparable; a checkpoint counts by its weights alone."""
    return _hash(heading | {"checkpoint": heading["checkpoint"]["hash"]})


def make_record(
    heading: dict, benchmark: Benchmark, rows: list[Row], broken: list[dict] | None = None
) -> dict:
    """All of results.json; numbers have 4 decimals, and are null where nothing was counted.

    protocol_hash: of benchmark and protocol.
    interval: the 95 % bootstrap interval of each mean over videos.
    worst: videos with the lowest first metric.
    broken: {name, reason} of the videos that could not be read.
    seconds: of all videos together.
    breakdown: errors by kind, and made: what generated clips depend on, where there are any.
    """
    names = [row["name"] for row in rows]
    bad = [one["name"] for one in broken or []]
    there = {*names, *bad, *benchmark.left_out}
    record = {"format": FORMAT} | heading
    record |= {
        "protocol_hash": protocol_hash(heading),
        "commit": commit(),
        "versions": versions(),
        "found": len(rows),
        "expected": len(benchmark.expected) or len(rows) + len(bad),
        "missing": [name for name in benchmark.expected if name not in there],
        "broken": broken or [],
        "unscored": unscored(rows),
        "seconds": _to_json(sum(row["seconds"] for row in rows)),
        "mean": _to_json(mean(rows)),
        "interval": {key: _to_json(interval(non_nan(rows, key))) for key in metric_keys(rows)},
        "worst": worst(rows),
        "videos": [
            {key: _to_json(value) for key, value in row.items() if key != "errors"} for row in rows
        ],
    }
    if benchmark.breakdown:
        record["breakdown"] = _to_json(pool([row["errors"] for row in rows]))
    if benchmark.made:
        record["made"] = benchmark.made
    return record


def protocol_hash(heading: dict) -> str:
    """A hash of benchmark and protocol; it changes if any of their fields does."""
    return _hash({key: heading[key] for key in ("benchmark", "protocol")})


def worst(rows: list[Row], count: int = WORST) -> list[str]:
    """Names of the videos where the first metric is lowest, the worst first, without NaN."""
    key = next(iter(metric_keys(rows)), "")
    scored = [row for row in rows if not math.isnan(row[key])]
    return [row["name"] for row in sorted(scored, key=lambda row: row[key])[:count]]


def prepare_folder(folder: str | Path, heading: dict) -> Path:
    """The folder for the rows, with the heading in it; ValueError as refuse_unlike."""
    refuse_unlike(folder, heading)
    path = Path(folder) / HEADING
    return (path if path.exists() else write_json(path, heading)).parent


def refuse_unlike(folder: str | Path, heading: dict) -> None:
    """ValueError where `folder` cannot hold this result: a file, not writable, or another result.

    The folder is made where it is missing. results.json in it, and the rows of an unfinished
    evaluation, must have the same heading.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out={folder} is a file: pass a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except OSError as error:
        raise ValueError(
            f"out={folder} cannot be written to ({error.strerror}): pass another out=DIR"
        ) from error
    for path in (folder / NAME, folder / HEADING):
        if path.exists():
            _refuse_other(path, heading)


def write(folder: str | Path, record: dict) -> Path:
    """The path of the results.json written in `folder`; other files there are left alone."""
    return write_json(Path(folder) / NAME, record)


def _refuse_other(path: Path, heading: dict) -> None:
    try:
        found = read_json(path)
        differing = [key for key in heading if found.get(key) != heading[key]]
        if (found.get("checkpoint") or {}).get("hash") == heading["checkpoint"]["hash"]:  # renamed
            differing = [key for key in differing if key != "checkpoint"]
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not a result of evaluate.py: pass another out=DIR") from error
    if differing:
        if "tracker" in differing:
            differing = [key for key in differing if key != "protocol"]
        differences = "; ".join(_difference(key, found.get(key), heading[key]) for key in differing)
        remove = f"{path.parent}" if path.name != NAME else "that file and rows/"
        raise ValueError(
            f"{path} holds another result ({differences}): pass another out=DIR, or remove {remove}"
        )


def _difference(key: str, old, new) -> str:
    """`key there is OLD, here NEW`; of two dictionaries only the fields that differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        fields = [field for field in old | new if old.get(field) != new.get(field)]
        old = {field: old.get(field) for field in fields}
        new = {field: new.get(field) for field in fields}
    return f"{key} there is {json.dumps(old)}, here {json.dumps(new)}"


def _hash(value: dict) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _to_json(value):
    """The value with floats rounded to 4 decimals, NaN as None, and tuples as lists."""
    if isinstance(value, dict):
        return {key: _to_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(one) for one in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value
