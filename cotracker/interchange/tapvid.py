"""TAP-Vid: a pickle of one record, read without running any code of it.

points are N T 2 raster coordinates over the width and height, so a pixel x is (x + 1/2) / W; frames
count from 0; occluded is the opposite of visible. TAP-Vid's own records hold the video too: `video`
puts it in. Beside its keys ours has size, and fps, names, individuals and ids where they are known.
"""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cotracker.data.pickles import open_pickle
from cotracker.data.pickles.arrays import StoredArray, load_value
from cotracker.files import write_bytes
from cotracker.interchange.points import make_tracks, one_clip
from cotracker.tracks import Tracks

KEYS = {"points", "occluded"}


def write(path: Path, tracks: Tracks, video: Tensor | None = None) -> Path:
    """The path of the pickle of {name of the file: record}.

    video: T 3 H W uint8.  ValueError where neither it nor the tracks know the frames' size.
    """
    tracks = one_clip(tracks)
    size = tracks.size if video is None else tuple(video.shape[-2:])
    if size is None:
        raise ValueError(
            f"{path}: TAP-Vid divides by the frames' size, which these tracks lack: "
            "export the tracker's own tracks.npz"
        )
    xy = tracks.xy[0].double().numpy().swapaxes(0, 1)
    record = {
        "points": ((xy + 0.5) / np.array(size[::-1])).astype(np.float32),
        "occluded": ~tracks.visible[0].numpy().T,
        "size": np.array(size),
    }
    if video is not None:
        record["video"] = np.ascontiguousarray(video.permute(0, 2, 3, 1).numpy())
    for name in ("names", "individuals"):
        if getattr(tracks, name) is not None:
            record[name] = list(getattr(tracks, name))
    if tracks.fps is not None:
        record["fps"] = tracks.fps
    if tracks.ids is not None:
        record["ids"] = tracks.ids[0].numpy()
    write_bytes(path, pickle.dumps({Path(path).stem: record}, protocol=4))
    return path


def read(path: Path) -> Tracks:
    """The Tracks of a pickle of one video, in pixels of its frames."""
    records, _ = open_pickle(path)
    found = list(records.values()) if isinstance(records, dict) else records
    if len(found) != 1:
        raise ValueError(f"{path} holds {len(found)} videos: give a file of one")
    record = found[0]
    if not isinstance(record, dict) or not KEYS <= record.keys():
        raise ValueError(f"{path} holds no record of TAP-Vid: it needs points and occluded")
    points = np.asarray(load_value(record["points"]), np.float64)
    occluded = np.asarray(load_value(record["occluded"]))
    if points.ndim != 3 or points.shape[2] != 2 or occluded.shape != points.shape[:2]:
        raise ValueError(f"{path} must have points N T 2 and occluded N T")
    size = _size(path, record)
    xy = (points * np.array(size[::-1]) - 0.5).swapaxes(0, 1)
    tracks = make_tracks(
        xy,
        ~occluded.astype(bool).T,
        names=record.get("names"),
        individuals=record.get("individuals"),
        size=size,
        fps=record.get("fps"),
    )
    if "ids" not in record:
        return tracks
    return replace(tracks, ids=torch.from_numpy(load_value(record["ids"]).astype(np.int64))[None])


def _size(path: Path, record: dict) -> tuple[int, int]:
    """(H, W) of the frames, from the video where it is there."""
    video = record.get("video")
    if isinstance(video, StoredArray) and len(video.shape) == 4:
        return int(video.shape[1]), int(video.shape[2])
    if "size" not in record:
        raise ValueError(
            f"{path} holds no array of frames, which says what its points are divided by"
        )
    height, width = np.asarray(load_value(record["size"])).tolist()
    return height, width
