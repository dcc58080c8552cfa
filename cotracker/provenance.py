"""The code and the packages that made a file: its commit and their versions."""

import platform
import re
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from cotracker import __version__

CHECKOUT = Path(__file__).resolve().parents[1]  # where the package is not installed
NAME = "cotracker"
LINE = f'name = "{NAME}"'  # of the checkout's own pyproject.toml
PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "mujoco")


def commit() -> str | None:
    """The commit of this code, "+changes" if tracked files differ; None outside its own checkout.

    A package that is installed within somebody's repository has no part in that one's commit.
    """
    project = CHECKOUT / "pyproject.toml"
    if not (CHECKOUT / ".git").exists() or not project.is_file() or LINE not in project.read_text():
        return None
    try:
        name = _git(CHECKOUT, "rev-parse", "HEAD")
        changes = _git(CHECKOUT, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return name + ("+changes" if changes else "")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the installed ones that results depend on."""
    found = {"python": platform.python_version(), NAME: __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # opencv goes by several names
            continue
    return found


def _git(folder: Path, *words: str) -> str:
    # without a lock: one that is left on a full disk would stop the user's next commit
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def strictest_licence(licences: Iterable[str | None]) -> str:
    """The licence of what is made of parents under these: the strictest, all of them if several.

    Non-commercial ones are stricter than those that ask for the same licence, and these than the
    permissive ones, of which the first is taken.
    """
    known = list(dict.fromkeys(licence for licence in licences if licence))
    if not known:
        return "unknown"
    strictness = {licence: _strictness(licence) for licence in known}
    if not max(strictness.values()):
        return known[0]
    return " and ".join(one for one in known if strictness[one])


def _strictness(licence: str) -> int:
    words = set(re.split(r"[^a-z]+", licence.lower()))
    if {"nc", "noncommercial"} & words or "non-commercial" in licence.lower():
        return 2
    permissive = {"mit", "bsd", "apache", "isc", "zero"} & words or words >= {"cc", "by"}
    permissive = permissive or "cc0" in licence.lower() or "public domain" in licence.lower()
    return 0 if permissive and not {"sa", "nd", "gpl"} & words else 1
