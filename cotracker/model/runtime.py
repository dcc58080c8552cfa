"""What this machine's processor can do: the ways that exist for speed, and not for meaning, ask here."""

import os
import warnings
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


@cache
def multiplies(dtype: torch.dtype, device_type: str = "cpu") -> bool:
    """Whether the hardware has instructions for products of bfloat16 or float16, and need not emulate them.

    On a CPU the instruction itself counts: AVX-512 alone emulates.  So do ONEDNN_MAX_CPU_ISA and
    ATEN_CPU_CAPABILITY, by which a user takes instructions away.
    """
    if device_type == "cuda":
        return dtype != torch.bfloat16 or torch.cuda.is_bf16_supported(including_emulation=False)
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    if limit.upper() in LOWER_LIMITS or torch.backends.cpu.get_cpu_capability() in (
        "DEFAULT",
        "AVX2",
    ):
        return False
    return device_type == "cpu" and bool(INSTRUCTIONS[dtype] & _instructions())


def warn_if_emulated(dtype: torch.dtype, device_type: str) -> None:
    """Says in one sentence that products of this dtype are emulated on this CPU, where they are."""
    if device_type != "cpu" or dtype == torch.float32 or multiplies(dtype):
        return
    name = str(dtype).removeprefix("torch.")
    warnings.warn(
        f"{name} is emulated on this processor and slower than float32: choose precision float32",
        stacklevel=3,
    )


def _instructions() -> set[str]:
    """The names of the processor's instructions, as PyTorch or else Linux knows them."""
    if hasattr(torch.cpu, "get_capabilities"):
        return {name for name, there in torch.cpu.get_capabilities().items() if there is True}
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return set(next((line for line in lines if line.startswith("flags")), "").split())
