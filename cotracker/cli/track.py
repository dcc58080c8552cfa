"""`cotracker track`: its arguments, and a video's tracks written to files."""

import argparse
import time
import warnings
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
from cotracker.data.video import VideoFile, open_video, write_video
from cotracker.data.video.masks import fit_mask, read_mask
from cotracker.files import output_folder
from cotracker.interchange.labels import holds_labels, read_labels
from cotracker.interchange.tables import write_long
from cotracker.trackers.named_queries import NamedQueries, join_queries
from cotracker.trackers.track import track_video
from cotracker.trackers.tracker import Tracker
from cotracker.types import Tracks
from cotracker.visualize import overlay, rainbow

OUTPUTS = ("overlay.mp4", "tracks.npz", "tracks.csv")
_ASPECT = 0.02  # of width to height, more than rounding of sizes makes
WRITTEN = "overlay.mp4, tracks.npz and tracks.csv"


def add_to(commands) -> None:
    """Adds `track` to the subparsers of the command line."""
    command = commands.add_parser("track", help="track points through a video or folder of frames")
    command.set_defaults(run=track)
    video = "mp4, mov, avi, mkv, webm, gif, tif, or a folder of pictures"
    command.add_argument("video", type=Path, metavar="VIDEO", help=video)
    where = f"where {WRITTEN} go"
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help=where)
    points = (
        "csv with the columns frame,x,y, and perhaps name, or labels of DeepLabCut, SLEAP, COCO or "
        "poseinterface"
    )
    add_queries(command, points)
    add_tracker(command)


def add_queries(command: argparse.ArgumentParser, points: str) -> None:
    """Adds the options of what is tracked and shown; `points` describes --points."""
    add = command.add_argument
    whole = kinds.parse_whole
    mask = "only grid points where this has a label, any but 0"
    frames = "only frames A to B-1; numbers and times stay those of the file"
    damaged = "refuse a damaged file, or repeat the last good frame (default: refuse)"
    trail = "length of the trails (default: 12, none: 0)"
    add("--grid", type=kinds.parse_grid, metavar="N", help="N x N points (default: 10)")
    add("--points", type=Path, metavar="FILE", help=points)
    add("--mask", type=Path, metavar="PNG", help=mask)
    add("--frames", type=kinds.parse_frames, default=(0, None), metavar="A:B", help=frames)
    add("--damaged", choices=["refuse", "repeat"], default="refuse", help=damaged)
    add("--query-frame", type=int, metavar="K", help="the frame of the grid (default: the first)")
    add("--trail", type=whole, default=12, metavar="FRAMES", help=trail)


def track(arguments: argparse.Namespace) -> None:
    """Writes overlay.mp4, tracks.npz and tracks.csv of one video, all or none."""
    track_into(arguments)


def track_into(arguments: argparse.Namespace, tracker: Tracker | None = None) -> None:
    """`track` with a tracker that `load` gave; None loads it when the video can be read."""
    inputs = (arguments.video, arguments.points, arguments.mask, arguments.checkpoint)
    refuse_overwriting(arguments.out, OUTPUTS, [Path(one) for one in inputs if one is not None])
    with (
        closing(_open_part(arguments)) as video,
        output_folder(arguments.out, OUTPUTS) as folder,
    ):
        asked = make_queries(arguments, video)
        points = asked.queries
        tracker, passes = complete(tracker or load(arguments), arguments, points, video)
        begin = time.perf_counter()
        tracks = track_with_bar(tracker, video, points, passes)
        seconds = time.perf_counter() - begin
        tracks = replace(tracks, ids=asked.ids, names=asked.names, individuals=asked.individuals)
        write_results(folder, video, points, tracks, arguments.trail)
    frames = video.shape[1]
    print(
        f"wrote {WRITTEN} to {arguments.out}: {kinds.count_words(points.shape[1], 'point')} in "
        f"{kinds.count_words(frames, 'frame')}, tracked at {frames / seconds:.1f} frames per second"
    )


def _open_part(arguments: argparse.Namespace) -> VideoFile:
    """The video of the arguments, cut to --frames."""
    video = open_video(arguments.video, arguments.damaged)
    start, stop = arguments.frames
    stop = len(video) if stop is None else stop
    if not start < stop <= len(video):
        video.close()
        raise ValueError(
            f"--frames {start}:{stop} is not within {arguments.video}, which has frames 0 to "
            f"{len(video) - 1}"
        )
    return video.cut(start, stop)


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
    write_long(folder / "tracks.csv", tracks, video.first)
    pictures = overlay(video, tracks, trail, rainbow(points[0, :, 1:]))
    pictures = _with_bar(pictures, video.shape[1], "drawing")
    write_video(folder / "overlay.mp4", pictures, video.fps, size, video.aspect)


def make_queries(arguments: argparse.Namespace, video: VideoFile) -> NamedQueries:
    """The queries of a points file and of a grid on one frame, perhaps within a mask."""
    if arguments.points is None:
        return _make_grid(arguments, video)
    points = _read_points(arguments.points, video)
    if (arguments.grid, arguments.mask) != (None, None):
        return join_queries(points, _make_grid(arguments, video))
    if arguments.query_frame is not None:
        raise ValueError("--query-frame is of a grid, and --points has frames: leave it out")
    return points


def _read_points(path: Path, video: VideoFile) -> NamedQueries:
    frames, size, first = video.shape[1], video.shape[-2:], video.first
    if holds_labels(path):
        return NamedQueries(**read_labels(path, frames, first)._asdict())
    points, names = queries.read_points(path, frames, size, first)
    return NamedQueries(points, names=names)


def _make_grid(arguments: argparse.Namespace, video: VideoFile) -> NamedQueries:
    frames, size, first = video.shape[1], video.shape[-2:], video.first
    frame = first if arguments.query_frame is None else arguments.query_frame
    if not first <= frame < first + frames:
        raise ValueError(
            f"--query-frame {frame} is outside {arguments.video}, "
            f"which has frames {first} to {first + frames - 1}"
        )
    side = arguments.grid or 10
    points = queries.default_grid(side, size, frame - first)
    if arguments.mask is None:
        return NamedQueries(points)
    return _keep_in_mask(points, arguments.mask, size, side)


def _keep_in_mask(points: Tensor, path: Path, size: tuple[int, int], side: int) -> NamedQueries:
    """The queries on the labels of a mask picture, resized to the video by nearest pixels."""
    labels = read_mask(path)
    if not labels.any():
        raise ValueError(
            f"{path} is an empty mask: paint what shall be tracked in any colour but black"
        )
    height, width = labels.shape
    if abs(width * size[0] / (height * size[1]) - 1) > _ASPECT:
        warnings.warn(
            f"{path} is {width}x{height}, of another aspect than the video's {size[1]}x{size[0]}: "
            "it is stretched",
            stacklevel=2,
        )
    labels = torch.from_numpy(fit_mask(labels, size))
    inside = queries.inside_mask(points, labels)
    if not inside.shape[1]:
        raise ValueError(
            f"no point of the {side}x{side} grid lies in the mask {path}: "
            f"use a finer one, --grid {2 * side}"
        )
    x, y = inside[0, :, 1:].round().long().unbind(-1)
    return NamedQueries(inside, ids=labels[y, x][None])


def _with_bar(items: Iterable, total: int, name: str) -> Iterator:
    with tqdm(total=total, desc=name, unit="frame") as bar:
        for item in items:
            yield item
            bar.update()


def refuse_overwriting(path: Path, names: Iterable[str], inputs: Iterable[Path]) -> None:
    """ValueError where one of the inputs is one of the files to be written into `path`."""
    for one in inputs:
        for file in (path / name for name in names):
            if file.exists() and one.exists() and file.samefile(one):
                raise ValueError(
                    f"{one} would be overwritten by {file}, one of the results: "
                    "choose another --out"
                )
