"""JSON: all of Tracks but its padding, by the schema of docs/tracks.schema.json."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cotracker.files import parse_json, write_text
from cotracker.interchange.points import make_tracks, one_clip, point_names, shortest
from cotracker.tracks import Tracks

FORMAT, VERSION = "cotracker tracks", 1


def write(path: Path, tracks: Tracks) -> Path:
    """The path of the JSON file of one clip; a place that nobody knows is null."""
    tracks = one_clip(tracks)
    point_names(tracks)
    value = {
        "format": FORMAT,
        "version": VERSION,
        "frames": tracks.xy.shape[1],
        "size": None if tracks.size is None else list(tracks.size),
        "fps": tracks.fps,
        "seconds": None if tracks.seconds is None else tracks.seconds.tolist(),
        "points": [_point(tracks, n) for n in range(tracks.xy.shape[2])],
    }
    return write_text(path, json.dumps(value, allow_nan=False) + "\n")


def read(path: Path) -> Tracks:
    """The Tracks of a JSON file that `write` made; ValueError, one sentence, for another."""
    return from_value(load(path), path)


def load(path: Path) -> dict:
    """The dictionary of a JSON file; ValueError, one sentence, where there is none."""
    try:
        value = parse_json(Path(path).read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: give a JSON file") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}): write it again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} should hold a JSON object: write it again")
    return value


def from_value(value: dict, path: Path) -> Tracks:
    """The Tracks of a loaded JSON file."""
    if (value.get("format"), value.get("version")) != (FORMAT, VERSION):
        raise ValueError(f"{path} is not JSON of {FORMAT}, version {VERSION}: write it again")
    try:
        return _from_points(value, int(value["frames"]), value["points"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{path} does not keep to docs/tracks.schema.json ({error})") from error


def _point(tracks: Tracks, n: int) -> dict:
    """One point's fields; those that the tracks do not have are left out."""
    point = {
        "x": shortest(tracks.xy[0, :, n, 0]),
        "y": shortest(tracks.xy[0, :, n, 1]),
        "visible": tracks.visible[0, :, n].tolist(),
        "visibility": shortest(tracks.visibility[0, :, n]),
    }
    if tracks.confidence is not None:
        point["confidence"] = shortest(tracks.confidence[0, :, n])
    if tracks.names is not None:
        point["name"] = tracks.names[n]
    if tracks.individuals is not None:
        point["individual"] = tracks.individuals[n]
    if tracks.ids is not None:
        point["id"] = int(tracks.ids[0, n])
    if tracks.queries is not None:
        point["query"] = shortest(tracks.queries[0, n])
    return point


def _from_points(value: dict, frames: int, points: list[dict]) -> Tracks:
    def column(name: str, kind: type = np.float32, width: int = frames) -> np.ndarray | None:
        """T N of one field of each point, or None where no point has it."""
        if not points or name not in points[0]:
            return None if points else np.zeros((width, 0), kind)
        rows = [[np.nan if one is None else one for one in point[name]] for point in points]
        return np.array(rows, kind).reshape(len(points), width).T

    def labels(name: str) -> list | None:
        return [point[name] for point in points] if points and name in points[0] else None

    xy = np.stack([column("x"), column("y")], axis=-1)
    size, confidence = value.get("size"), column("confidence") if points else None
    tracks = make_tracks(
        xy,
        column("visible", bool),
        column("visibility"),
        confidence,
        labels("name"),
        labels("individual"),
        None if size is None else (int(size[0]), int(size[1])),
        value.get("fps"),
    )
    return _complete(tracks, value, labels("id"), column("query", width=3) if points else None)


def _complete(tracks: Tracks, value: dict, ids: list | None, queries: np.ndarray | None) -> Tracks:
    """The tracks with their ids, queries and seconds."""
    if ids is not None:
        tracks = replace(tracks, ids=torch.tensor([ids], dtype=torch.int64))
    if queries is not None:
        tracks = replace(tracks, queries=torch.from_numpy(queries.T.copy())[None])
    if value.get("seconds") is not None:
        seconds = torch.tensor(value["seconds"], dtype=torch.float64)
        tracks = replace(tracks, seconds=seconds.reshape(tracks.xy.shape[1]))
    return tracks
