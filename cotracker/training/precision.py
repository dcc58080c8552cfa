"""How exact products are: the dtype of autocast, and a GPU's float32 products."""

import torch

from cotracker.model.runtime import multiplies, warn_if_emulated

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of autocast on this device; "auto" is bfloat16 where the hardware has it, else float32."""
    if precision == "auto":
        return torch.bfloat16 if multiplies(torch.bfloat16, device.type) else torch.float32
    warn_if_emulated(DTYPES[precision], device.type)
    return DTYPES[precision]


def let_tf32(allowed: bool) -> None:
    """Lets matrix products and convolutions of float32 round to 10 bits on a GPU, or not, in this whole process.

    It stands apart from train.py because submitit sends the functions of a main file with all that they name to its
    jobs, and `torch.backends.cudnn` cannot be sent.
    """
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
