"""Times of streams, frame by frame: `cotracker bench --stream`."""

import dataclasses
import os
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from cotracker.profiling.machine import now
from cotracker.profiling.setting import Setting, make_model, make_queries, make_tracker, make_video
from cotracker.trackers.stream import Stream

MODES = {  # name: settings of tracker.stream
    "window": {},
    "window, final answers alone": {"provisional": False},
    "frame": {"mode": "frame"},
}


def measure_streams(setting: Setting) -> list[dict]:
    """A row a mode: milliseconds a frame (p50, p95, mean), in all, of the encoder, and without it.

    The modes take turns at each frame, so that what else the machine does meets all of them.  The
    first window's frames warm up and are not counted.
    """
    model, video = make_model(setting), make_video(setting)
    tracker, queries = make_tracker(setting, model), make_queries(setting)[0].cpu()
    streams = {name: tracker.stream(queries, **words) for name, words in MODES.items()}
    times = {name: [] for name in MODES}
    with _timed_encoder(model, torch.device(setting.device)) as take:
        for number in range(video.shape[1]):
            frame = video[:, number : number + 1]
            for name, stream in streams.items():
                times[name].append(_time_push(stream, frame, take))
    warm = min(model.window, video.shape[1] - 1)
    common = dataclasses.asdict(setting) | {"load": os.getloadavg()[0]}
    return [common | _row(name, streams[name], times[name][warm:]) for name in MODES]


def _time_push(stream: Stream, frame: torch.Tensor, take: Callable) -> tuple[float, float]:
    """Seconds of a push, and of the encoder in it."""
    device = stream.tracker.device
    begin = now(device)
    stream.push(frame)
    return now(device) - begin, take()


@contextmanager
def _timed_encoder(model: nn.Module, device: torch.device):
    """Gives a function that returns the encoder's seconds since it was called last."""
    encode, spent = model.encode, [0.0]

    def timed(*arguments):
        begin = now(device)
        maps = encode(*arguments)
        spent[0] += now(device) - begin
        return maps

    def take() -> float:
        seconds, spent[0] = spent[0], 0.0
        return seconds

    model.encode = timed
    try:
        yield take
    finally:
        del model.encode


def _row(name: str, stream: Stream, times: list[tuple[float, float]]) -> dict:
    total, encoder = 1000 * np.array(times).T
    told = stream.describe()["stream"]
    return {
        "mode": name,
        "total_ms": _percentiles(total),
        "encoder_ms": _percentiles(encoder),
        "rest_ms": _percentiles(total - encoder),
        "answered_after_frames": told["answered_after_frames"],
        "final_after_frames": told["final_after_frames"],
        "state_bytes": told["state_bytes"],
    }


def _percentiles(values: np.ndarray) -> dict[str, float]:
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": float(p50), "p95": float(p95), "mean": float(values.mean())}


def format_streams(rows: list[dict]) -> str:
    """One line a row: latency in frames, milliseconds a frame (p50, p95, mean), memory."""
    lines = [
        f"{'mode':<28} {'points':>6} {'size':>9} {'answer':>6} {'final':>5} "
        f"{'total ms':>20} {'encoder ms':>20} {'without it':>20} {'state MB':>8} {'load':>5}"
    ]
    for row in rows:
        parts = (row["total_ms"], row["encoder_ms"], row["rest_ms"])
        told = " ".join(f"{p['p50']:6.1f} {p['p95']:6.1f} {p['mean']:6.1f}" for p in parts)
        lines.append(
            f"{row['mode']:<28} {row['points']:6d} {row['height']:4d}x{row['width']:<4d} "
            f"{row['answered_after_frames']:6d} {row['final_after_frames']:5d} {told} "
            f"{row['state_bytes'] / 1e6:8.1f} {row['load']:5.1f}"
        )
    lines.append("ms: median, 95th percentile, mean; answer, final: after how many frames")
    return "\n".join(lines)
