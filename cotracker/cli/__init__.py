"""`cotracker track`, `data`, `bench`, `compare` and `table`: the command line. Reads arguments, glues the rooms."""

import argparse
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # before PyTorch is loaded: docs/speed.md, beside other work

import torch
from torch import Tensor
from tqdm import tqdm

import cotracker
from cotracker import queries
from cotracker.cli import bench as cli_bench
from cotracker.cli import compare as cli_compare
from cotracker.cli import data as cli_data
from cotracker.cli.tracks_io import write_csv, write_npz
from cotracker.data.video import CACHE_BYTES, VideoFile, open_video, read_picture, write_video
from cotracker.files import output_folder, refuse_overwriting
from cotracker.model.cotracker import CoTracker
from cotracker.profiling.machine import peak_memory
from cotracker.profiling.plan import Workload, parse_bytes, plan, working_bytes
from cotracker.trackers.tracker import Tracker, usable_device
from cotracker.trackers.wrappers import Bidirectional, Chunked, Reversed
from cotracker.types import Tracks, Video
from cotracker.visualize import overlay, rainbow

MOST_POINTS = 100_000  # of a grid
MOST_AT_ONCE = 1024  # points together, where neither --points-at-once nor --memory says otherwise
SUPPORT = 36  # points that load_tracker adds to each turn: a grid of 6 x 6
SIDES = (32, 4096)  # smallest and largest side of --resolution
WRITTEN = ("overlay.mp4", "tracks.npz", "tracks.csv")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0; 1 where data check found faults; 2 after one sentence on stderr about what was wrong; 130 after
    Ctrl-C. Nothing is half-written."""
    try:
        arguments = _parser().parse_args(argv)
        return arguments.run(arguments) or 0
    except SystemExit as end:  # argparse: --help, or a wrong argument
        return int(end.code or 0)
    except KeyboardInterrupt:
        return _refuse("interrupted, nothing was written", 130)
    except torch.OutOfMemoryError:
        return _refuse("the device's memory is full: take fewer --points-at-once, a smaller --resolution, --device cpu")
    except (MemoryError, RuntimeError) as error:
        if not _is_of_memory(error):
            raise
        return _refuse("this machine's memory is full: ask fewer points or --points-at-once, or a smaller --resolution")
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except ValueError as error:
        return _refuse(str(error))


def track(arguments: argparse.Namespace) -> None:
    """Writes overlay.mp4, tracks.npz and tracks.csv of one video, all or none, and prints what it wrote."""
    device = usable_device(arguments.device)
    read = (arguments.video, arguments.points, arguments.mask, arguments.checkpoint)
    refuse_overwriting(arguments.out, WRITTEN, [Path(one) for one in read if one is not None])
    with closing(open_video(arguments.video)) as video, output_folder(arguments.out, WRITTEN) as folder:
        asked = make_queries(arguments, video)
        tracker, at_once = make_tracker(arguments, asked, device, video)
        begin = time.perf_counter()
        turns = -(-asked.shape[1] // at_once)
        passes = turns * (2 if tracker.both_directions else 1) * (2 if arguments.mirrored else 1)
        tracks = run(tracker, video, asked, device, passes)
        seconds = time.perf_counter() - begin
        write_npz(folder / "tracks.npz", tracks, asked, video.fps, video.shape[-2:])
        write_csv(folder / "tracks.csv", tracks)
        colours = rainbow(asked[0, :, 1:])
        frames = _bar(overlay(video, tracks, arguments.trail, colours), video.shape[1], "drawing")
        write_video(folder / "overlay.mp4", frames, video.fps, video.shape[-2:])
    print(
        f"wrote overlay.mp4, tracks.npz and tracks.csv to {arguments.out}: {_counted(asked.shape[1], 'point')} in "
        f"{_counted(video.shape[1], 'frame')}, tracked at {video.shape[1] / seconds:.1f} frames per second"
    )


def make_queries(arguments: argparse.Namespace, video: VideoFile) -> Tensor:
    """The queries 1 N 3 asked for: a points file, or a grid on one frame, perhaps within a mask."""
    frames, size = video.shape[1], video.shape[-2:]
    if arguments.points is not None:
        if (arguments.grid, arguments.mask, arguments.query_frame) != (None, None, None):
            raise ValueError("--points brings its own places and frames: leave out --grid, --mask and --query-frame")
        return queries.read_points(arguments.points, frames, size)
    frame = arguments.query_frame or 0
    if not 0 <= frame < frames:
        raise ValueError(f"--query-frame {frame} is outside {arguments.video}, which has frames 0 to {frames - 1}")
    count = 10 if arguments.grid is None else arguments.grid
    asked = queries.grid(count, size, frame, margin=_margin(size))
    return asked if arguments.mask is None else _within(asked, arguments.mask, size, count)


def make_tracker(
    arguments: argparse.Namespace, asked: Tensor, device: torch.device, video: VideoFile
) -> tuple[Tracker, int]:
    """The Tracker of the checkpoint, for so many points at once and the direction; and how many at once.

    `both` is no more than forward when all start at frame 0.
    """
    tracker = cotracker.load_tracker(
        arguments.checkpoint,
        iters=arguments.iters,
        resolution=arguments.resolution,
        threshold=arguments.threshold,
        precision=arguments.precision,
        cuda_graphs=arguments.cuda_graphs,
        mirrored=arguments.mirrored,
        device=device.type,
    )
    at_once = points_at_once(arguments, tracker, asked, device, video)
    tracker = Chunked(tracker, at_once)
    if arguments.direction == "backward":
        return Reversed(tracker), at_once
    if arguments.direction == "both" and not tracker.both_directions and asked[..., 0].max() > 0:
        return Bidirectional(tracker), at_once
    return tracker, at_once


def points_at_once(
    arguments: argparse.Namespace, tracker: Tracker, asked: Tensor, device: torch.device, video: VideoFile
) -> int:
    """As asked for; else as many as --memory allows, and no more than 1024."""
    if arguments.points_at_once is not None:
        return arguments.points_at_once
    if arguments.memory is None:
        return MOST_AT_ONCE
    models = [part for part in tracker.modules() if isinstance(part, CoTracker)]
    if not models:
        raise ValueError("--memory is known for CoTracker alone: say --points-at-once")
    held = peak_memory(device) + (0 if device.type == "cuda" else min(CACHE_BYTES, math.prod(video.shape)))
    left = working_bytes(device, arguments.memory, held)
    size, own = arguments.resolution, tuple(video.shape[-2:])
    work = Workload(video.shape[1], size, asked.shape[1], arguments.iters, SUPPORT, video_size=own)
    made = plan(models[0], work, left)
    operations = made.operations * (2 if arguments.mirrored else 1)
    print(
        f"{_counted(min(made.points_at_once, asked.shape[1]), 'point')} at once: about "
        f"{(held + made.bytes) / 1e9:.1f} of {arguments.memory / 1e9:.1f} GB, {operations / 1e12:.2f} TFLOP"
    )
    return made.points_at_once


class Counted:
    """A Video that hands its frames to `device` and tells `bar` of each frame read for the first time in a pass."""

    def __init__(self, video: Video, device: torch.device, bar: tqdm):
        self.shape = video.shape
        self._video, self._device, self._bar = video, device, bar
        self._unread = set(range(video.shape[1]))

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        new = self._unread.intersection(range(self.shape[1])[index[1]])
        self._unread -= new
        if not self._unread:
            self._unread = set(range(self.shape[1]))
        self._bar.update(min(len(new), self._bar.total - self._bar.n))
        return self._video[index].to(self._device)


@torch.no_grad()
def run(tracker: Tracker, video: Video, asked: Tensor, device: torch.device, passes: int = 1) -> Tracks:
    """The Tracks, on the CPU, of queries 1 N 3 in a video, with a progress bar of the frames read."""
    with tqdm(total=passes * video.shape[1], desc="tracking", unit="frame") as bar:
        tracks = tracker(Counted(video, device, bar), asked.to(device)).to("cpu")
        bar.update(bar.total - bar.n)
    return tracks


def _margin(size: tuple[int, int]) -> tuple[float, float]:
    """The grid's margins (vertical, horizontal): W // 64, within a narrow picture, and at least 1, as W is outside."""
    return tuple(min(max(1, size[1] // 64), max(1, (side - 1) / 2)) for side in size)


def _within(asked: Tensor, path: Path, size: tuple[int, int], count: int) -> Tensor:
    """The queries inside a mask picture, brought to the video's size by its nearest pixels."""
    mask = torch.from_numpy(read_picture(path)).amax(-1)
    if not mask.any():
        raise ValueError(f"{path} is an empty mask: paint what shall be tracked in any colour but black")
    mask = torch.nn.functional.interpolate(mask[None, None].float(), size=tuple(size), mode="nearest-exact")[0, 0]
    inside, finer = queries.inside_mask(asked, mask), f"--grid {2 * count}"
    if not inside.shape[1]:
        raise ValueError(f"no point of the {count}x{count} grid lies in the mask {path}: ask a finer one, {finer}")
    return inside


def _bar(items: Iterable, total: int, name: str) -> Iterator:
    with tqdm(total=total, desc=name, unit="frame") as bar:
        for item in items:
            yield item
            bar.update()


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _is_of_memory(error: Exception) -> bool:
    """Python's and numpy's own error, or what torch's allocator on the CPU says in its several ways."""
    said = str(error).lower()
    words = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(word in said for word in words)


def _refuse(sentence: str, code: int = 2) -> int:
    print(f"cotracker: {' '.join(sentence.split())}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(_refuse(f"{message}; see {self.prog} --help"))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cotracker", description="Track points through a video, check data to train on, compare results."
    )
    parser.add_argument("--version", action="version", version=f"cotracker {cotracker.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    cli_data.add_to(commands)
    cli_compare.add_to(commands)
    cli_bench.add_to(commands)
    command = commands.add_parser("track", help="track points through a video file or a folder of frames")
    command.set_defaults(run=track)
    add = command.add_argument
    at_once = (
        "points tracked together, which bounds the memory (default: 1024); points of different turns do not see each "
        "other, and each turn has its own support points"
    )
    precision = "bfloat16 is faster on a CPU, and on a GPU with --cuda-graphs (default: float32)"
    add("video", type=Path, metavar="VIDEO", help="mp4, mov, avi, mkv, webm, gif, or a folder of pictures")
    add("--out", type=Path, required=True, metavar="DIR", help="where overlay.mp4, tracks.npz and tracks.csv go")
    add("--grid", type=_grid, metavar="N", help="N x N points on the query frame (default: 10)")
    add("--points", type=Path, metavar="CSV", help="points to track: a file with the header frame,x,y")
    add("--mask", type=Path, metavar="PNG", help="only grid points where this picture is not black")
    add("--query-frame", type=int, metavar="K", help="the frame the grid lies on (default: 0)")
    add("--direction", choices=["forward", "backward", "both"], default="both", help="from the query (default: both)")
    add("--checkpoint", metavar="NAME_OR_FILE", help="default: the one that ships")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto, a GPU where there is one")
    add("--iters", type=_positive, default=6, metavar="M", help="updates in a window (default: 6)")
    add("--threshold", type=_share, metavar="P", help="visible above this visibility, 0 to <1 (default: the tracker's)")
    add("--resolution", type=_resolution, default=(384, 512), metavar="HxW", help="size tracked at (default: 384x512)")
    add("--points-at-once", type=_positive, metavar="K", help=at_once)
    add("--memory", type=_bytes, metavar="SIZE", help="take as many points at once as fit this, such as 2GB or 800MB")
    add("--mirrored", action="store_true", help="track in the mirrored video as well: mostly better, twice the time")
    add("--cuda-graphs", action="store_true", help="on a GPU: windows as CUDA graphs, up to seven times as fast")
    add("--precision", choices=["float32", "bfloat16"], default="float32", help=precision)
    add("--trail", type=_whole, default=12, metavar="FRAMES", help="length of the trails drawn (default: 12, none: 0)")
    return parser


def _whole(text: str, least: int = 0) -> int:
    if not (text.isdecimal() and len(text) < 10 and int(text) >= least):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least {least}")
    return int(text)


def _positive(text: str) -> int:
    return _whole(text, least=1)


def _grid(text: str) -> int:
    count = _positive(text)
    if count**2 > MOST_POINTS:
        raise argparse.ArgumentTypeError(f"{text} x {text} points are too many: ask {int(MOST_POINTS**0.5)} at most")
    return count


def _bytes(text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to below 1")
    return value


def _resolution(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not all(side.isdecimal() and SIDES[0] <= float(side) <= SIDES[1] for side in (height, width)):
        low, high = SIDES
        raise argparse.ArgumentTypeError(f"{text} is not a size such as 384x512 (height x width, each {low} to {high})")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
