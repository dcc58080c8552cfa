"""The doctor of folders of clips in Kubric's layout: each fault a Finding that names its file; nothing is changed.

A root holds clips, and so is a set, or it holds several sets. What can be put right, repair.py does.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path

import cv2
import torch

from cotracker.data.check_clip import Checked, Finding, check_clip, holds_clip
from cotracker.data.layout import PARTIAL, clip_names
from cotracker.data.manifest import NAME as MANIFEST
from cotracker.data.manifest import read_manifest


@dataclass(frozen=True)
class Report:
    """What was found below a root: its sets, their clips in order, and all findings, those of the clips included."""

    sets: tuple[Path, ...]
    clips: tuple[Checked, ...]
    findings: tuple[Finding, ...]


def check(root: str | Path, points: int = 256, workers: int = 0, seen: Callable[[int], None] | None = None) -> Report:
    """The Report of all clips below `root`; checked by `workers` processes, 0 for this one.

    points: a clip with fewer of them visible in its first or middle frame, from which training takes them, is a
    finding.  seen(total): called after each clip.
    ValueError, one sentence: the folder is missing, holds no clip, or a worker died.
    """
    sets = sets_below(Path(root))
    folders = [path / name for path in sets for name in clip_names(path)]
    checked = {}
    for clip in _all_checked(folders, points, workers):
        checked[clip.folder] = clip
        if seen is not None:
            seen(len(folders))
    clips = [checked[folder] for folder in folders]
    findings = [finding for clip in clips for finding in clip.findings]
    for path in sets:
        findings += _of_the_set(path, [clip for clip in clips if clip.folder.parent == path])
    return Report(tuple(sets), tuple(clips), tuple(findings))


def sets_below(root: Path) -> list[Path]:
    """The folder itself where it holds clips or a manifest, or else the folders in it that do; ValueError: none do."""
    if not root.is_dir():
        raise ValueError(f"the folder {root} does not exist: give the folder that holds the clips' folders")
    sets = [root] if _is_set(root) else [root / name for name in clip_names(root) if _is_set(root / name)]
    if not sets:
        raise ValueError(f"{root} holds no clip: give the folder that holds the clips' folders")
    return sets


def _is_set(folder: Path) -> bool:
    return (folder / MANIFEST).exists() or any(holds_clip(folder / name) for name in clip_names(folder))


def _all_checked(folders: list[Path], points: int, workers: int) -> Iterator[Checked]:
    """The clips as they are checked, in any order."""
    if workers <= 1 or len(folders) <= 1:
        yield from map(partial(check_clip, points=points), folders)
        return
    context = get_context("forkserver")  # a fork of a process with threads can hang
    context.set_forkserver_preload(["cotracker.data.check"])
    pool = ProcessPoolExecutor(min(workers, len(folders)), context, _begin)
    try:
        for done in as_completed([pool.submit(check_clip, folder, points) for folder in folders]):
            yield done.result()
    except BrokenProcessPool as error:
        raise ValueError("a process of the check died, perhaps for lack of memory: use fewer --workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Readies a worker: one thread, deaf to Ctrl-C, which its parent handles, and gone when that is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)


def _of_the_set(path: Path, clips: list[Checked]) -> list[Finding]:
    """Findings of a set beside those of its clips: what a stopped run left, and where the manifest says otherwise."""
    says = "was left by a run that was stopped, unless one is at work: it is no clip"
    found = [Finding(one, "leftover", says) for one in sorted(path.glob(f"{PARTIAL}*"))]
    try:
        manifest = read_manifest(path)
    except ValueError:
        says = "cannot be read as a manifest of clips: --repair makes it anew"
        return [*found, Finding(path / MANIFEST, "manifest", says)]
    if manifest is None:
        return found
    return found + _unlisted(path / MANIFEST, manifest, clips) + _changed(path / MANIFEST, manifest, clips)


def _unlisted(file: Path, manifest: dict, clips: list[Checked]) -> list[Finding]:
    """Findings for clips that the manifest lacks, or lists though they are absent, and for a wrong total."""
    listed, there = [entry["name"] for entry in manifest["clips"]], [clip.folder.name for clip in clips]
    found = [Finding(file, "manifest", f"does not list {name}, which is there") for name in there if name not in listed]
    found += [Finding(file, "manifest", f"lists {name}, which is not there") for name in listed if name not in there]
    twice = sorted({name for name in listed if listed.count(name) > 1})
    found += [Finding(file, "manifest", f"lists {name} more than once") for name in twice]
    counts = {"clips": len(listed)}
    counts |= {key: sum(entry[key] for entry in manifest["clips"]) for key in ("frames", "points")}
    if manifest.get("counts", counts) != counts:
        found.append(Finding(file, "manifest", f"says counts {manifest['counts']}, its clips add up to {counts}"))
    return found


def _changed(file: Path, manifest: dict, clips: list[Checked]) -> list[Finding]:
    """Findings for clips in which nothing is wrong, but that are not those which the manifest describes."""
    entries, found = {entry["name"]: entry for entry in manifest["clips"]}, []
    for clip in clips:
        entry = entries.get(clip.folder.name)
        if clip.findings or entry is None or entry == clip.entry:
            continue
        unlike = [key for key in ("frames", "points", "size", "sha256") if entry[key] != clip.entry[key]]
        what = ", ".join(f"{key} is {clip.entry[key]}, not {entry[key]}" for key in unlike if key != "sha256")
        says = f"is not the clip that {file.name} describes ({what or 'its files have another sha256'}): "
        says += f"copy it again, or, if it was changed on purpose, take its entry out of {file.name} and use --repair"
        found += [Finding(clip.folder, "changed", says, clip.folder)] if unlike else []
    return found
