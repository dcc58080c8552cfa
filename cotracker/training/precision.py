"""The precision of products: the dtype of autocast, and of a GPU's float32 products."""

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def allow_tf32(allowed: bool) -> None:
    """Lets a GPU round float32 matrix products and convolutions to 10 bits, or not.

    It holds for the whole process. It is not in train.py because submitit pickles the functions of
    the main file with all that they name, and `torch.backends.cudnn` cannot be pickled.
    """
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
