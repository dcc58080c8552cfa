"""results.json: everything a number needs to be believed and compared, written whole or not at all."""

import json
import math
import os
import platform
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.breakdown import pooled
from cotracker.benchmarks.run import Row, mean, unscored
from cotracker.trackers.tracker import Tracker

NAME = "results.json"
PACKAGES = ("cotracker-anew", "torch", "torchvision", "numpy", "opencv-python-headless", "mujoco")


def heading(tracker_name: str, tracker: Tracker, benchmark: Benchmark) -> dict:
    """What makes two results alike: benchmark, tracker, protocol and checkpoint {name, hash}.

    A tracker made from a file says so under "checkpoint" of its describe(); the others have None there.
    """
    said = tracker.describe()
    checkpoint = said.pop("checkpoint", None) or {"name": None, "hash": None}
    protocol = benchmark.describe() | {key: value for key, value in said.items() if key != "tracker"}
    same = {"benchmark": benchmark.name, "tracker": tracker_name, "protocol": protocol, "checkpoint": checkpoint}
    return json.loads(json.dumps(same))  # as it will be read back: tuples are lists


def record(heading: dict, benchmark: Benchmark, rows: list[Row], seconds: float) -> dict:
    """All of results.json; percentages and seconds are rounded to 4 decimals, and null where nothing was counted.

    "breakdown" (errors by kind) and "made" (what drawn clips were made from) are there where the benchmark has them.
    """
    names = [row["name"] for row in rows]
    whole = heading | {
        "commit": commit(),
        "versions": versions(),
        "found": len(rows),
        "expected": len(benchmark.expected) or len(rows),
        "missing": [name for name in benchmark.expected if name not in names],
        "unscored": unscored(rows),
        "seconds": _plain(seconds),
        "mean": {key: _plain(value) for key, value in mean(rows).items()},
        "videos": [{key: _plain(value) for key, value in row.items() if key != "errors"} for row in rows],
    }
    if benchmark.breakdown:
        whole["breakdown"] = _plain(pooled([row["errors"] for row in rows]))
    return whole | ({"made": benchmark.made} if benchmark.made else {})


def refuse_unlike(folder: str | Path, heading: dict) -> None:
    """Nothing, when `folder` can hold such a result; else ValueError says why not. To be asked before the long part.

    The folder is made where it is not there, and written to; a results.json within must be of the same heading.
    """
    path = Path(folder) / NAME
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(f"out={folder} is a file: give a folder")
    _refuse_unwritable(Path(folder))
    if not path.exists():
        return
    try:
        there = json.loads(path.read_text())
        differing = [key for key in heading if there.get(key) != heading[key]]
        if there.get("checkpoint", {}).get("hash") == heading["checkpoint"]["hash"]:  # the same weights, renamed
            differing = [key for key in differing if key != "checkpoint"]
    except (ValueError, AttributeError, IsADirectoryError) as error:
        raise ValueError(f"{path} is there and is not a result of evaluate.py: give another out=DIR") from error
    if differing:
        telling = [key for key in differing if key != "protocol" or "tracker" not in differing]
        differs = "; ".join(f"{key} there is {_short(there, heading, key)}" for key in telling)
        raise ValueError(f"{path} holds another result ({differs}): give another out=DIR, or remove that file")


def _refuse_unwritable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except OSError as error:
        raise ValueError(f"out={folder} cannot be written to ({error.strerror}): give another out=DIR") from error


def write(folder: str | Path, record: dict) -> Path:
    """The path of the results.json just written in `folder`; other files there are left alone."""
    path = Path(folder) / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{NAME}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def commit() -> str | None:
    """The commit of this code, with "+changes" when tracked files differ from it; None outside a git checkout."""
    folder = Path(__file__).parent
    try:
        name = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return name + ("+changes" if changes else "")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on; those not installed are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # opencv goes by several names
            continue
    return found


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _plain(value: str | float | dict) -> str | float | dict | None:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value


def _short(there: dict, heading: dict, key: str) -> str:
    """`old, here new`; of two dictionaries only the fields that differ."""
    old, new = there.get(key), heading[key]
    if isinstance(old, dict) and isinstance(new, dict):
        fields = [field for field in {**old, **new} if old.get(field) != new.get(field)]
        old, new = {field: old.get(field) for field in fields}, {field: new.get(field) for field in fields}
    return f"{json.dumps(old)}, here {json.dumps(new)}"
