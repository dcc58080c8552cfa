"""manifest.json of a folder of clips: what made them, and an entry for each whole clip, whatever killed the maker."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cotracker.data.kubric.layout import PARTIAL, clip_names, describe

LAYOUT = 1  # the version of the layout on disk
NAME = "manifest.json"
ENTRY = {"name", "frames", "points", "size", "sha256"}


def heading(generator: str, config: dict, seed: int, version: str, commit: str | None) -> dict:
    """The manifest, without clips yet, of what `generator` makes from `config` and `seed`.

    version and commit: of this project. A folder is refused to another heading, but for the commit: each is noted.
    """
    made = {
        "layout": LAYOUT,
        "version": version,
        "commits": [commit],
        "generator": generator,
        "config": config,
    }
    return json.loads(
        json.dumps(made | {"seed": seed})
    )  # as it will be read back: tuples are lists


@contextmanager
def claimed(root: str | Path) -> Iterator[None]:
    """The folder, made where it is missing, is this process's to write in the block, and is free again however it ends.

    ValueError where it is a file, cannot be written to, or another process is writing in it.
    """
    try:
        Path(root).mkdir(parents=True, exist_ok=True)
        lock = os.open(root, os.O_RDONLY)
    except OSError as error:
        raise ValueError(
            f"cannot write into {root}: {error.strerror}; choose another folder"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another process is writing into {root}: wait for it or choose another folder"
            ) from None
        yield
    finally:
        os.close(lock)


def settle(root: str | Path, made: dict) -> dict:
    """The manifest of all whole clips below a claimed root, written there; what a killed run left half done is removed.

    made: the `heading` of what is to be written there.  Clips that the manifest on disk lacks are described from their
    files, entries without a clip are dropped.
    ValueError, one sentence, where the folder holds something else, clips of another heading, or a damaged clip.
    """
    root = Path(root)
    there = read_manifest(root)
    leftovers = list(root.glob(f"{PARTIAL}*"))
    if there is None:
        other = next((path for path in root.iterdir() if path not in leftovers), None)
        if other is not None:
            raise ValueError(
                f"{root} holds {other.name} but no {NAME}, so it was not made here: choose another folder"
            )
        there = made | {"clips": []}
    if there["clips"] or clip_names(root):
        _refuse_unlike(root, there, made)
    for leftover in leftovers:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    commits = there["commits"] + [
        commit for commit in made["commits"] if commit not in there["commits"]
    ]
    entries = {entry["name"]: entry for entry in there["clips"]}
    clips = [entries.get(name) or describe(root / name) for name in clip_names(root)]
    manifest = made | {"commits": commits, "clips": clips}
    write_manifest(root, manifest)
    return manifest


def read_manifest(root: str | Path) -> dict | None:
    """The manifest of a folder, or None where there is none; ValueError where it cannot be read as one."""
    path = Path(root) / NAME
    try:
        manifest = json.loads(path.read_text())
        assert isinstance(manifest["commits"], list) and all(
            ENTRY <= entry.keys() for entry in manifest["clips"]
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(
            f"{path} is no manifest of clips: move it away or choose another folder"
        ) from error
    return manifest


def write_manifest(root: str | Path, manifest: dict) -> None:
    """Writes root/manifest.json, whole or not at all: clips in order of their names, with their number and sums."""
    clips = sorted(manifest["clips"], key=lambda entry: entry["name"])
    counts = {"clips": len(clips)} | {
        key: sum(clip[key] for clip in clips) for key in ("frames", "points")
    }
    whole = {key: value for key, value in manifest.items() if key not in ("counts", "clips")}
    whole |= {"counts": counts, "clips": clips}
    with tempfile.NamedTemporaryFile("w", dir=root, prefix=PARTIAL, delete=False) as file:
        try:
            json.dump(whole, file, indent=1)
            file.close()
            os.chmod(file.name, 0o644)
            os.replace(file.name, Path(root) / NAME)
        except BaseException:
            os.unlink(file.name)
            raise


def _refuse_unlike(root: Path, there: dict, made: dict) -> None:
    free = ("commits", "counts", "clips")
    then, now = (_flat({k: v for k, v in one.items() if k not in free}) for one in (there, made))
    unlike = [
        key
        for key in [*now, *(key for key in then if key not in now)]
        if then.get(key) != now.get(key)
    ]
    if unlike:
        said = ", ".join(
            f"{k.removeprefix('config.')} is {then.get(k)} there, {now.get(k)} here"
            for k in unlike[:5]
        )
        raise ValueError(f"{root} holds clips made otherwise ({said}): choose another folder")


def _flat(values: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in values.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat
