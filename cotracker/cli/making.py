"""The options of a tracker on the command line, and the Tracker that they make."""

import argparse
import math
from dataclasses import replace

from torch import Tensor

from cotracker.baselines.registry import NAMES, build_baseline
from cotracker.cli import arguments as kinds
from cotracker.data.video import CACHE_BYTES, VideoFile
from cotracker.model.windowed import WindowedNetwork
from cotracker.profiling.machine import peak_memory
from cotracker.profiling.plan import MOST_POINTS, Workload, plan, working_bytes
from cotracker.trackers.build import complete_chain, load_chain
from cotracker.trackers.options import DIRECTIONS, PRECISIONS, TrackerOptions
from cotracker.trackers.tracker import Tracker

DEFAULT = TrackerOptions()


def add_tracker(command: argparse.ArgumentParser) -> None:
    """Adds the options of a tracker, whose defaults are those of TrackerOptions."""
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
    precision = "bfloat16 is faster where the hardware has it: auto (default: float32)"
    default = DEFAULT
    aspect = "scale x and y alike, the rest of --resolution is grey"
    other = "another system (docs/trackers.md), with --checkpoint its published file"
    add("--tracker", choices=["cotracker", *NAMES], default="cotracker", help=other)
    add("--checkpoint", metavar="NAME_OR_FILE", help="default: the one that ships")
    add("--device", choices=kinds.DEVICES, default="auto", help="default: a GPU if there is one")
    add("--iters", type=positive, default=default.iters, metavar="M", help=iters)
    add("--threshold", type=kinds.parse_threshold, metavar="P", help=threshold)
    add("--min-confidence", type=kinds.parse_threshold, metavar="P", help=confidence)
    add("--resolution", type=size, default=default.resolution, metavar="HxW", help=resolution)
    add("--keep-aspect", action="store_true", help=aspect)
    direction = f"from each query (default: {default.direction})"
    add("--direction", choices=DIRECTIONS, default=default.direction, help=direction)
    add("--points-at-once", type=positive, metavar="K", help=at_once)
    add("--memory", type=kinds.parse_memory, metavar="SIZE", help=memory)
    add("--flip-tta", action="store_true", help=flip)
    add("--cuda-graphs", action="store_true", help=graphs)
    add("--precision", choices=PRECISIONS, default=default.precision, help=precision)


def read_options(arguments: argparse.Namespace) -> TrackerOptions:
    """The TrackerOptions of the arguments."""
    return TrackerOptions(
        iters=arguments.iters,
        resolution=arguments.resolution,
        threshold=arguments.threshold,
        min_confidence=arguments.min_confidence or 0.0,
        precision=arguments.precision,
        cuda_graphs=arguments.cuda_graphs,
        flip_tta=arguments.flip_tta,
        direction=arguments.direction,
        keep_aspect=arguments.keep_aspect,
        points_at_once=arguments.points_at_once or DEFAULT.points_at_once,
        device=arguments.device,
    )


def load(arguments: argparse.Namespace) -> Tracker:
    """The Tracker of the arguments, without chunks and direction: `complete` adds those."""
    if arguments.tracker == "cotracker":
        return load_chain(arguments.checkpoint, read_options(arguments))
    ours = {
        "--iters": arguments.iters != DEFAULT.iters,
        "--threshold": arguments.threshold is not None,
        "--min-confidence": arguments.min_confidence is not None,
        "--resolution": arguments.resolution != DEFAULT.resolution,
        "--memory": arguments.memory is not None,
        "--flip-tta": arguments.flip_tta,
        "--cuda-graphs": arguments.cuda_graphs,
        "--keep-aspect": arguments.keep_aspect,
        "--precision": arguments.precision != DEFAULT.precision,
    }
    for name in (name for name, given in ours.items() if given):
        raise ValueError(f"{name} is for CoTracker alone: not with --tracker {arguments.tracker}")
    return build_baseline(arguments.tracker, arguments.checkpoint, arguments.device)


def complete(
    tracker: Tracker, arguments: argparse.Namespace, points: Tensor, video: VideoFile
) -> tuple[Tracker, int]:
    """A loaded tracker in chunks and in its direction, and how often it needs each frame."""
    options = read_options(arguments)
    if arguments.tracker != "cotracker" and arguments.points_at_once is None:
        options = replace(options, points_at_once=None)
    if arguments.memory is not None and arguments.points_at_once is None:
        options = _fit_memory(arguments, options, tracker, points, video)
    if options.direction == "both" and not points[..., 0].any():
        options = replace(options, direction="forward")
    tracker = complete_chain(tracker, options)
    chunks = -(-points.shape[1] // (options.points_at_once or points.shape[1]))
    passes = chunks * (2 if tracker.both_directions else 1) * (2 if options.flip_tta else 1)
    return tracker, passes


def _fit_memory(
    arguments: argparse.Namespace,
    options: TrackerOptions,
    tracker: Tracker,
    points: Tensor,
    video: VideoFile,
) -> TrackerOptions:
    """The options with as many points at once, and as much else, as fit into --memory."""
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
    return replace(
        options,
        points_at_once=made.points_at_once,
        feature_memory=min(options.feature_memory, max(0, budget - made.bytes)),
    )
