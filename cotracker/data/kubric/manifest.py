"""manifest.json of a folder of clips: what generated them, and an entry for each whole clip."""

import json
import shutil
from pathlib import Path

from cotracker.checks import fits
from cotracker.data.kubric.layout import PARTIAL, clip_names, describe_clip
from cotracker.files import LOCK, parse_json, write_text
from cotracker.files import PARTIAL as PARTIAL_FILE

LAYOUT = 1  # the version of the layout on disk
MANIFEST = "manifest.json"
TEACHER = {"name": str, "hash": str, "licence": (str, type(None))}  # of a tracker that labelled
ENTRY = {"name": str, "frames": int, "points": int, "size": list, "sha256": str}
SHAPE = {"commits": list, "clips": [ENTRY], "config?": dict, "teacher?": TEACHER}


def manifest_header(
    generator: str, config: dict, seed: int, version: str, commit: str | None
) -> dict:
    """The manifest, without clips yet, of what `generator` makes from `config` and `seed`.

    version, commit: of this project. A folder is refused to another header except for the commit;
    each commit is noted.
    """
    header = {
        "layout": LAYOUT,
        "version": version,
        "commits": [commit],
        "generator": generator,
        "config": config,
        "seed": seed,
    }
    return json.loads(json.dumps(header))  # as it will be read back: tuples are lists


def update_manifest(root: str | Path, header: dict) -> dict:
    """The manifest of all whole clips below a locked root, written there.

    What a killed run left unfinished is removed. Clips that the manifest on disk lacks are
    described from their files; entries without a clip are dropped.
    header: the `manifest_header` of what is to be written there.
    ValueError, one sentence: the folder holds something else, clips of another header, or a damaged
    clip.
    """
    root = Path(root)
    manifest = read_manifest(root)
    leftovers = find_leftovers(root)
    names = clip_names(root)
    if manifest is None:
        _check_empty(root, leftovers)
        manifest = header | {"clips": []}
    if manifest["clips"] or names:
        _check_header(root, manifest, header)
    for leftover in leftovers:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    commits = list(dict.fromkeys([*manifest["commits"], *header["commits"]]))
    entries = {entry["name"]: entry for entry in manifest["clips"]}
    clips = [entries.get(name) or describe_clip(root / name) for name in names]
    manifest = header | {"commits": commits, "clips": clips}
    write_manifest(root, manifest)
    return manifest


def read_manifest(root: str | Path) -> dict | None:
    """The manifest of a folder, or None without one; ValueError if it cannot be read as one."""
    path = Path(root) / MANIFEST
    try:
        manifest = parse_json(path.read_bytes())
        assert fits(manifest, SHAPE)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AssertionError) as error:
        raise ValueError(
            f"{path} is no manifest of clips: move it away or choose another folder"
        ) from error
    return manifest


def write_manifest(root: str | Path, manifest: dict) -> None:
    """Writes root/manifest.json atomically: clips in order of their names, and their totals."""
    clips = sorted(manifest["clips"], key=lambda entry: entry["name"])
    rest = {key: value for key, value in manifest.items() if key not in ("counts", "clips")}
    whole = rest | {"counts": count_clips(clips), "clips": clips}
    write_text(Path(root) / MANIFEST, json.dumps(whole, indent=1))


def count_clips(entries: list[dict]) -> dict[str, int]:
    """The totals of a manifest's entries."""
    return {
        "clips": len(entries),
        "frames": sum(entry["frames"] for entry in entries),
        "points": sum(entry["points"] for entry in entries),
    }


def find_leftovers(root: str | Path) -> list[Path]:
    """What a stopped run left unfinished in a folder: hidden clips, and manifests being written."""
    root = Path(root)
    return sorted([*root.glob(f"{PARTIAL}*"), *root.glob(f"{MANIFEST}*{PARTIAL_FILE}")])


def _check_empty(root: Path, leftovers: list[Path]) -> None:
    ours = [*leftovers, root / LOCK]
    other = next((path for path in root.iterdir() if path not in ours), None)
    if other is not None:
        raise ValueError(
            f"{root} holds {other.name} but no {MANIFEST}, so it was not made here: "
            "choose another folder"
        )


def _check_header(root: Path, manifest: dict, header: dict) -> None:
    there = _flatten_header(manifest)
    here = _flatten_header(header)
    unlike = [key for key in here | there if there.get(key) != here.get(key)]
    if unlike:
        differences = ", ".join(
            f"{key.removeprefix('config.')} is {there.get(key)} there, {here.get(key)} here"
            for key in unlike[:5]
        )
        raise ValueError(
            f"{root} holds clips made otherwise ({differences}): choose another folder"
        )


def _flatten_header(manifest: dict) -> dict:
    return _flatten({k: v for k, v in manifest.items() if k not in ("commits", "counts", "clips")})


def _flatten(values: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
