"""What a GPU would be waited for, found on a CPU."""

from torch.utils._python_dispatch import TorchDispatchMode


class Waits(TorchDispatchMode):
    """Notes what a GPU would be waited for: numbers read from it, and lists sent to it."""

    WAITING = (
        "_local_scalar_dense",
        "item",
        "nonzero",
        "masked_select",
        "lift_fresh",
        "_unique2",
        "equal",
        "is_nonzero",
    )

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().split("::")[1].split(".")[0]
        if name in self.WAITING:
            self.found.append(name)
        return func(*args, **(kwargs or {}))
