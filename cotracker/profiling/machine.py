"""What this machine can do and what this process holds: the measures that a bench and a plan stand on."""

import resource
import sys
import time
from pathlib import Path

import torch


def matrix_peak(
    dtype: torch.dtype, device: torch.device, side: int | None = None, repeats: int = 5
) -> float:
    """GFLOP/s of the fastest of some square matrix products; side: 2048, or 8192 to fill a GPU."""
    side = side or (8192 if device.type == "cuda" else 2048)
    a = torch.randn(side, side, device=device).to(dtype)
    a @ a
    taken = []
    for _ in range(repeats):
        begin = now(device)
        a @ a
        taken.append(now(device) - begin)
    return 2 * side**3 / min(taken) / 1e9


def peak_memory(device: torch.device) -> int:
    """Bytes held at most so far: by PyTorch on a GPU, by this process on a CPU.

    Linux hands ru_maxrss on from the process that started this one; VmHWM is this one's own.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return 1024 * int(lines["VmHWM"].split()[0])
    return (1 if sys.platform == "darwin" else 1024) * resource.getrusage(
        resource.RUSAGE_SELF
    ).ru_maxrss


def now(device: torch.device) -> float:
    """Seconds of a clock, once the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
