"""`cotracker track`: its arguments, and a video's tracks written to files."""

import argparse
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from cotracker import queries
from cotracker.cli import arguments as kinds
from cotracker.cli.making import add_tracker, complete, load
from cotracker.cli.tracks_io import write_csv
from cotracker.data.video import VideoFile, open_video, read_picture, write_video
from cotracker.files import output_folder, refuse_overwriting
from cotracker.trackers.track import track_video
from cotracker.trackers.tracker import Tracker
from cotracker.types import Tracks
from cotracker.visualize import overlay, rainbow

OUTPUTS = ("overlay.mp4", "tracks.npz", "tracks.csv")
WRITTEN = "overlay.mp4, tracks.npz and tracks.csv"


def add_to(commands) -> None:
    """Adds `track` to the subparsers of the command line."""
    command = commands.add_parser("track", help="track points through a video or folder of frames")
    command.set_defaults(run=track)
    _add_points(command)
    add_tracker(command)


def _add_points(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    whole = kinds.parse_whole
    video = "mp4, mov, avi, mkv, webm, gif, or a folder of pictures"
    trail = "length of the trails (default: 12, none: 0)"
    add("video", type=Path, metavar="VIDEO", help=video)
    add("--out", type=Path, required=True, metavar="DIR", help=f"where {WRITTEN} go")
    add("--grid", type=kinds.parse_grid, metavar="N", help="N x N points (default: 10)")
    add("--points", type=Path, metavar="CSV", help="a file of points with the header frame,x,y")
    add("--mask", type=Path, metavar="PNG", help="only grid points where this is not black")
    add("--query-frame", type=int, metavar="K", help="the frame of the grid (default: 0)")
    add("--trail", type=whole, default=12, metavar="FRAMES", help=trail)


def track(arguments: argparse.Namespace) -> None:
    """Writes overlay.mp4, tracks.npz and tracks.csv of one video, all or none."""
    inputs = (arguments.video, arguments.points, arguments.mask, arguments.checkpoint)
    refuse_overwriting(arguments.out, OUTPUTS, [Path(one) for one in inputs if one is not None])
    with (
        closing(open_video(arguments.video)) as video,
        output_folder(arguments.out, OUTPUTS) as folder,
    ):
        points = make_queries(arguments, video)
        tracker, passes = complete(load(arguments), arguments, points, video)
        begin = time.perf_counter()
        tracks = track_with_bar(tracker, video, points, passes)
        seconds = time.perf_counter() - begin
        write_results(folder, video, points, tracks, arguments.trail)
    frames = video.shape[1]
    print(
        f"wrote {WRITTEN} to {arguments.out}: {kinds.count_words(points.shape[1], 'point')} in "
        f"{kinds.count_words(frames, 'frame')}, tracked at {frames / seconds:.1f} frames per second"
    )


def track_with_bar(tracker: Tracker, video: VideoFile, points: Tensor, passes: int = 1) -> Tracks:
    """The Tracks of queries 1 N 3, with a progress bar of the frames read, `passes` times each."""
    with tqdm(total=passes * video.shape[1], desc="tracking", unit="frame") as bar:

        def advance(frames: int) -> None:
            bar.update(min(frames, bar.total - bar.n))

        tracks = track_video(video, points, tracker, advance)
        advance(bar.total)
    return tracks


def write_results(
    folder: Path, video: VideoFile, points: Tensor, tracks: Tracks, trail: int = 12
) -> None:
    """Writes the OUTPUTS of one video into a folder that exists."""
    size = video.shape[-2:]
    seconds = torch.from_numpy(video.seconds)
    tracks = replace(tracks, queries=points, fps=video.fps, seconds=seconds, size=size)
    tracks.save(folder / "tracks.npz")
    write_csv(folder / "tracks.csv", tracks)
    pictures = overlay(video, tracks, trail, rainbow(points[0, :, 1:]))
    pictures = _with_bar(pictures, video.shape[1], "drawing")
    write_video(folder / "overlay.mp4", pictures, video.fps, size)


def make_queries(arguments: argparse.Namespace, video: VideoFile) -> Tensor:
    """The queries 1 N 3 of a points file and of a grid on one frame, perhaps within a mask."""
    frames, size = video.shape[1], video.shape[-2:]
    if arguments.points is not None:
        points = queries.read_points(arguments.points, frames, size)
        if (arguments.grid, arguments.mask) != (None, None):
            return torch.cat([points, _make_grid(arguments, video)], dim=1)
        if arguments.query_frame is not None:
            raise ValueError("--query-frame is of a grid, and --points has frames: leave it out")
        return points
    return _make_grid(arguments, video)


def _make_grid(arguments: argparse.Namespace, video: VideoFile) -> Tensor:
    frames, size = video.shape[1], video.shape[-2:]
    frame = arguments.query_frame or 0
    if not 0 <= frame < frames:
        raise ValueError(
            f"--query-frame {frame} is outside {arguments.video}, "
            f"which has frames 0 to {frames - 1}"
        )
    side = arguments.grid or 10
    points = queries.default_grid(side, size, frame)
    return points if arguments.mask is None else _keep_in_mask(points, arguments.mask, size, side)


def _keep_in_mask(points: Tensor, path: Path, size: tuple[int, int], side: int) -> Tensor:
    """The queries inside a mask picture, resized to the video by nearest pixels."""
    mask = torch.from_numpy(read_picture(path)).amax(-1)
    if not mask.any():
        raise ValueError(
            f"{path} is an empty mask: paint what shall be tracked in any colour but black"
        )
    mask = mask[None, None].float()
    mask = torch.nn.functional.interpolate(mask, size=tuple(size), mode="nearest-exact")[0, 0]
    inside = queries.inside_mask(points, mask)
    if not inside.shape[1]:
        raise ValueError(
            f"no point of the {side}x{side} grid lies in the mask {path}: "
            f"use a finer one, --grid {2 * side}"
        )
    return inside


def _with_bar(items: Iterable, total: int, name: str) -> Iterator:
    with tqdm(total=total, desc=name, unit="frame") as bar:
        for item in items:
            yield item
            bar.update()
