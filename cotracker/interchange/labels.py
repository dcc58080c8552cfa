"""Labels of other programs as queries: each point where it is first seen."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cotracker.interchange import BY_SUFFIX, find_format, read_tracks
from cotracker.tracks import Tracks

NOT_LABELS = ("csv", "csv-wide", "npz")  # such a csv is read by queries.read_points


class Labels(NamedTuple):
    """queries: 1 N 3 (t, x, y).  names, individuals: N texts each, or None."""

    queries: Tensor
    names: tuple[str, ...] | None = None
    individuals: tuple[str, ...] | None = None


def holds_labels(path: str | Path) -> bool:
    """Whether a file of points is one of another program, by its name and how a csv begins."""
    path = Path(path)
    if path.suffix != ".csv":
        return path.suffix == ".json" or BY_SUFFIX.get(path.suffix, "npz") not in NOT_LABELS
    return path.is_file() and find_format(path) not in NOT_LABELS


def read_labels(path: str | Path, frames: int, first: int = 0) -> Labels:
    """The queries of a file of labels: each point in the first frame where it is seen.

    frames, first: of the video, and the number of its first, from which queries count.
    ValueError, one sentence naming the file: it cannot be read, no point in it is seen anywhere, or
    one is seen first in a frame that the video does not have.
    """
    labels = first_seen(read_tracks(path))
    if not labels.queries.shape[1]:
        raise ValueError(f"{path} holds no point that is seen: label one in a frame at least")
    numbers = labels.queries[..., 0]
    for late in (int(numbers.min()), int(numbers.max())):
        if not first <= late < first + frames:
            raise ValueError(
                f"{path} labels frame {late}, but the video has frames {first} to "
                f"{first + frames - 1}"
            )
    return labels._replace(queries=labels.queries - labels.queries.new_tensor([first, 0, 0]))


def first_seen(tracks: Tracks) -> Labels:
    """The Labels of one clip, without the points that are seen in no frame."""
    seen = tracks.visible[0]
    kept = seen.any(dim=0).nonzero()[:, 0]
    frame = seen.int().argmax(dim=0)[kept] if len(seen) else kept
    xy = tracks.xy[0, frame, kept]
    queries = torch.cat([frame[:, None].to(xy.dtype), xy], dim=-1)[None]
    names, individuals = (
        None if texts is None else tuple(texts[n] for n in kept.tolist())
        for texts in (tracks.names, tracks.individuals)
    )
    return Labels(queries, names, individuals)
