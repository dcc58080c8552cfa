"""A session in one npz file: arrays, and JSON beside them; nothing in it is ever executed."""

import json
from pathlib import Path

import numpy as np
import torch

from cotracker.files import parse_json, replace_file
from cotracker.stored import read_npz
from cotracker.tracks import PER_FRAME, Tracks

FORMAT = 1


def write_session(path: str | Path, record, size: tuple[int, int], direction: str) -> Path:
    """The path of the file just written, atomically: a Record, and of what video it is."""
    if Path(path).suffix != ".npz":
        raise ValueError(f"{path} must end in .npz, the format of a session")
    points = [
        {
            "id": one,
            "anchors": [[t, *xy] for t, xy in point.anchors.items()],
            "name": point.name,
            "group": point.group,
            "retired": point.retired,
        }
        for one, point in record.points.items()
    ]
    told = {
        "format": FORMAT,
        "size": list(size),
        "direction": direction,
        "next_id": record.next_id,
        "unfinished": sorted(record.unfinished),
        "points": points,
    }
    arrays = {}
    if record.tracks is not None:
        fields = {name: getattr(record.tracks, name) for name in PER_FRAME}
        arrays = {name: v.numpy() for name, v in fields.items() if v is not None}
    text = np.frombuffer(json.dumps(told, allow_nan=False).encode(), np.uint8)
    with replace_file(path) as file:
        np.savez_compressed(file, session=text, **arrays)
    return Path(path)


def read_session(path: str | Path) -> tuple[dict, Tracks | None, tuple[int, int], str]:
    """Points, next_id and unfinished ids; the tracks; the video's (H, W); the direction.

    A point is (anchors, name, group, retired), by id.  ValueError, one sentence naming the file.
    """
    arrays = _read_arrays(path)
    try:
        told = parse_json(arrays["session"].tobytes())
        if told["format"] != FORMAT:
            raise ValueError(f"it has format {told['format']}")
        height, width = map(int, told["size"])
        values = {
            "points": {int(one["id"]): _read_point(one) for one in told["points"]},
            "unfinished": list(map(int, told["unfinished"])),
            "next_id": int(told["next_id"]),
        }
        tracks = _read_tracks(arrays, len(values["points"]))
        return values, tracks, (height, width), str(told["direction"])
    except (KeyError, ValueError, TypeError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not a session that this version reads: write it again by session.save"
        ) from error


def _read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    try:
        return read_npz(path)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: give a file of session.save") from None
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a session ({error}): save it again") from error


def _read_point(one: dict) -> tuple[dict[int, tuple[float, float]], str, int, int | None]:
    anchors = {int(t): (float(x), float(y)) for t, x, y in one["anchors"]}
    if not anchors:
        raise ValueError("a point has no anchor")
    retired = one["retired"]
    return anchors, str(one["name"]), int(one["group"]), None if retired is None else int(retired)


def _read_tracks(arrays: dict[str, np.ndarray], points: int) -> Tracks | None:
    if "xy" not in arrays:
        if points:
            raise ValueError("there are points without tracks")
        return None
    values = {name: torch.from_numpy(arrays[name]) for name in PER_FRAME if name in arrays}
    tracks = Tracks(**values)
    shape = (1, tracks.xy.shape[1], points)
    if tracks.xy.shape != (*shape, 2) or tracks.visible.dtype != torch.bool:
        raise ValueError("wrong shapes")
    if any(values[name].shape != shape for name in values if name != "xy"):
        raise ValueError("wrong shapes")
    return tracks
