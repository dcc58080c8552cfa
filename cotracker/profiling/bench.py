"""Stages and whole runs timed, beside the machine's own matrix peak of the same minute: `cotracker bench`.

Each setting is measured in a process of its own, `python -m cotracker.profiling.bench JSON`, whose peak memory is then that
setting's alone: of the whole process on a CPU, of what PyTorch allocated on a GPU. Operations are counted from the
shapes (model/flops.py); the peak is the best of many 2048 x 2048 products at the same dtype and threads.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cotracker import checkpoint
from cotracker.data.video import open_video, write_video
from cotracker.model.correlation import correlate
from cotracker.model.cotracker import CoTracker
from cotracker.model.runtime import compile_transformer
from cotracker.profiling import flops
from cotracker.profiling.machine import matrix_peak, now, peak_memory
from cotracker.trackers.cotracker import build_chain, in_precision
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.wrappers import Chunked, Resized
from cotracker.types import Tracks, Video

KINDS = ("joint", "single", "alone", "stages")
STAGES = ("decode", "encode", "correlate", "transform", "stitch")
FULL = "full"  # the paper's model with random weights; other models are checkpoints


@dataclass(frozen=True)
class Setting:
    """What is measured. joint: all points together. single: the single-point protocol with 6x6 + 6x6 support points.

    alone: the same, but each query by itself with its own encoding of the video. stages: parts of a joint run.
    """

    kind: str = "joint"
    model: str = FULL
    points: int = 256
    frames: int = 24
    height: int = 384
    width: int = 512
    dtype: str = "float32"
    threads: int = 2
    device: str = "cpu"
    iters: int = 6
    repeats: int = 3
    compiled: bool = False
    cuda_graphs: bool = False  # windows as CUDA graphs
    video: str | None = None  # a file; else frames are drawn
    points_at_once: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width


def in_own_process(setting: Setting) -> list[dict]:
    """The rows of one setting, from a process that measures nothing else; ValueError with its last line if it fails."""
    command = [
        sys.executable,
        "-m",
        "cotracker.profiling.bench",
        json.dumps(dataclasses.asdict(setting)),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(setting.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [
            f"exit code {done.returncode}, perhaps for want of memory"
        ]
        raise ValueError(
            f"{setting.kind}, {setting.points} points, could not be measured: {said[-1]}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def measure(setting: Setting) -> list[dict]:
    """The rows of one setting, measured in this process: one, or one a stage."""
    torch.set_num_threads(setting.threads)
    with torch.inference_mode():
        return measure_stages(setting) if setting.kind == "stages" else [measure_run(setting)]


def measure_run(setting: Setting) -> dict:
    """One row: a whole run from frames to Tracks, the model being there already."""
    model, video = make_model(setting), make_video(setting)
    tracker, queries = make_tracker(setting, model), make_queries(setting)
    setting = dataclasses.replace(setting, frames=video.shape[1])
    counted = _counted(setting, model)
    return dataclasses.asdict(setting) | _timed(
        lambda: _answer(setting, tracker, video, queries), counted, setting
    )


def measure_stages(setting: Setting) -> list[dict]:
    """Rows of the stages of one window: decode and encode a frame, correlate and transform an update, stitch."""
    model, length = make_model(setting), min(setting.frames, 8)
    video, queries = make_video(setting), make_queries(setting)
    length = min(model.window, video.shape[1])
    maps = model.encode(video[:, :length], 1)
    cells = queries[:, None, :, 1:].expand(-1, length, -1, -1) / model.stride
    features = torch.randn(1, length, setting.points, model.config.channels, device=cells.device)
    tokens = torch.randn(
        1, length, setting.points, model.transformer.embed.in_features, device=cells.device
    )
    whole = torch.zeros(1, setting.frames, setting.points, 2, device=cells.device)
    asked = torch.ones(1, setting.points, dtype=torch.bool, device=cells.device)
    frame = video[:, :1]

    def stitch() -> list[Tensor]:
        part = whole[:, :length]
        whole[:, :length] = torch.where(asked[:, None, :, None], part, whole[:, :length])
        return [
            torch.cat([level[:, length // 2 :], level[:, : length // 2]], dim=1) for level in maps
        ]

    counted = (setting.points, length)
    with tempfile.TemporaryDirectory() as folder:
        decode = _decoder(setting, Path(folder))
        stages = {
            "decode": (decode, 0),
            "encode": (lambda: model.encode(frame), flops.encode(model, setting.size)),
            "correlate": (
                lambda: correlate(maps, features, cells, model.config.neighbourhood, model.config.radius),
                flops.correlate(model, *counted),
            ),
            "transform": (lambda: model.transformer(tokens), flops.transform(model, *counted)),
            "stitch": (stitch, 0),
        }
        said = dataclasses.asdict(setting)
        return [
            said | {"stage": name} | _timed(*stages[name], setting, least=0.3) for name in STAGES
        ]


def make_model(setting: Setting) -> CoTracker:
    """The network to measure: the paper's with random weights, or a checkpoint's."""
    torch.manual_seed(0)
    model = (
        CoTracker()
        if setting.model == FULL
        else checkpoint.load_model(checkpoint.find(setting.model))
    )
    if setting.compiled:
        compile_transformer(model)
    return in_precision(model.eval().to(setting.device), setting.dtype)


def make_video(setting: Setting) -> Video:
    """The file of the setting, resized, or frames that are drawn when they are read."""
    if setting.video is None:
        return Drawn(setting.frames, setting.size, setting.device)
    return _Moved(open_video(setting.video), setting.device)


def make_queries(setting: Setting) -> Tensor:
    """Queries 1 N 3 on the first frame, at random places."""
    rng = torch.Generator().manual_seed(0)
    size = setting.size if setting.video is None else open_video(setting.video).shape[-2:]
    xy = torch.rand(1, setting.points, 2, generator=rng) * torch.tensor(
        [size[1] - 1.0, size[0] - 1.0]
    )
    return torch.cat([torch.zeros(1, setting.points, 1), xy], dim=-1).to(setting.device)


def make_tracker(setting: Setting, model: CoTracker) -> Tracker:
    """The chain of the setting's kind."""
    single = setting.kind == "single"
    support = None if setting.kind == "joint" else (6, 6)
    tracker = build_chain(
        model, setting.iters, None, single, support, cuda_graphs=setting.cuda_graphs
    )
    if setting.points_at_once is not None:
        tracker = Chunked(tracker, setting.points_at_once)
    return tracker if setting.video is None else Resized(tracker, setting.size)


def _answer(
    setting: Setting, tracker: Tracker, video: Video, queries: Tensor
) -> Tracks | list[Tracks]:
    if setting.kind != "alone":
        return tracker(video, queries)
    return [tracker(video, one) for one in queries.split(1, dim=1)]


def _counted(setting: Setting, model: CoTracker) -> int:
    """Operations of one whole run."""
    frames, size, iters, points = setting.frames, setting.size, setting.iters, setting.points
    if setting.kind == "joint":
        turns = -(-points // (setting.points_at_once or points))
        return turns * flops.run(model, -(-points // turns), frames, size, iters)
    return flops.run(
        model, 1 + 36 + 36, frames, size, iters, points, points if setting.kind == "alone" else 1
    )


def _timed(work: Callable, counted: int, setting: Setting, least: float = 0.0) -> dict:
    """Best and median seconds of a call, and what follows; calls shorter than `least` seconds are made many times.

    With no repeats the first call, of a network not warmed up, is what is measured.
    """
    device, dtype = torch.device(setting.device), getattr(torch, setting.dtype)
    held, begin, begin_cpu = peak_memory(device), now(device), time.process_time()
    work()
    first, first_cpu = now(device) - begin, time.process_time() - begin_cpu
    calls = max(1, int(least / max(first, 1e-6)))
    seconds, cpu = ([], []) if setting.repeats else ([first], [first_cpu])
    peaks = [matrix_peak(dtype, device)]
    for _ in range(setting.repeats):
        begin, begin_cpu = now(device), time.process_time()
        for _ in range(calls):
            work()
        seconds.append((now(device) - begin) / calls)
        cpu.append((time.process_time() - begin_cpu) / calls)
        peaks.append(matrix_peak(dtype, device))
    best, peak = min(seconds), max(peaks)
    return {
        "seconds": best,
        "median": statistics.median(seconds),
        "cpu_seconds": min(cpu),
        "frames_per_second": setting.frames / best,
        "gigabytes": peak_memory(device) / 1e9,
        "gigabytes_before": held / 1e9,
        "gflop": counted / 1e9,
        "gflops": counted / best / 1e9,
        "peak_gflops": peak,
        "of_peak": counted / best / 1e9 / peak,
        "load": os.getloadavg()[0],
        "machine": torch.cuda.get_device_name()
        if device.type == "cuda"
        else f"CPU, {setting.threads} threads",
    }


class Drawn:
    """A Video of smooth noise that slides by two pixels a frame, drawn when it is read."""

    def __init__(self, frames: int, size: tuple[int, int], device: str):
        self.shape = (1, frames, 3, *size)
        coarse = torch.rand(
            1, 3, -(-size[0] // 8), -(-size[1] // 8), generator=torch.Generator().manual_seed(0)
        )
        self._picture = (
            (255 * torch.nn.functional.interpolate(coarse, size, mode="bilinear"))[0]
            .byte()
            .to(device)
        )

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        wanted = range(self.shape[1])[index[1]]
        return torch.stack([self._picture.roll(2 * frame, dims=-1) for frame in wanted])[None]


class _Moved:
    """A video whose frames come on a device."""

    def __init__(self, video: Video, device: str):
        self._video, self._device, self.shape = video, device, video.shape

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        return self._video[index].to(self._device)


def _decoder(setting: Setting, folder: Path) -> Callable[[], None]:
    """A function that decodes the next frame of the setting's file, or of a written one; it begins anew at the end."""
    path = Path(setting.video) if setting.video else folder / "drawn.mp4"
    if not setting.video:
        frames = Drawn(48, setting.size, "cpu")[:, :][0].permute(0, 2, 3, 1).numpy()
        write_video(path, (np.ascontiguousarray(frame) for frame in frames), 24.0, setting.size)
    video, place = open_video(path), [0]

    def decode() -> None:
        if place[0] == video.shape[1]:
            video.close()
            place[0] = 0
        video[:, place[0] : place[0] + 1]
        place[0] += 1

    return decode


if __name__ == "__main__":
    print(json.dumps(measure(Setting(**json.loads(sys.argv[1])))))
