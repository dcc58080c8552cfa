"""`cotracker bench`: its arguments, and what it prints and writes."""

import argparse
import dataclasses
import itertools
import os
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from cotracker import provenance
from cotracker.baselines.registry import NAMES
from cotracker.cli.arguments import DEVICES
from cotracker.model.hardware import best_device
from cotracker.profiling import bench, setting
from cotracker.profiling import report as bench_report
from cotracker.profiling.live import format_streams


def add_to(commands) -> None:
    """Adds `bench` to the subparsers of the command line."""
    text = "time the tracker and its parts on this machine, beside its peak"
    command = commands.add_parser("bench", help=text)
    command.set_defaults(run=run)
    _add_grid(command.add_argument)
    _add_tracker(command.add_argument)
    _add_outputs(command.add_argument)


def _add_grid(add: Callable) -> None:
    """The options of which each may have several values."""
    kinds = (
        "joint: all points together; single: the single-point protocol; alone: the same without "
        "sharing; stages: parts; stream: frame by frame, as --stream (default: joint)"
    )
    add("--kind", nargs="+", choices=setting.KINDS, default=["joint"], help=kinds)
    stream = "time streams instead: latency and milliseconds of each frame, in every mode"
    add("--stream", action="store_const", dest="kind", const=["stream"], help=stream)
    points, threads = [64, 256, 1024], [os.cpu_count() or 1]
    whole = {"nargs": "+", "type": _positive}
    add("--points", **whole, default=points, metavar="N", help="default: 64 256 1024")
    add("--frames", **whole, default=[24], metavar="T", help="default: 24")
    size = {"type": _size, "default": [(384, 512)], "metavar": "HxW"}
    add("--resolution", nargs="+", **size, help="default: 384x512")
    dtypes = ["float32", "bfloat16"]
    add("--dtype", nargs="+", choices=dtypes, default=["float32"], help="default: float32")
    add("--threads", **whole, default=threads, metavar="K", help="default: all cores")


def _add_tracker(add: Callable) -> None:
    """What is measured, on which device, how often."""
    model = "full, with random weights (default), or a checkpoint"
    other = "other systems too (docs/trackers.md); of one, --model may be its published file"
    systems = ["cotracker", *NAMES]
    add("--tracker", nargs="+", choices=systems, default=systems[:1], help=other)
    add("--model", default=setting.FULL, metavar="NAME", help=model)
    device = "default: auto, a GPU where there is one"
    add("--device", choices=DEVICES, default="auto", help=device)
    iters = "iterations in a window (default: 6)"
    add("--iters", type=_positive, default=6, metavar="M", help=iters)
    repeats = (
        "measured runs, after one to warm up (default: 3); 0 measures that one, for runs of minutes"
    )
    add("--repeats", type=_repeats, default=3, metavar="K", help=repeats)
    add("--compile", action="store_true", help="compile the transformer by torch.compile")
    add("--cuda-graphs", action="store_true", help="windows as CUDA graphs, on a GPU")
    video = "a video file to track, with its decoding, instead of drawn frames"
    add("--video", metavar="FILE", help=video)
    points = "track so many points at a time (default: all)"
    add("--points-at-once", type=_positive, metavar="K", help=points)


def _add_outputs(add: Callable) -> None:
    add("--json", type=Path, metavar="FILE", help="write all numbers there")
    plot = "draw time against points there, as the paper's figure 8"
    add("--plot", type=Path, metavar="PNG", help=plot)
    compare = "measure nothing: compare two such JSON files"
    add("--compare", nargs=2, type=Path, metavar=("OLD", "NEW"), help=compare)


def run(arguments: argparse.Namespace) -> None:
    """Measures every combination, each in its own process, or compares two files."""
    if arguments.compare:
        print(bench_report.format_comparison(*map(bench_report.read, arguments.compare)))
        return
    for path in (arguments.json, arguments.plot):
        if path is not None and not path.absolute().parent.is_dir():
            raise ValueError(f"the folder of {path} does not exist: make it, or choose another")
    rows = []
    for one in tqdm(settings(arguments), desc="measuring", unit="setting"):
        rows += bench.measure_in_process(one)
    if arguments.kind == ["stream"]:
        _report_streams(arguments, rows)
        return
    print(bench_report.format_table(rows))
    fitted = bench_report.fit_exponents(rows)
    for by, found in fitted.items():
        for name, exponent in found.items():
            print(f"time grows as {by} to the power {exponent:.2f}: {name}")
    if arguments.json:
        data = {
            "commit": provenance.commit(),
            "versions": provenance.versions(),
            "rows": rows,
            "exponents": fitted,
        }
        bench_report.write(arguments.json, data)
    if arguments.plot:
        bench_report.plot(arguments.plot, rows)


def _report_streams(arguments: argparse.Namespace, rows: list[dict]) -> None:
    print(format_streams(rows))
    if arguments.json:
        data = {"commit": provenance.commit(), "versions": provenance.versions(), "rows": rows}
        bench_report.write(arguments.json, data)


def settings(arguments: argparse.Namespace) -> list[setting.Setting]:
    """All combinations of the arguments."""
    if arguments.tracker != ["cotracker"] and arguments.kind != ["joint"]:
        raise ValueError("--tracker goes with --kind joint alone")
    if "stream" in arguments.kind and (len(arguments.kind) > 1 or arguments.plot):
        raise ValueError("--stream is measured alone: leave out other kinds and --plot")
    common = setting.Setting(
        model=arguments.model,
        device=best_device() if arguments.device == "auto" else arguments.device,
        iters=arguments.iters,
        repeats=arguments.repeats,
        compiled=arguments.compile,
        cuda_graphs=arguments.cuda_graphs,
        video=arguments.video,
        points_at_once=arguments.points_at_once,
    )
    names = ("tracker", "kind", "dtype", "threads", "height", "width", "frames", "points")
    axes = (arguments.kind, arguments.dtype, arguments.threads, arguments.resolution)
    rows = itertools.product(arguments.tracker, *axes, arguments.frames, arguments.points)
    rows = [(*first, *size, frames, points) for *first, size, frames, points in rows]
    return [dataclasses.replace(common, **dict(zip(names, row))) for row in rows]


def _positive(text: str) -> int:
    if not (text.isdecimal() and 0 < len(text) < 10 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def _repeats(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not all(side.isdecimal() and 32 <= int(side) <= 4096 for side in (height, width)):
        raise argparse.ArgumentTypeError(
            f"{text} is not a size such as 384x512 (height x width, each 32 to 4096)"
        )
    return int(height), int(width)
