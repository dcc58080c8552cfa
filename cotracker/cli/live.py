"""`cotracker live`: rows for each frame as it comes, from a file, a camera, a pipe or a folder."""

import argparse
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from cotracker import queries
from cotracker.baselines.registry import NAMES, build_baseline
from cotracker.cli import arguments as kinds
from cotracker.data.video import write_video
from cotracker.data.video.live import read_live
from cotracker.trackers.build import build_tracker
from cotracker.trackers.live import MODES
from cotracker.trackers.options import TrackerOptions
from cotracker.trackers.stream import Stream
from cotracker.trackers.stream_result import StreamResult
from cotracker.visualize import rainbow, render_tracks

COLUMNS = ("frame", "point", "x", "y", "visibility", "visible")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
ATOMIC = 4096  # bytes that a pipe takes whole or not at all


def add_to(commands) -> None:
    """Adds `live` to the subparsers of the command line."""
    text = "follow points in a camera, a pipe, a growing folder: rows on standard output"
    command = commands.add_parser("live", help=text)
    command.set_defaults(run=live)
    add = command.add_argument
    source = (
        "a video file, a folder of pictures that may still be written, the number of a camera, an "
        "address such as rtsp://…, or - for raw RGB frames on standard input"
    )
    add("source", metavar="SOURCE", help=source)
    add("--size", type=kinds.parse_size, metavar="HxW", help="of raw frames on standard input")
    add("--grid", type=kinds.parse_grid, default=10, metavar="N", help="N x N points (default: 10)")
    add("--points", type=Path, metavar="CSV", help="a file of points with the header frame,x,y")
    add("--format", choices=["csv", "jsonl"], default="csv", help="of the rows (default: csv)")
    provisional = "write rows that a later window revises too; they say so in a column `final`"
    add("--provisional", action="store_true", help=provisional)
    add("--overlay", type=Path, metavar="MP4", help="write the frames with their points there")
    add("--trail", type=kinds.parse_whole, default=12, metavar="FRAMES", help="of the overlay")
    idle = "seconds without a new picture after which a folder is finished (default: 2)"
    add("--idle", type=float, default=2.0, metavar="S", help=idle)
    _add_tracker(add)


def _add_tracker(add) -> None:
    default = TrackerOptions()
    mode = "window: final tracks as of the whole clip; frame: one answer a frame (docs/live.md)"
    add("--mode", choices=MODES, default="window", help=f"{mode} (default: window)")
    other = "another system that goes forward (docs/trackers.md)"
    add("--tracker", choices=["cotracker", *NAMES], default="cotracker", help=other)
    add("--checkpoint", metavar="NAME_OR_FILE", help="default: the one that ships")
    add("--device", choices=kinds.DEVICES, default="auto", help="default: a GPU if there is one")
    iters = "iterations in a window (default: 6), or of a frame (default: 2)"
    add("--iters", type=kinds.parse_positive, metavar="M", help=iters)
    resolution = "size tracked at (default: 384x512)"
    size = kinds.parse_size
    add("--resolution", type=size, default=default.resolution, metavar="HxW", help=resolution)


def live(arguments: argparse.Namespace) -> None:
    """Writes rows until the source ends or the user ends it; then the latency, on stderr."""
    frames, fps = read_live(arguments.source, arguments.size, sys.stdin.buffer, arguments.idle)
    with _Stop() as stop:
        frames = stop.until(frames)
        first = next(frames, None)
        if first is None:
            raise ValueError(f"{arguments.source} gave no frame: nothing was tracked")
        size = first.shape[:2]
        writer = RowWriter(_make_stream(arguments, size), arguments)
        pictures = writer.follow(chain([first], frames), arguments.overlay is not None)
        with suppress(BrokenPipeError):  # the reader has what it wanted
            if arguments.overlay is None:
                deque(pictures, maxlen=0)
            else:
                write_video(arguments.overlay, pictures, fps, size)
        writer.report()


def _make_stream(arguments: argparse.Namespace, size: tuple[int, int]) -> Stream:
    if arguments.tracker == "cotracker":
        options = TrackerOptions(resolution=arguments.resolution, device=arguments.device)
        tracker = build_tracker(arguments.checkpoint, options)
    else:
        tracker = build_baseline(arguments.tracker, arguments.checkpoint, arguments.device)
    if arguments.points is not None:
        points, _ = queries.read_points(arguments.points, 2**24, size)
    else:
        points = queries.default_grid(arguments.grid, size)
    provisional = arguments.provisional
    return tracker.stream(
        points[0], mode=arguments.mode, iters=arguments.iters, provisional=provisional
    )


class _Stop:
    """Ctrl-C and a polite kill end the frames, at once where one is waited for, else after it."""

    def __enter__(self) -> "_Stop":
        self.asked = self.waiting = False
        self.before = {one: signal.signal(one, self._ask) for one in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for one, handler in self.before.items():
            signal.signal(one, handler)

    def _ask(self, *_) -> None:
        self.asked = True
        if self.waiting:
            raise KeyboardInterrupt

    def until(self, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The frames until it is asked to stop."""
        while not self.asked:
            try:
                self.waiting = True
                frame = next(frames, None)
            except KeyboardInterrupt:
                return
            finally:
                self.waiting = False
            if frame is None:
                return
            yield frame


class RowWriter:
    """The answers of a stream as rows on standard output; and how long each frame took."""

    def __init__(self, stream: Stream, arguments: argparse.Namespace):
        self.stream, self.format = stream, arguments.format
        self.provisional, self.trail = arguments.provisional, arguments.trail
        self.seconds: list[float] = []
        self.past: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=arguments.trail + 1)
        self.waiting: deque[np.ndarray] = deque()  # frames whose answer is not final
        self.rows = 0

    def follow(self, frames: Iterator[np.ndarray], pictures: bool) -> Iterator[np.ndarray]:
        """Writes the rows of all frames; gives the frames with their points where wanted."""
        if self.format == "csv":
            header = [*COLUMNS, "final"] if self.provisional else COLUMNS
            self._write([",".join(header)])
        for frame in frames:
            begin = time.perf_counter()
            result = self.stream.push(frame)
            self._write(self._rows(result))
            self.seconds.append(time.perf_counter() - begin)
            if pictures:
                self.waiting.append(frame)
                yield from self._draw(result)
        result = self.stream.flush()
        self._write(self._rows(result))
        if pictures:
            yield from self._draw(result)

    def _rows(self, result: StreamResult) -> list[str]:
        xy, visibility = result.xy.tolist(), result.visibility.tolist()
        visible, rows = result.visible.int().tolist(), []
        for k, (frame, final) in enumerate(zip(result.frames.tolist(), result.final.tolist())):
            if not (final or self.provisional):
                continue
            for n, one in enumerate(result.ids):
                values = (frame, one, *xy[k][n], visibility[k][n], visible[k][n], int(final))
                rows.append(self._row(values))
        return rows

    def _row(self, values: tuple) -> str:
        frame, point, x, y, visibility, visible, final = values
        if self.format == "csv":
            row = f"{frame},{point},{x:.4f},{y:.4f},{visibility:.4f},{visible}"
            return f"{row},{final}" if self.provisional else row
        row = dict(zip(COLUMNS, (frame, point, round(x, 4), round(y, 4), round(visibility, 4),
                                  bool(visible))))  # fmt: skip
        return json.dumps(row | ({"final": bool(final)} if self.provisional else {}))

    def _write(self, rows: list[str]) -> None:
        """Whole rows at a time, so that a kill leaves none cut."""
        self.rows += len(rows)
        block = b""
        for row in rows:
            line = row.encode() + b"\n"
            if len(block) + len(line) > ATOMIC:
                os.write(sys.stdout.fileno(), block)
                block = b""
            block += line
        if block:
            os.write(sys.stdout.fileno(), block)

    def _draw(self, result: StreamResult) -> Iterator[np.ndarray]:
        """The frames that are final now, with their points and trails."""
        for k in range(int(result.final.sum())):
            self.past.append((result.xy[k], result.visible[k]))
            xy, visible = (torch.stack(values) for values in zip(*self.past))
            frame = torch.from_numpy(self.waiting.popleft().copy()).permute(2, 0, 1)[None]
            colours = rainbow(result.tracks.queries[0, :, 1:])
            drawn = render_tracks(frame, xy, visible, len(xy) - 1, self.trail, colours)
            yield np.ascontiguousarray(drawn[0].permute(1, 2, 0).numpy())

    def report(self) -> None:
        """Prints how long a frame took, on standard error."""
        stream = self.stream.describe()["stream"]
        p50, p95, p99 = np.percentile([1000 * one for one in self.seconds], [50, 95, 99])
        print(
            f"{kinds.count_words(len(self.seconds), 'frame')}: {p50:.1f} ms (median), "
            f"{p95:.1f} ms (95 %), {p99:.1f} ms (99 %) a frame; final after "
            f"{kinds.count_words(stream['final_after_frames'], 'frame')}; "
            f"{stream['state_bytes'] / 1e6:.1f} MB of state",
            file=sys.stderr,
        )
