"""What ethology and movement start from: a video and points in, movement's data set out."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cotracker.data.video import open_video
from cotracker.interchange.labels import read_labels
from cotracker.interchange.movement import to_movement
from cotracker.trackers.build import build_tracker


def track_to_movement(
    video: str | Path,
    points: str | Path | Mapping[str, tuple[float, float, float]],
    tracker=None,
):
    """movement's xarray.Dataset of points tracked through a video, in both directions.

    video: a path of a video or of a folder of pictures.
    points: a file of labels (DeepLabCut, SLEAP, COCO, poseinterface), or names with (frame, x, y)
        in pixels, such as {"nose": (0, 120.5, 80)}.
    tracker: None: the checkpoint that ships.
    ValueError, one sentence, where either cannot be read.
    """
    frames = open_video(video)
    if isinstance(points, Mapping):
        queries = [list(point) for point in points.values()]
        names, individuals = tuple(points), None
    else:
        queries, names, individuals = read_labels(points, frames.shape[1])
    tracks = (tracker or build_tracker())(frames, queries)
    return to_movement(replace(tracks, names=names, individuals=individuals))
