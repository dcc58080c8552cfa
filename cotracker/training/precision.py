"""How exact products are: the dtype of autocast, and a GPU's float32 products."""

import torch

from cotracker.model.hardware import choose_precision


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of autocast; "auto" is bfloat16 where the hardware has it, else float32."""
    return getattr(torch, choose_precision(precision, device.type))


def allow_tf32(allowed: bool) -> None:
    """Lets a GPU round float32 matrix products and convolutions to 10 bits, or not.

    It holds for the whole process. It is not in train.py because submitit pickles the functions of
    the main file with all that they name, and `torch.backends.cudnn` cannot be pickled.
    """
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
