"""How exact a GPU's float32 products are."""

import torch


def let_tf32(allowed: bool) -> None:
    """Lets matrix products and convolutions of float32 round to 10 bits on a GPU, or not, in this whole process.

    It stands apart from train.py because submitit sends the functions of a main file with all that they name to its
    jobs, and `torch.backends.cudnn` cannot be sent.
    """
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
