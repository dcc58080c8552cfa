"""COLMAP: a database of keypoints and matches, by pycolmap, from which its mapper goes on.

The centre of COLMAP's first pixel is (1/2, 1/2), so 1/2 is added. Images are named by their frame
from 0 on, as frame000000.png; all share one camera. An image has the points that are seen in its
frame. Each is matched with the next image that sees it, and with those 2, 4, 8, … frames on. The
matches are given as raw and as verified ones, since the tracker has made them from the video.
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cotracker.interchange.points import empty_places, make_tracks, need, one_clip, write_through
from cotracker.tracks import Tracks

FOCAL = 1.2  # times the longer side: COLMAP's own guess for a camera that nobody knows


def write(path: Path, tracks: Tracks) -> Path:
    """The path of the database. ValueError where the size of the frames is unknown."""
    colmap = _import()
    tracks = one_clip(tracks)
    if tracks.size is None:
        raise ValueError(
            f"{path}: COLMAP needs the frames' size, which these tracks lack: "
            "export the tracker's own tracks.npz"
        )
    visible = tracks.visible[0].numpy() & np.isfinite(tracks.xy[0].numpy()).all(axis=-1)

    def fill(name: str) -> None:
        Path(name).unlink()  # SQLite makes the file itself
        with colmap.Database.open(name) as database:
            _fill(colmap, database, tracks.xy[0].numpy(), visible, tracks.size)

    return write_through(path, fill)


def read(path: Path) -> Tracks:
    """The Tracks of a database: what matches join is one point; names are not kept.

    A keypoint without a match is a point of its own. A frame's number ends its image's name.
    """
    colmap = _import()
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist: give a database of COLMAP")
    try:
        with colmap.Database.open(str(path)) as database:
            images = {one.image_id: one for one in database.read_all_images()}
            places = {number: database.read_keypoints(number)[:, :2] for number in images}
            cameras = database.read_all_cameras()
            pairs, matches = database.read_all_matches()
            pairs = [colmap.pair_id_to_image_pair(pair) for pair in pairs]
    except Exception as error:  # what SQLite and pycolmap raise for a wrong file
        raise ValueError(f"{path} cannot be read as COLMAP's database ({error})") from error
    frames = {number: int("".join(filter(str.isdigit, Path(one.name).stem)) or 0)
              for number, one in images.items()}  # fmt: skip
    points = _join(places, pairs, matches)
    count = len(set(points.values()))
    numbers = {
        root: n for n, root in enumerate(dict.fromkeys(points[key] for key in sorted(points)))
    }
    xy = empty_places(max(frames.values(), default=-1) + 1, count, path)
    for (image, keypoint), root in points.items():
        xy[frames[image], numbers[root]] = places[image][keypoint] - 0.5
    size = (cameras[0].height, cameras[0].width) if cameras else None
    return make_tracks(xy, size=size)


def _import():
    try:
        with _keep_sigterm():
            import pycolmap
    except ImportError as error:
        raise need("colmap", "pycolmap", error) from error
    return pycolmap


@contextmanager
def _keep_sigterm() -> Iterator[None]:
    """A block after which SIGTERM does what it did; pycolmap would let it abort the program.

    Python's own signal module sets it in the main thread alone.
    """
    if os.name != "posix":
        yield
        return
    sigaction, before = ctypes.CDLL(None).sigaction, ctypes.create_string_buffer(1024)
    sigaction(signal.SIGTERM, None, before)
    yield
    sigaction(signal.SIGTERM, before, None)


def _fill(colmap, database, xy: np.ndarray, visible: np.ndarray, size: tuple[int, int]) -> None:
    """Writes camera, images, keypoints and matches of xy T N 2 where visible T N."""
    height, width = size
    focal = FOCAL * max(size)
    camera = colmap.Camera(
        model="SIMPLE_RADIAL", width=width, height=height, params=[focal, width / 2, height / 2, 0]
    )
    camera.camera_id = database.write_camera(camera)
    ids = []
    for t in range(len(xy)):
        image = colmap.Image(name=f"frame{t:06d}.png", camera_id=camera.camera_id)
        ids.append(database.write_image(image))
        database.write_keypoints(ids[t], (xy[t, visible[t]] + 0.5).astype(np.float32))
    for first, second, shared in _pairs(visible):
        places = [np.cumsum(visible[t])[shared] - 1 for t in (first, second)]
        matches = np.stack(places, axis=-1).astype(np.uint32)
        database.write_matches(ids[first], ids[second], matches)
        geometry = colmap.TwoViewGeometry()
        geometry.config = colmap.TwoViewGeometryConfiguration.UNCALIBRATED
        geometry.inlier_matches = matches
        database.write_two_view_geometry(ids[first], ids[second], geometry)


def _pairs(visible: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Pairs of frames, and the points that are matched there."""
    frames = len(visible)
    for first in range(frames):
        waiting = visible[first].copy()  # for the next frame that sees them
        for second in range(first + 1, frames):
            step = second - first
            shared = visible[first] & visible[second]
            chosen = shared if step & (step - 1) == 0 else shared & waiting
            waiting &= ~visible[second]
            if chosen.any():
                yield first, second, np.flatnonzero(chosen)


def _join(places: dict, pairs: list, matches: list) -> dict[tuple[int, int], tuple[int, int]]:
    """The first keypoint (image, index) of the point that each keypoint belongs to."""
    parent = {(image, k): (image, k) for image, some in places.items() for k in range(len(some))}

    def root(key: tuple[int, int]) -> tuple[int, int]:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for (one, two), some in zip(pairs, matches):
        for a, b in np.asarray(some).tolist():
            low, high = sorted((root((one, a)), root((two, b))))
            parent[high] = low
    return {key: root(key) for key in parent}
