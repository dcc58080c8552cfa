"""Measures of the machine and of this process: matrix peak, memory peak, clock."""

import resource
import sys
import time
from pathlib import Path

import torch


def matrix_peak(
    dtype: torch.dtype, device: torch.device, side: int | None = None, repeats: int = 5
) -> float:
    """GFLOP/s of the fastest of some square matrix products of 2048, or 8192 on a GPU."""
    side = side or (8192 if device.type == "cuda" else 2048)
    a = torch.randn(side, side, device=device).to(dtype)
    a @ a
    seconds = []
    for _ in range(repeats):
        begin = now(device)
        a @ a
        seconds.append(now(device) - begin)
    return 2 * side**3 / min(seconds) / 1e9


def peak_memory(device: torch.device) -> int:
    """Peak bytes so far: allocated by PyTorch on a GPU, resident of this process on a CPU.

    Linux passes ru_maxrss on from the parent process; VmHWM is this process's own.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return 1024 * int(lines["VmHWM"].split()[0])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak_memory(device: torch.device) -> None:
    """Lets peak_memory count from here on; on a CPU under Linux alone."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def now(device: torch.device) -> float:
    """Seconds of a clock, after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
