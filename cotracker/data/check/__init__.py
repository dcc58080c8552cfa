"""The data check: faults of training clips and benchmarks, each a Finding that names its file.

A root holds clips, and so is a set, or it holds several sets, or benchmarks. Nothing is changed;
check/repair.py repairs what can be repaired.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cotracker.data.check.clip import CheckedClip, Finding, check_clip, holds_clip
from cotracker.data.check.folders import (
    CheckedBenchmark,
    check_video,
    collect_benchmark,
    find_benchmarks,
    list_videos,
)
from cotracker.data.kubric.layout import clip_names
from cotracker.data.kubric.manifest import MANIFEST, count_clips, find_leftovers, read_manifest
from cotracker.data.workers import map_in_processes


@dataclass(frozen=True)
class Report:
    """What was found below a root: sets, their clips in order, benchmarks, and all findings."""

    sets: tuple[Path, ...]
    clips: tuple[CheckedClip, ...]
    findings: tuple[Finding, ...]
    benchmarks: tuple[CheckedBenchmark, ...] = ()


def check(
    root: str | Path,
    points: int = 256,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """The Report of all clips and benchmarks below `root`.

    points: a clip with fewer of them visible in its first or middle frame, from which training
    takes them, is a finding.
    workers: processes; 0 for this one.
    progress: called with the total after each clip or video.
    ValueError, one sentence: the folder is missing, holds neither clip nor benchmark, or a worker
    died.
    """
    root = Path(root)
    locations = find_benchmarks(root) if root.is_dir() else []
    sets = _list_sets(root) if locations else find_sets(root)
    folders = [path / name for path in sets for name in clip_names(path)]
    items = [item for location in locations for item in list_videos(location)]

    def run(function: Callable, of: list) -> Iterator:
        with map_in_processes(function, of, workers if len(of) > 1 else 0) as results:
            for result in results:
                if progress is not None:
                    progress(len(folders) + len(items))
                yield result

    order = {folder: number for number, folder in enumerate(folders)}
    clips = list(run(partial(check_clip, points=points), folders))
    clips.sort(key=lambda clip: order[clip.folder])
    videos = list(run(check_video, items))
    benchmarks = [
        collect_benchmark(location, [video for video in videos if video.location == location])
        for location in locations
    ]
    findings = [finding for clip in clips for finding in clip.findings]
    for path in sets:
        findings += _check_set(path, [clip for clip in clips if clip.folder.parent == path])
    findings += [finding for benchmark in benchmarks for finding in benchmark.findings]
    return Report(tuple(sets), tuple(clips), tuple(findings), tuple(benchmarks))


def find_sets(root: Path) -> list[Path]:
    """The folder itself if it holds clips or a manifest, or else the folders in it that do.

    ValueError: there are none.
    """
    if not root.is_dir():
        raise ValueError(
            f"the folder {root} does not exist: give the folder that holds the clips' folders"
        )
    sets = _list_sets(root)
    if not sets:
        raise ValueError(
            f"{root} holds no clip and no benchmark: give the folder that holds the clips' folders"
        )
    return sets


def _list_sets(root: Path) -> list[Path]:
    if _is_set(root):
        return [root]
    return [root / name for name in clip_names(root) if _is_set(root / name)]


def _is_set(folder: Path) -> bool:
    if (folder / MANIFEST).exists():
        return True
    return any(holds_clip(folder / name) for name in clip_names(folder))


def _check_set(path: Path, clips: list[CheckedClip]) -> list[Finding]:
    """Findings of a set beside those of its clips: left-overs, and where the manifest differs."""
    message = "was left by a run that was stopped, unless one is at work: it is no clip"
    findings = [Finding(file, "leftover", message) for file in find_leftovers(path)]
    file = path / MANIFEST
    try:
        manifest = read_manifest(path)
    except ValueError:
        message = "cannot be read as a manifest of clips: --repair writes a new one"
        return [*findings, Finding(file, "manifest", message)]
    if manifest is None:
        return findings
    return findings + _check_entries(file, manifest, clips) + _check_changes(file, manifest, clips)


def _check_entries(file: Path, manifest: dict, clips: list[CheckedClip]) -> list[Finding]:
    """Findings for clips that the manifest lacks, lists in vain or twice, and for wrong totals."""
    listed = [entry["name"] for entry in manifest["clips"]]
    there = [clip.folder.name for clip in clips]
    twice = sorted({name for name in listed if listed.count(name) > 1})
    messages = [f"does not list {name}, which is there" for name in there if name not in listed]
    messages += [f"lists {name}, which is not there" for name in listed if name not in there]
    messages += [f"lists {name} more than once" for name in twice]
    counts = count_clips(manifest["clips"])
    if manifest.get("counts", counts) != counts:
        messages.append(f"has counts {manifest['counts']}, its clips add up to {counts}")
    return [Finding(file, "manifest", message) for message in messages]


def _check_changes(file: Path, manifest: dict, clips: list[CheckedClip]) -> list[Finding]:
    """Findings for faultless clips that are not those which the manifest describes."""
    entries = {entry["name"]: entry for entry in manifest["clips"]}
    findings = []
    for clip in clips:
        entry = entries.get(clip.folder.name)
        if clip.findings or entry is None:
            continue
        unlike = [key for key in clip.entry if entry[key] != clip.entry[key]]
        differences = [
            f"{key} is {clip.entry[key]}, not {entry[key]}" for key in unlike if key != "sha256"
        ]
        what = ", ".join(differences) or "its files have another sha256"
        message = (
            f"is not the clip that {file.name} describes ({what}): copy it again, or, if it was "
            f"changed on purpose, take its entry out of {file.name} and use --repair"
        )
        if unlike:
            findings.append(Finding(clip.folder, "changed", message, clip.folder))
    return findings
