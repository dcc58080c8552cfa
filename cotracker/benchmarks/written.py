"""JSON files written whole or not at all, and the code and packages that what is in them came from."""

import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("cotracker-anew", "torch", "torchvision", "numpy", "opencv-python-headless", "mujoco")


def write_text(path: str | Path, text: str) -> Path:
    """The path of the file just written; its folder is made where it is not there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def write_json(path: str | Path, value: dict | list) -> Path:
    """The path of the JSON file just written; ValueError where the value holds NaN or infinity."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> dict:
    """The dictionary in a JSON file; ValueError, one sentence, where there is none."""
    try:
        value = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: it is missing or damaged, remove it") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not what evaluate.py wrote: it should hold a JSON object")
    return value


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
