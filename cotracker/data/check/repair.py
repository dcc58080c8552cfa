"""Puts right what `check` found where that is safe. Nothing is deleted: originals stay as .bak, or go to .broken/."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cotracker.data.check import Report
from cotracker.data.check.clip import Checked, Finding, check_clip, judge_clip, look_at_frames
from cotracker.data.kubric.layout import PARTIAL, read_tracks
from cotracker.data.kubric.manifest import LAYOUT, claimed, read_manifest, write_manifest
from cotracker.data.kubric.manifest import NAME as MANIFEST
from cotracker.data.pickles import load_npy_dict

BROKEN = ".broken"  # hidden, as every folder that is not is a clip to the readers
LEFT = {"points", "changed"}  # kinds that are no damage: named, and left to the user


@dataclass(frozen=True)
class Repaired:
    """What was done, one sentence each, and the findings that remain."""

    done: tuple[str, ...]
    remaining: tuple[Finding, ...]


def repair(report: Report, points: int = 256) -> Repaired:
    """Repairs what the Report names, `points` as in `check`; in each set:

    Inverted visibility is turned round, and tracks longer than frames that follow them are cut, the original beside
    it as NAME.npy.bak.  Other damaged clips, and left-overs of stopped runs, are moved to SET/.broken/.  The manifest
    is made anew from the clips that stay; one that cannot be read is kept as manifest.json.bak. Benchmarks stay as
    they are.
    ValueError where another process is writing into a set; OSError where the disk refuses.
    """
    done, remaining = [], []
    for path in report.sets:
        with claimed(path):
            mine = [finding for finding in report.findings if finding.file.is_relative_to(path)]
            for finding in mine:
                if finding.kind == "leftover":
                    done.append(_moved_away(finding.file))
            kept = []
            for clip in (clip for clip in report.clips if clip.folder.parent == path):
                clip = _repaired(clip, points, done) if _damaged(clip) else clip
                kept += [clip] if clip else []
            remaining += [finding for clip in kept for finding in clip.findings]
            changed = [finding for finding in mine if finding.kind == "changed"]
            remaining += changed
            done += _manifest_anew(path, kept, {finding.file.name for finding in changed})
    remaining += [finding for benchmark in report.benchmarks for finding in benchmark.findings]
    return Repaired(tuple(done), tuple(remaining))


def _damaged(clip: Checked) -> bool:
    return any(finding.kind not in LEFT for finding in clip.findings)


def _repaired(clip: Checked, points: int, done: list[str]) -> Checked | None:
    """The clip after its repair, told in `done`; None where it was moved away."""
    kinds, file = (
        {finding.kind for finding in clip.findings},
        clip.folder / f"{clip.folder.name}.npy",
    )
    if kinds == {"visibility"} and _right_when_turned(clip.folder):
        held = load_npy_dict(file)
        _replace(file, held | {"visibility": ~np.asarray(held["visibility"]).astype(bool)})
        done.append(f"{file}: visibility turned round, the original is beside it as .bak")
    elif kinds == {"count"} and (frames := _frames_followed(clip.folder)):
        held = load_npy_dict(file)
        cut = {
            key: held[key][:, :frames] for key in ("coords", "visibility", "valid") if key in held
        }
        _replace(file, held | cut)
        done.append(f"{file}: tracks cut to the {frames} frames, the original is beside it as .bak")
    else:
        done.append(_moved_away(clip.folder))
        return None
    return check_clip(clip.folder, points)


def _right_when_turned(folder: Path) -> bool:
    """Whether the image has nothing against the tracks once visible and hidden change places."""
    tracks, visible, valid = read_tracks(folder)
    verdict = judge_clip(look_at_frames(folder, len(tracks)), (tracks, ~visible, valid))
    return verdict.kind is None and verdict.followed is not None


def _frames_followed(folder: Path) -> int:
    """How many frames there are, where they are fewer than the tracks' and their first are surely these; or else 0.

    0 also where there are by-products, which would have to be cut as well.
    """
    if {path.name for path in folder.iterdir()} != {"frames", f"{folder.name}.npy"}:
        return 0
    truth, pictures = read_tracks(folder), look_at_frames(folder, None)
    if pictures.findings or not pictures.gapless or pictures.count >= len(truth[0]):
        return 0
    verdict = judge_clip(pictures, truth)
    return pictures.count if verdict.kind is None and verdict.followed is not None else 0


def _replace(file: Path, held: dict) -> None:
    """Writes the dictionary in the place of a file, whole or not at all, after a copy of it as .bak."""
    shutil.copy2(file, _free(file.with_name(f"{file.name}.bak")))
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=PARTIAL, delete=False) as opened:
        try:
            np.save(opened, np.array(held, dtype=object), allow_pickle=True)
            opened.close()
            shutil.copymode(file, opened.name)
            os.replace(opened.name, file)
        except BaseException:
            os.unlink(opened.name)
            raise


def _moved_away(path: Path) -> str:
    """Says where a file or folder of a set was moved to."""
    away = path.parent / BROKEN
    away.mkdir(exist_ok=True)
    to = _free(away / path.name)
    os.rename(path, to)
    return f"{path}: moved to {to}"


def _free(path: Path) -> Path:
    """The path, or the first of path.2, path.3 and so on that is not taken."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def _manifest_anew(path: Path, clips: list[Checked], changed: set[str]) -> list[str]:
    """Writes the manifest of the clips if it says otherwise, and says so; those `changed` keep the entry they have."""
    done, file = [], path / MANIFEST
    try:
        there = read_manifest(path)
    except ValueError:
        there, kept = None, _free(path / f"{MANIFEST}.bak")
        os.rename(file, kept)
        done.append(f"{file}: moved to {kept}")
    before = {entry["name"]: entry for entry in there["clips"]} if there else {}
    entries = [before[c.folder.name] if c.folder.name in changed else c.entry for c in clips]
    new = (there or {"layout": LAYOUT, "commits": [], "generator": None}) | {"clips": entries}
    old = file.read_bytes() if there else b""
    write_manifest(path, new)
    return (
        done
        if file.read_bytes() == old
        else [*done, f"{file}: written anew, with {len(entries)} clips"]
    )
