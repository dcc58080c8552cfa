"""SLEAP: .slp files, by sleap-io.

x and y are pixels whose centre is an integer (format 1.1 of SLEAP on), frames count from 0. An
individual is a track of instances, a point a node of its skeleton. An instance keeps hidden points
in their place, marked as not visible; the score of a point is its visibility.
"""

from pathlib import Path

import numpy as np

from cotracker.interchange.hdf5 import check_hdf5
from cotracker.interchange.points import (
    empty_places,
    make_tracks,
    need,
    number_repeated,
    one_clip,
    point_individuals,
    point_names,
    write_through,
)
from cotracker.tracks import Tracks

ALONE = "instance"  # the owner of points without a track
VIDEO = "video.mp4"  # the file that labels name where nobody says which


def write(path: Path, tracks: Tracks, video: str = VIDEO) -> Path:
    """The path of the .slp file, whose labels name the file `video`."""
    sio = _import()
    tracks = one_clip(tracks)
    animals = _animals(sio, tracks)
    size = tracks.size or (1, 1)
    shape = (tracks.xy.shape[1], *size, 3)
    file = sio.Video(video, backend_metadata={"shape": shape}, open_backend=False)
    frames = [
        sio.LabeledFrame(file, t, [_instance(sio, tracks, t, *one) for one in animals])
        for t in range(tracks.xy.shape[1])
    ]
    labels = sio.Labels(frames, videos=[file], skeletons=[one[0] for one in animals])
    labels.provenance["fps"] = tracks.fps
    return write_through(path, lambda name: sio.save_slp(labels, name, verbose=False))


def read(path: Path) -> Tracks:
    """The Tracks of a .slp file of one video; visible where SLEAP says so.

    Points are those of each track. Instances without a track are one animal, or, where the one
    frame that is labelled has several, instance1, instance2, …
    """
    sio = _import()
    check_hdf5(path)
    try:
        labels = sio.load_slp(str(path), open_videos=False)
    except Exception as error:  # what HDF5, JSON and sleap-io raise for a wrong file
        raise ValueError(f"{path} cannot be read as SLEAP's .slp file ({error})") from error
    if len(labels.videos) > 1:
        raise ValueError(f"{path} labels {len(labels.videos)} videos: save each to a file alone")
    rows = _rows(labels, path)
    points: dict[tuple[str, str], int] = {}
    for _, _, owner, one in sorted(rows, key=lambda row: row[0]):
        for node in one.skeleton.node_names:
            points.setdefault((owner, node), len(points))
    length = max((one.frame_idx for one in labels.labeled_frames), default=-1) + 1
    shape = labels.videos[0].backend_metadata.get("shape") if labels.videos else None
    length = max(length, shape[0] if shape and shape[0] else 0)
    xy = empty_places(length, len(points), path)
    visible, scores = np.zeros(xy.shape[:2], bool), np.full(xy.shape[:2], np.nan)
    for _, frame, owner, one in rows:
        where = [points[owner, node] for node in one.skeleton.node_names]
        xy[frame, where] = one.numpy(invisible_as_nan=False)
        visible[frame, where] = one.points["visible"]
        if "score" in one.points.dtype.names:
            scores[frame, where] = one.points["score"]
    several = not {owner for owner, _ in points} <= {ALONE, ""}
    return make_tracks(
        xy,
        visible,
        None if np.isnan(scores).all() else scores,
        names=[node for _, node in points],
        individuals=[owner for owner, _ in points] if several else None,
        size=(int(shape[1]), int(shape[2])) if shape and shape[1:3] != [1, 1] else None,
        fps=labels.provenance.get("fps"),
    )


def _import():
    try:
        import sleap_io
    except ImportError as error:
        raise need("sleap", "sleap-io", error) from error
    return sleap_io


def _animals(sio, tracks: Tracks) -> list[tuple]:
    """(skeleton, track, points) of each individual; equal lists of nodes share a skeleton."""
    names, owners = point_names(tracks), point_individuals(tracks)
    groups: dict[str, list[int]] = {}
    for n in range(len(names)):
        groups.setdefault("" if owners is None else owners[n], []).append(n)
    skeletons: dict[tuple[str, ...], object] = {}
    animals = []
    for owner, points in groups.items():
        nodes = tuple(names[n] for n in points)
        if nodes not in skeletons:
            skeletons[nodes] = sio.Skeleton(list(nodes), name=f"skeleton{len(skeletons)}")
        track = None if owners is None else sio.Track(owner)
        animals.append((skeletons[nodes], track, points))
    return animals


def _instance(sio, tracks: Tracks, frame: int, skeleton, track, points: list[int]):
    """One individual in one frame; its score is the mean visibility."""
    xy = tracks.xy[0, frame, points].numpy()
    scores = tracks.visibility[0, frame, points].numpy()
    instance = sio.PredictedInstance.from_numpy(
        xy, skeleton, point_scores=scores, score=float(scores.mean()), track=track
    )
    instance.points["visible"] = tracks.visible[0, frame, points].numpy()
    return instance


def _rows(labels, path: Path) -> list[tuple]:
    """(rank, frame, owner, instance) of all instances, but predictions that a person corrected.

    rank: of the track, in the order that the labels have.
    """
    found = [
        (frame.frame_idx, one)
        for frame in labels.labeled_frames
        for one in (*frame.user_instances, *frame.unused_predictions)
    ]
    pairs = [(t, ALONE if one.track is None else one.track.name) for t, one in found]
    order = {track.name: k for k, track in enumerate(labels.tracks)}
    owners = number_repeated(pairs, path)
    return [(order.get(owner, -1), t, owner, one) for (t, one), owner in zip(found, owners)]
