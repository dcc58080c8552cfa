"""The doctor of clips in Kubric's layout and of benchmarks: each fault a Finding with its file; nothing is changed.

A root holds clips, and so is a set, or it holds several sets; for benchmarks see
check_benchmark.py. What can be put right, repair.py does.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cotracker.data.check.benchmark import (
    CheckedBenchmark,
    benchmarks_below,
    check_video,
    checked,
    videos_of,
)
from cotracker.data.check.clip import Checked, Finding, check_clip, holds_clip
from cotracker.data.kubric.layout import PARTIAL, clip_names
from cotracker.data.kubric.manifest import NAME as MANIFEST
from cotracker.data.kubric.manifest import read_manifest
from cotracker.data.workers import spread


@dataclass(frozen=True)
class Report:
    """What was found below a root: its sets, their clips in order, its benchmarks, and the findings of all these."""

    sets: tuple[Path, ...]
    clips: tuple[Checked, ...]
    findings: tuple[Finding, ...]
    benchmarks: tuple[CheckedBenchmark, ...] = ()


def check(
    root: str | Path, points: int = 256, workers: int = 0, seen: Callable[[int], None] | None = None
) -> Report:
    """The Report of all clips and benchmarks below `root`; checked by `workers` processes, 0 for this one.

    points: a clip with fewer of them visible in its first or middle frame, from which training takes them, is a
    finding.  seen(total): called after each clip or video.
    ValueError, one sentence: the folder is missing, holds neither clip nor benchmark, or a worker died.
    """
    root = Path(root)
    places = benchmarks_below(root) if root.is_dir() else []
    sets = sets_below(root) if not places or _sets(root) else []
    folders = [path / name for path in sets for name in clip_names(path)]
    items = [item for place in places for item in videos_of(place)]

    def told(work: Callable, of: list) -> Iterator:
        with spread(work, of, workers if len(of) > 1 else 0) as done:
            for one in done:
                if seen is not None:
                    seen(len(folders) + len(items))
                yield one

    by_folder = {clip.folder: clip for clip in told(partial(check_clip, points=points), folders)}
    clips = [by_folder[folder] for folder in folders]
    videos = list(told(check_video, items))
    findings = [finding for clip in clips for finding in clip.findings]
    for path in sets:
        findings += _of_the_set(path, [clip for clip in clips if clip.folder.parent == path])
    benchmarks = [
        checked(place, [video for video in videos if video.place == place]) for place in places
    ]
    findings += [finding for one in benchmarks for finding in one.findings]
    return Report(tuple(sets), tuple(clips), tuple(findings), tuple(benchmarks))


def sets_below(root: Path) -> list[Path]:
    """The folder itself where it holds clips or a manifest, or else the folders in it that do; ValueError: none do."""
    if not root.is_dir():
        raise ValueError(
            f"the folder {root} does not exist: give the folder that holds the clips' folders"
        )
    sets = _sets(root)
    if not sets:
        raise ValueError(
            f"{root} holds no clip and no benchmark: give the folder that holds the clips' folders"
        )
    return sets


def _sets(root: Path) -> list[Path]:
    return (
        [root]
        if _is_set(root)
        else [root / name for name in clip_names(root) if _is_set(root / name)]
    )


def _is_set(folder: Path) -> bool:
    return (folder / MANIFEST).exists() or any(
        holds_clip(folder / name) for name in clip_names(folder)
    )


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
    return (
        found
        + _unlisted(path / MANIFEST, manifest, clips)
        + _changed(path / MANIFEST, manifest, clips)
    )


def _unlisted(file: Path, manifest: dict, clips: list[Checked]) -> list[Finding]:
    """Findings for clips that the manifest lacks, or lists though they are absent, and for a wrong total."""
    listed, there = (
        [entry["name"] for entry in manifest["clips"]],
        [clip.folder.name for clip in clips],
    )
    found = [
        Finding(file, "manifest", f"does not list {name}, which is there")
        for name in there
        if name not in listed
    ]
    found += [
        Finding(file, "manifest", f"lists {name}, which is not there")
        for name in listed
        if name not in there
    ]
    twice = sorted({name for name in listed if listed.count(name) > 1})
    found += [Finding(file, "manifest", f"lists {name} more than once") for name in twice]
    counts = {"clips": len(listed)}
    counts |= {key: sum(entry[key] for entry in manifest["clips"]) for key in ("frames", "points")}
    if manifest.get("counts", counts) != counts:
        found.append(
            Finding(
                file, "manifest", f"says counts {manifest['counts']}, its clips add up to {counts}"
            )
        )
    return found


def _changed(file: Path, manifest: dict, clips: list[Checked]) -> list[Finding]:
    """Findings for clips in which nothing is wrong, but that are not those which the manifest describes."""
    entries, found = {entry["name"]: entry for entry in manifest["clips"]}, []
    for clip in clips:
        entry = entries.get(clip.folder.name)
        if clip.findings or entry is None or entry == clip.entry:
            continue
        unlike = [
            key for key in ("frames", "points", "size", "sha256") if entry[key] != clip.entry[key]
        ]
        what = ", ".join(
            f"{key} is {clip.entry[key]}, not {entry[key]}" for key in unlike if key != "sha256"
        )
        says = f"is not the clip that {file.name} describes ({what or 'its files have another sha256'}): "
        says += f"copy it again, or, if it was changed on purpose, take its entry out of {file.name} and use --repair"
        found += [Finding(clip.folder, "changed", says, clip.folder)] if unlike else []
    return found
