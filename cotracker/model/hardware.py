"""What this machine computes on, and what its processor does itself: asked once, here alone."""

import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import torch

INSTRUCTIONS = {  # of a CPU, any of which multiplies this dtype
    torch.bfloat16: {"avx512_bf16", "amx_bf16"},
    torch.float16: {"avx512_fp16", "amx_fp16"},
}
LOWER_LIMITS = set(  # of ONEDNN_MAX_CPU_ISA, which excludes these instructions
    "SSE41 AVX AVX2 AVX2_VNNI AVX2_VNNI_2 AVX512_CORE AVX512_CORE_VNNI".split()
)
BELOW_AVX512 = set("SSE41 AVX AVX2 AVX2_VNNI AVX2_VNNI_2".split())


@contextmanager
def usual_defaults(device_type: str = "cpu") -> Iterator[None]:
    """A block in which the caller's autocast, default dtype and default device change nothing."""
    with ExitStack() as stack:
        if torch.is_autocast_enabled(device_type):
            stack.enter_context(torch.autocast(device_type, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        dtype = torch.get_default_dtype()
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        yield


def best_device() -> str:
    """The kind of device that "auto" names: a GPU of CUDA, or of Apple, where there is one."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def device_name(device_type: str) -> str:
    """What the maker calls the device, as far as it is known."""
    if device_type == "cuda":
        return torch.cuda.get_device_name()
    return "Apple GPU" if device_type == "mps" else _cpu_name()


@cache
def multiplies(dtype: torch.dtype, device_type: str = "cpu") -> bool:
    """Whether the hardware has instructions for products of bfloat16 or float16.

    On a CPU the instruction itself counts: AVX-512 alone emulates.  So do ONEDNN_MAX_CPU_ISA and
    ATEN_CPU_CAPABILITY, by which a user takes instructions away.
    """
    if device_type == "cuda":
        return dtype != torch.bfloat16 or torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu" or _limit() in LOWER_LIMITS or not _aten_has_avx512():
        return False
    return bool(INSTRUCTIONS[dtype] & _instructions())


@cache
def has_avx512() -> bool:
    """Whether PyTorch and oneDNN compute with AVX-512 on this CPU."""
    return _aten_has_avx512() and _limit() not in BELOW_AVX512


def choose_precision(precision: str, device_type: str) -> str:
    """The precision, "auto" resolved: bfloat16 where the hardware multiplies it, else float32.

    Warns in one sentence where the precision is emulated on this CPU.
    """
    if precision == "auto":
        return "bfloat16" if multiplies(torch.bfloat16, device_type) else "float32"
    if device_type == "cpu" and precision != "float32" and not multiplies(_dtype(precision)):
        warnings.warn(
            f"{precision} is emulated on this processor and slower than float32: "
            "choose precision auto or float32",
            stacklevel=3,
        )
    return precision


def _dtype(precision: str) -> torch.dtype:
    return getattr(torch, precision)


def _limit() -> str:
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    return limit.upper()


def _aten_has_avx512() -> bool:
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")


@cache
def _instructions() -> set[str]:
    """The names of the processor's instructions, as PyTorch or else Linux knows them."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        return {name for name, there in capabilities().items() if there is True}
    return set(_cpuinfo("flags").split())


def _cpu_name() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    """A value of Linux's description of the first processor; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(found, "")
