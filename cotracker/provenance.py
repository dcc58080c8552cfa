"""The code and the packages that made a file: its commit and their versions."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

from cotracker import __version__

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "mujoco")


def commit() -> str | None:
    """The commit of this code, "+changes" if tracked files differ; None outside a checkout."""
    folder = Path(__file__).parent
    try:
        name = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return name + ("+changes" if changes else "")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the installed ones that results depend on."""
    found = {"python": platform.python_version(), "cotracker": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # opencv goes by several names
            continue
    return found


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
