"""Measures of the machine and of this process: matrix peak, memory peak, clock."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

SIDES = {False: (768, 1024, 1536, 2048), True: (4096, 8192)}  # of products; True: on a GPU


def now(device: torch.device) -> float:
    """Seconds of a clock, after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def cpu_now(device: torch.device) -> float:
    """Seconds that this process has computed: of one thread, steady beside other work."""
    return time.process_time()


Clock = Callable[[torch.device], float]


def matrix_peak(
    dtype: torch.dtype, device: torch.device, repeats: int = 5, clock: Clock = now
) -> float:
    """GFLOP/s of the fastest of some square matrix products of several sizes.

    No one size is the fastest on every processor, or in every layout of the memory.
    """
    sides = SIDES[device.type == "cuda"]
    return max(_product_rate(side, dtype, device, repeats, clock) for side in sides)


def _product_rate(
    side: int, dtype: torch.dtype, device: torch.device, repeats: int, clock: Clock
) -> float:
    a = torch.randn(side, side, device=device).to(dtype)
    a @ a
    seconds = []
    for _ in range(repeats):
        begin = clock(device)
        a @ a
        seconds.append(clock(device) - begin)
    return 2 * side**3 / min(seconds) / 1e9


def peak_memory(device: torch.device) -> int:
    """Peak bytes so far: allocated by PyTorch on a GPU, resident of this process on a CPU.

    Neither Linux's ru_maxrss is a process's own, which it passes on to children, nor does psutil
    tell a peak but on Windows; where no system tells it, it is what is resident now.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return 1024 * int(lines["VmHWM"].split()[0])
    memory = psutil.Process().memory_info()
    return getattr(memory, "peak_wset", memory.rss)


def reset_peak_memory(device: torch.device) -> None:
    """Lets peak_memory count from here on; on a CPU under Linux alone."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")
