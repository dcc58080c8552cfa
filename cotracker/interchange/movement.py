"""movement: a data set of poses for xarray, and its netCDF file.

Positions are pixels whose centre is an integer. Time is that of the frames in seconds, or counts
them from 0 where neither their times nor fps are known. Hidden points keep their place; the
variable `visible`, which is ours, says which are seen, and confidence is the visibility. A body
part that an individual lacks is NaN throughout.
"""

from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from cotracker.interchange.hdf5 import check_hdf5
from cotracker.interchange.points import (
    frame_times,
    make_tracks,
    need,
    one_clip,
    point_individuals,
    point_names,
    write_through,
)
from cotracker.tracks import Tracks

SINGULAR = ("keypoint", "individual")  # from movement 0.17 on
PLURAL = ("keypoints", "individuals")
ALONE = "id_0"  # movement's name of an individual without one


def write(path: Path, tracks: Tracks) -> Path:
    """The path of the netCDF file of `to_movement`."""
    data = to_movement(tracks)
    return write_through(path, lambda name: data.to_netcdf(name, engine="h5netcdf"))


def to_movement(tracks: Tracks):
    """The xarray.Dataset of one clip as movement has it: position, confidence, and visible.

    Dimensions are time, space, keypoint, individual; keypoints and individuals where the movement
    that is installed is older than 0.17.
    """
    xarray = _import()
    tracks = one_clip(tracks)
    names, owners = point_names(tracks), point_individuals(tracks)
    owners = owners or [ALONE] * len(names)
    keypoints, individuals = list(dict.fromkeys(names)), list(dict.fromkeys(owners)) or [ALONE]
    where = (
        [keypoints.index(name) for name in names],
        [individuals.index(owner) for owner in owners],
    )
    frames = tracks.xy.shape[1]
    grid = (frames, len(keypoints), len(individuals))
    position = np.full((frames, 2, *grid[1:]), np.nan, np.float32)
    confidence, visible = np.full(grid, np.nan, np.float32), np.zeros(grid, bool)
    if names:
        position[:, :, where[0], where[1]] = tracks.xy[0].numpy().transpose(0, 2, 1)
        confidence[:, where[0], where[1]] = tracks.visibility[0].numpy()
        visible[:, where[0], where[1]] = tracks.visible[0].numpy()
    dims = _dimensions()
    per_point = ("time", *dims)
    seconds = frame_times(tracks)
    time = np.arange(frames) if seconds is None else np.array(seconds, np.float64)
    attributes = {"source_software": "CoTracker", "ds_type": "poses"}
    attributes["time_unit"] = "frames" if seconds is None else "seconds"
    attributes |= {} if tracks.fps is None else {"fps": tracks.fps}
    if tracks.size is not None:
        attributes["frame_height"], attributes["frame_width"] = tracks.size
    return xarray.Dataset(
        {
            "position": (("time", "space", *dims), position),
            "confidence": (per_point, confidence),
            "visible": (per_point, visible),
        },
        {
            "time": time,
            "space": ["x", "y"],
            dims[0]: np.array(keypoints, dtype=object if not keypoints else None),
            dims[1]: individuals,
        },
        attributes,
    )


def read(path: Path) -> Tracks:
    """The Tracks of a netCDF file of movement."""
    xarray = _import()
    check_hdf5(path)
    try:
        with xarray.open_dataset(path, engine="h5netcdf") as data:
            return from_movement(data.load())
    except (OSError, LookupError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{path} is no netCDF file of movement's poses ({error})") from error


def from_movement(data) -> Tracks:
    """The Tracks of movement's data set of 2-D poses, individual by individual.

    Left out are the body parts of an individual that have neither a place nor a confidence.
    """
    dims = SINGULAR if SINGULAR[0] in data.dims else PLURAL
    position = data["position"].transpose("time", dims[1], dims[0], "space")
    values = position.sel(space=["x", "y"]).to_numpy()  # T I K 2
    scores = data["confidence"].transpose("time", dims[1], dims[0]).to_numpy()
    individuals = [str(one) for one in data[dims[1]].to_numpy()]
    keypoints = [str(one) for one in data[dims[0]].to_numpy()]
    there = np.isfinite(scores).any(axis=0) | np.isfinite(values).all(axis=-1).any(axis=0)
    there |= len(individuals) == 1
    shown = None
    if "visible" in data:
        shown = data["visible"].transpose("time", dims[1], dims[0]).to_numpy()[:, there]
    pairs = [(one, name) for one in individuals for name in keypoints]
    pairs = [pair for pair, kept in zip(pairs, there.ravel()) if kept]
    scored = bool(np.isfinite(scores).any())
    height, width = data.attrs.get("frame_height"), data.attrs.get("frame_width")
    tracks = make_tracks(
        values[:, there],
        shown,
        scores[:, there] if scored else None,
        names=[name for _, name in pairs],
        individuals=None if individuals == [ALONE] else [one for one, _ in pairs],
        size=None if height is None else (int(height), int(width)),
        fps=float(data.attrs["fps"]) if "fps" in data.attrs else None,
    )
    if data.attrs.get("time_unit") != "seconds":
        return tracks
    return replace(tracks, seconds=torch.tensor(data["time"].to_numpy(), dtype=torch.float64))


def _dimensions() -> tuple[str, str]:
    """How the installed movement calls its dimensions; as the newest does where there is none."""
    try:
        major, minor = metadata.version("movement").split(".")[:2]
    except metadata.PackageNotFoundError:
        return SINGULAR
    return SINGULAR if (int(major), int(minor)) >= (0, 17) else PLURAL


def _import():
    try:
        import h5netcdf  # noqa: F401  xarray reads and writes through it
        import xarray
    except ImportError as error:
        raise need("movement", "xarray and h5netcdf", error) from error
    return xarray
