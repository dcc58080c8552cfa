"""`cotracker track`: its arguments, and a video's tracks written to files."""

import argparse
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from cotracker import queries
from cotracker.baselines.registry import NAMES, build_baseline
from cotracker.cli import arguments as kinds
from cotracker.cli.tracks_io import write_csv
from cotracker.data.video import CACHE_BYTES, VideoFile, open_video, read_picture, write_video
from cotracker.files import output_folder, refuse_overwriting
from cotracker.model.windowed import WindowedNetwork
from cotracker.profiling.machine import peak_memory
from cotracker.profiling.plan import MOST_POINTS, Workload, plan, working_bytes
from cotracker.trackers.build import build_tracker
from cotracker.trackers.options import PRECISIONS, TrackerOptions
from cotracker.trackers.track import track_video
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.wrappers import Bidirectional, Chunked, Reversed
from cotracker.types import Tracks
from cotracker.visualize import overlay, rainbow

OUTPUTS = ("overlay.mp4", "tracks.npz", "tracks.csv")
WRITTEN = "overlay.mp4, tracks.npz and tracks.csv"


def add_to(commands) -> None:
    """Adds `track` to the subparsers of the command line."""
    command = commands.add_parser("track", help="track points through a video or folder of frames")
    command.set_defaults(run=track)
    _add_points(command)
    _add_tracker(command)


def _add_points(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    whole = kinds.parse_whole
    video = "mp4, mov, avi, mkv, webm, gif, or a folder of pictures"
    trail = "length of the trails (default: 12, none: 0)"
    both = ["forward", "backward", "both"]
    add("video", type=Path, metavar="VIDEO", help=video)
    add("--out", type=Path, required=True, metavar="DIR", help=f"where {WRITTEN} go")
    add("--grid", type=kinds.parse_grid, metavar="N", help="N x N points (default: 10)")
    add("--points", type=Path, metavar="CSV", help="a file of points with the header frame,x,y")
    add("--mask", type=Path, metavar="PNG", help="only grid points where this is not black")
    add("--query-frame", type=int, metavar="K", help="the frame of the grid (default: 0)")
    add("--direction", choices=both, default="both", help="from the query (default: both)")
    add("--trail", type=whole, default=12, metavar="FRAMES", help=trail)


def _add_tracker(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    positive, size = kinds.parse_positive, kinds.parse_size
    iters = "refinement iterations in a window (default: 6)"
    threshold = "visible above this visibility, 0 to <1 (default: the checkpoint's)"
    confidence = "points of less confidence are not visible, where the checkpoint has it"
    resolution = "size tracked at (default: 384x512)"
    at_once = (
        f"points tracked together, which bounds the memory (default: {MOST_POINTS}); points of "
        "different chunks do not see each other, and each chunk has its own support points"
    )
    memory = "track as many points at once as fit this, such as 2GB or 800MB"
    flip = "track in the flipped video too: mostly better, twice the time"
    graphs = "on a GPU, run windows as CUDA graphs: up to seven times as fast"
    precision = "bfloat16 is faster on many machines (default: float32)"
    default = TrackerOptions()
    other = "another system (docs/trackers.md), with --checkpoint its published file"
    add("--tracker", choices=["cotracker", *NAMES], default="cotracker", help=other)
    add("--checkpoint", metavar="NAME_OR_FILE", help="default: the one that ships")
    add("--device", choices=kinds.DEVICES, default="auto", help="default: a GPU if there is one")
    add("--iters", type=positive, default=default.iters, metavar="M", help=iters)
    add("--threshold", type=kinds.parse_threshold, metavar="P", help=threshold)
    add("--min-confidence", type=kinds.parse_threshold, metavar="P", help=confidence)
    add("--resolution", type=size, default=default.resolution, metavar="HxW", help=resolution)
    add("--points-at-once", type=positive, metavar="K", help=at_once)
    add("--memory", type=kinds.parse_memory, metavar="SIZE", help=memory)
    add("--flip-tta", action="store_true", help=flip)
    add("--cuda-graphs", action="store_true", help=graphs)
    add("--precision", choices=PRECISIONS, default=default.precision, help=precision)


def track(arguments: argparse.Namespace) -> None:
    """Writes overlay.mp4, tracks.npz and tracks.csv of one video, all or none."""
    inputs = (arguments.video, arguments.points, arguments.mask, arguments.checkpoint)
    refuse_overwriting(arguments.out, OUTPUTS, [Path(one) for one in inputs if one is not None])
    with (
        closing(open_video(arguments.video)) as video,
        output_folder(arguments.out, OUTPUTS) as folder,
    ):
        points = make_queries(arguments, video)
        tracker, passes = make_tracker(arguments, points, video)
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
    """The queries 1 N 3 of a points file, or of a grid on one frame, perhaps within a mask."""
    frames, size = video.shape[1], video.shape[-2:]
    if arguments.points is not None:
        if (arguments.grid, arguments.mask, arguments.query_frame) != (None, None, None):
            raise ValueError(
                "--points has its own positions and frames: "
                "leave out --grid, --mask and --query-frame"
            )
        return queries.read_points(arguments.points, frames, size)
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


def make_tracker(
    arguments: argparse.Namespace, points: Tensor, video: VideoFile
) -> tuple[Tracker, int]:
    """The Tracker of the arguments, and how often it reads each frame."""
    if arguments.tracker != "cotracker":
        return _make_baseline(arguments, points)
    options = TrackerOptions(
        iters=arguments.iters,
        resolution=arguments.resolution,
        threshold=arguments.threshold,
        min_confidence=arguments.min_confidence or 0.0,
        precision=arguments.precision,
        cuda_graphs=arguments.cuda_graphs,
        flip_tta=arguments.flip_tta,
        device=arguments.device,
    )
    tracker = build_tracker(arguments.checkpoint, options)
    at_once = arguments.points_at_once
    if at_once is None:
        at_once = _plan_chunks(arguments, options, tracker, points, video)
    tracker = _direct(Chunked(tracker, at_once), arguments, points)
    chunks = -(-points.shape[1] // at_once)
    passes = chunks * (2 if tracker.both_directions else 1) * (2 if arguments.flip_tta else 1)
    return tracker, passes


def _make_baseline(arguments: argparse.Namespace, points: Tensor) -> tuple[Tracker, int]:
    """make_tracker for another system, with its own settings."""
    default = TrackerOptions()
    ours = {
        "--iters": arguments.iters != default.iters,
        "--threshold": arguments.threshold is not None,
        "--min-confidence": arguments.min_confidence is not None,
        "--resolution": arguments.resolution != default.resolution,
        "--memory": arguments.memory is not None,
        "--flip-tta": arguments.flip_tta,
        "--cuda-graphs": arguments.cuda_graphs,
        "--precision": arguments.precision != default.precision,
    }
    for name in (name for name, given in ours.items() if given):
        raise ValueError(f"{name} is for CoTracker alone: leave it out of --tracker")
    tracker = build_baseline(arguments.tracker, arguments.checkpoint, arguments.device)
    at_once = arguments.points_at_once or points.shape[1]
    tracker = _direct(Chunked(tracker, at_once), arguments, points)
    return tracker, -(-points.shape[1] // at_once) * (2 if tracker.both_directions else 1)


def _direct(tracker: Tracker, arguments: argparse.Namespace, points: Tensor) -> Tracker:
    """The tracker in the direction of the arguments."""
    if arguments.direction == "backward":
        return Reversed(tracker)
    if arguments.direction == "both" and not tracker.both_directions and points[..., 0].any():
        return Bidirectional(tracker)
    return tracker


def _plan_chunks(
    arguments: argparse.Namespace,
    options: TrackerOptions,
    tracker: Tracker,
    points: Tensor,
    video: VideoFile,
) -> int:
    """How many points fit into --memory together, at most MOST_POINTS."""
    if arguments.memory is None:
        return MOST_POINTS
    model = next((part for part in tracker.modules() if isinstance(part, WindowedNetwork)), None)
    if model is None:
        raise ValueError("--memory is for CoTracker alone: use --points-at-once")
    cached = 0 if tracker.device.type == "cuda" else min(CACHE_BYTES, math.prod(video.shape))
    in_use = peak_memory(tracker.device) + cached
    budget = working_bytes(tracker.device, arguments.memory, in_use)
    work = Workload(
        frames=video.shape[1],
        size=options.resolution,
        points=points.shape[1],
        iters=options.iters,
        support=options.support_grid**2,
        video_size=tuple(video.shape[-2:]),
    )
    made = plan(model, work, budget)
    operations = made.operations * (2 if options.flip_tta else 1)
    together = min(made.points_at_once, points.shape[1])
    print(
        f"{kinds.count_words(together, 'point')} at once: about "
        f"{(in_use + made.bytes) / 1e9:.1f} of {arguments.memory / 1e9:.1f} GB, "
        f"{operations / 1e12:.2f} TFLOP"
    )
    return made.points_at_once


def _with_bar(items: Iterable, total: int, name: str) -> Iterator:
    with tqdm(total=total, desc=name, unit="frame") as bar:
        for item in items:
            yield item
            bar.update()
