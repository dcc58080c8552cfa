"""Times of whole runs and of stages, beside the machine's own matrix peak: `cotracker bench`.

Each setting runs in a process of its own, `python -m cotracker.profiling.bench JSON`, so that the
peak memory is that setting's alone: of the whole process on a CPU, of PyTorch's allocations on a
GPU. Operations are counted from the shapes (flops.py).
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
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cotracker.data.video import open_video, write_video
from cotracker.model.correlation import correlate
from cotracker.model.cotracker3 import CoTracker3
from cotracker.model.hardware import device_name
from cotracker.model.windowed import WindowedNetwork
from cotracker.profiling import flops
from cotracker.profiling.live import measure_streams
from cotracker.profiling.machine import matrix_peak, now, peak_memory
from cotracker.profiling.setting import (
    MovingNoise,
    Setting,
    make_model,
    make_other,
    make_queries,
    make_tracker,
    make_video,
)

STAGES = ("decode", "encode", "correlate", "transform", "stitch")


def measure_in_process(setting: Setting) -> list[dict]:
    """The rows of one setting, from a process of its own; ValueError with its last line."""
    values = json.dumps(dataclasses.asdict(setting))
    done = subprocess.run(
        [sys.executable, "-m", "cotracker.profiling.bench", values],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(setting.threads)},
    )
    if done.returncode:
        failed = f"exit code {done.returncode}, perhaps out of memory"
        lines = done.stderr.strip().splitlines() or [failed]
        raise ValueError(
            f"{setting.kind}, {setting.points} points, could not be measured: {lines[-1]}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def measure(setting: Setting) -> list[dict]:
    """The rows of one setting, measured in this process: one, or one a stage."""
    torch.set_num_threads(setting.threads)
    if setting.kind == "stream":
        return measure_streams(setting)
    with torch.inference_mode():
        return measure_stages(setting) if setting.kind == "stages" else [measure_run(setting)]


def measure_run(setting: Setting) -> dict:
    """One row: a whole run of a loaded model from frames to Tracks.

    Of other systems than CoTracker operations are not counted.
    """
    other = setting.tracker != "cotracker"
    model, video = None if other else make_model(setting), make_video(setting)
    tracker = make_other(setting) if other else make_tracker(setting, model)
    queries = make_queries(setting)
    setting = dataclasses.replace(setting, frames=video.shape[1])
    sets = queries.split(1, dim=1) if setting.kind == "alone" else [queries]

    def run() -> None:
        for one in sets:
            tracker(video, one)

    operations = 0 if other else _operations(setting, model)
    return dataclasses.asdict(setting) | _time(run, operations, setting)


def measure_stages(setting: Setting) -> list[dict]:
    """Rows of one window's stages: decode and encode a frame, one iteration's parts, stitch."""
    model, video, queries = make_model(setting), make_video(setting), make_queries(setting)
    length = min(model.window, video.shape[1])
    maps = model.encode(video[:, :length], 1)
    cells = queries[:, None, :, 1:].expand(-1, length, -1, -1) / model.stride
    shape, device = (setting.points, length), cells.device
    look_up = make_look_up(model, maps, cells)
    inputs = model.transformer.embed.in_features
    tokens = torch.randn(1, length, setting.points, inputs, device=device)
    tracks = torch.zeros(1, setting.frames, setting.points, 2, device=device)
    active = torch.ones(1, setting.points, dtype=torch.bool, device=device)
    frame = video[:, :1]

    def stitch() -> list[Tensor]:
        part = tracks[:, :length]
        tracks[:, :length] = torch.where(active[:, None, :, None], part, tracks[:, :length])
        half = length // 2
        return [torch.cat([level[:, half:], level[:, :half]], dim=1) for level in maps]

    with tempfile.TemporaryDirectory() as folder:
        decode = _decoder(setting, Path(folder))
        stages = {
            "decode": (decode, 0),
            "encode": (lambda: model.encode(frame), flops.encode(model, setting.size)),
            "correlate": (
                look_up,
                flops.correlate(model, *shape),
            ),
            "transform": (lambda: model.transformer(tokens), flops.transform(model, *shape)),
            "stitch": (stitch, 0),
        }
        values = dataclasses.asdict(setting)
        return [
            values | {"stage": name} | _time(*stages[name], setting, least=0.3) for name in STAGES
        ]


def make_look_up(model: WindowedNetwork, maps: list[Tensor], cells: Tensor) -> Callable:
    """A call of one iteration's correlation at cells B S N 2, of features by chance."""
    (batch, length, points), config = cells.shape[:3], model.config
    if isinstance(model, CoTracker3):
        cells_of_patches = config.levels * model.correlation.query_cells
        shape = batch, points, cells_of_patches, config.channels
        patches = torch.randn(shape, device=cells.device, dtype=model.dtype)
        return lambda: model.correlation(maps, patches, cells)
    features = torch.randn(batch, length, points, config.channels, device=cells.device)
    return lambda: correlate(maps, features, cells, config.neighbourhood, config.radius)


def _operations(setting: Setting, model: WindowedNetwork) -> int:
    """Operations of one whole run."""
    frames, size, iters, points = setting.frames, setting.size, setting.iters, setting.points
    if setting.kind == "joint":
        chunks = -(-points // (setting.points_at_once or points))
        return chunks * flops.run(model, -(-points // chunks), frames, size, iters)
    encodings = points if setting.kind == "alone" else 1
    return flops.run(model, 1 + 36 + 36, frames, size, iters, points, encodings)


def _time(work: Callable, operations: int, setting: Setting, least: float = 0.0) -> dict:
    """Best and median seconds of a call, memory, and the share of the matrix peak.

    Calls shorter than `least` seconds are repeated within a measurement. Without repeats the
    first call is measured, which includes the warm-up.
    """
    device, dtype = torch.device(setting.device), getattr(torch, setting.dtype)
    before = peak_memory(device)
    peaks = [matrix_peak(dtype, device)]
    first = _time_calls(work, 1, device)
    calls = max(1, int(least / max(first[0], 1e-6)))
    times = []
    peaks.append(matrix_peak(dtype, device))
    for _ in range(setting.repeats):
        times.append(_time_calls(work, calls, device))
        peaks.append(matrix_peak(dtype, device))
    seconds, cpu_seconds = zip(*(times or [first]))
    best, peak = min(seconds), max(peaks)
    on_gpu = device.type == "cuda"
    return {
        "seconds": best,
        "median": statistics.median(seconds),
        "cpu_seconds": min(cpu_seconds),
        "frames_per_second": setting.frames / best,
        "gigabytes": peak_memory(device) / 1e9,
        "gigabytes_before": before / 1e9,
        "gflop": operations / 1e9,
        "gflops": operations / best / 1e9,
        "peak_gflops": peak,
        "of_peak": operations / best / 1e9 / peak,
        "load": os.getloadavg()[0],
        "machine": device_name(device.type) + ("" if on_gpu else f", {setting.threads} threads"),
    }


def _time_calls(work: Callable, calls: int, device: torch.device) -> tuple[float, float]:
    """Wall and CPU seconds of one of some calls."""
    begin, begin_cpu = now(device), time.process_time()
    for _ in range(calls):
        work()
    return (now(device) - begin) / calls, (time.process_time() - begin_cpu) / calls


def _decoder(setting: Setting, folder: Path) -> Callable[[], None]:
    """A function that decodes the next frame of the setting's file, or of one made in `folder`.

    After the last frame it starts again.
    """
    path = Path(setting.video) if setting.video else folder / "noise.mp4"
    if not setting.video:
        frames = MovingNoise(48, setting.size, "cpu")[:, :][0].permute(0, 2, 3, 1).numpy()
        write_video(path, (np.ascontiguousarray(frame) for frame in frames), 24.0, setting.size)
    video, number = open_video(path), 0

    def decode() -> None:
        nonlocal number
        if number == video.shape[1]:
            video.close()
            number = 0
        video[:, number : number + 1]
        number += 1

    return decode


if __name__ == "__main__":
    print(json.dumps(measure(Setting(**json.loads(sys.argv[1])))))
