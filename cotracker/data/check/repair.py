"""Repairs what `check` found if that is safe; originals are kept as .bak or moved to .broken."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cotracker.data.check import Report
from cotracker.data.check.clip import CheckedClip, Finding, check_clip, judge_frames, read_frames
from cotracker.data.kubric.layout import read_tracks, tracks_file
from cotracker.data.kubric.manifest import (
    LAYOUT,
    MANIFEST,
    read_manifest,
    write_manifest,
)
from cotracker.data.pickles import load_npy_dict
from cotracker.files import lock_folder, replace_file

BROKEN = ".broken"  # hidden, as readers take every other folder for a clip
NO_DAMAGE = {"points", "changed"}  # kinds that are named and left to the user


@dataclass(frozen=True)
class RepairReport:
    """What was done, one sentence each, and the findings that remain."""

    done: tuple[str, ...]
    remaining: tuple[Finding, ...]


def repair(report: Report, points: int = 256) -> RepairReport:
    """Repairs what the Report names; `points` as in `check`.

    In each set: inverted visibility is inverted again, and tracks longer than the frames that
    follow them are cut, with the original beside it as NAME.npy.bak. Other damaged clips, and
    left-overs of stopped runs, are moved to SET/.broken/. The manifest is written anew from the
    clips that stay; one that cannot be read is kept as manifest.json.bak. Benchmarks stay as they
    are.
    ValueError: another process is writing into a set.  OSError: the disk refuses.
    """
    done = []
    remaining = []
    for path in report.sets:
        with lock_folder(path, wait=0):
            findings = [one for one in report.findings if one.file.is_relative_to(path)]
            done += [_move_away(one.file) for one in findings if one.kind == "leftover"]
            clips = []
            for clip in report.clips:
                if clip.folder.parent == path:
                    repaired, sentences = _repair_clip(clip, points)
                    done += sentences
                    clips += [repaired] if repaired else []
            changed = [one for one in findings if one.kind == "changed"]
            remaining += [finding for clip in clips for finding in clip.findings]
            remaining += changed
            done += _rewrite_manifest(path, clips, {finding.file.name for finding in changed})
    for benchmark in report.benchmarks:
        remaining += benchmark.findings
    return RepairReport(tuple(done), tuple(remaining))


def _repair_clip(clip: CheckedClip, points: int) -> tuple[CheckedClip | None, list[str]]:
    """The clip after its repair, None if it was moved away; and what was done."""
    kinds = {finding.kind for finding in clip.findings}
    if kinds <= NO_DAMAGE:
        return clip, []
    file = tracks_file(clip.folder)
    if kinds == {"visibility"} and _is_right_inverted(clip.folder):
        arrays = load_npy_dict(file)
        arrays["visibility"] = ~np.asarray(arrays["visibility"]).astype(bool)
        what = "visibility inverted again"
    elif kinds == {"count"} and (frames := _count_followed(clip.folder)):
        arrays = load_npy_dict(file)
        for key in {"coords", "visibility", "valid"} & arrays.keys():
            arrays[key] = arrays[key][:, :frames]
        what = f"tracks cut to the {frames} frames"
    else:
        return None, [_move_away(clip.folder)]
    shutil.copy2(file, _free_path(file.with_name(f"{file.name}.bak")))
    with replace_file(file) as opened:
        np.save(opened, np.array(arrays, dtype=object), allow_pickle=True)
    return check_clip(clip.folder, points), [f"{file}: {what}, the original is beside it as .bak"]


def _is_right_inverted(folder: Path) -> bool:
    """Whether the image contradicts nothing once visible and hidden change places."""
    tracks, visible, valid = read_tracks(folder)
    verdict = judge_frames(read_frames(folder, len(tracks)), (tracks, ~visible, valid))
    return verdict.kind is None and verdict.followed is not None


def _count_followed(folder: Path) -> int:
    """The number of frames, if they are the first of the tracks' and follow them; or else 0.

    0 also with by-products, which would have to be cut as well.
    """
    if {path.name for path in folder.iterdir()} != {"frames", f"{folder.name}.npy"}:
        return 0
    truth = read_tracks(folder)
    frames = read_frames(folder, None)
    if frames.findings or not frames.gapless or frames.count >= len(truth[0]):
        return 0
    verdict = judge_frames(frames, truth)
    return frames.count if verdict.kind is None and verdict.followed is not None else 0


def _move_away(path: Path) -> str:
    """The sentence that says where a file or folder of a set was moved to."""
    folder = path.parent / BROKEN
    folder.mkdir(exist_ok=True)
    target = _free_path(folder / path.name)
    os.rename(path, target)
    return f"{path}: moved to {target}"


def _free_path(path: Path) -> Path:
    """The path, or the first of path.2, path.3 and so on that is not taken."""
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def _rewrite_manifest(path: Path, clips: list[CheckedClip], changed: set[str]) -> list[str]:
    """Writes the manifest of the clips, and says so if it differs; `changed` keep their entries."""
    file = path / MANIFEST
    done = []
    manifest = {"layout": LAYOUT, "commits": [], "generator": None, "clips": []}
    try:
        manifest = read_manifest(path) or manifest
    except ValueError:
        kept = _free_path(path / f"{MANIFEST}.bak")
        os.rename(file, kept)
        done.append(f"{file}: moved to {kept}")
    before = {entry["name"]: entry for entry in manifest["clips"]}
    names = [clip.folder.name for clip in clips]
    entries = [before[name] if name in changed else clip.entry for name, clip in zip(names, clips)]
    old = file.read_bytes() if file.exists() else b""
    write_manifest(path, manifest | {"clips": entries})
    if file.read_bytes() != old:
        done.append(f"{file}: written anew, with {len(entries)} clips")
    return done
