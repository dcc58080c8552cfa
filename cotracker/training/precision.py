"""How exact products are: the dtype of autocast, and a GPU's float32 products."""

import torch

from cotracker.model.runtime import multiplies, warn_if_emulated

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of autocast; "auto" is bfloat16 where the hardware has it, else float32."""
    if precision == "auto":
        return torch.bfloat16 if multiplies(torch.bfloat16, device.type) else torch.float32
    warn_if_emulated(DTYPES[precision], device.type)
    return DTYPES[precision]


def allow_tf32(allowed: bool) -> None:
    """Lets a GPU round float32 matrix products and convolutions to 10 bits, or not.

    It holds for the whole process. It is not in train.py because submitit pickles the functions of
    the main file with all that they name, and `torch.backends.cudnn` cannot be pickled.
    """
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
