"""A function's kernels as one CUDA graph: the same numbers, without the time that launches take."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

WARM = 3  # calls before a capture, so that libraries have chosen their kernels
MOST = 8  # so many shapes are kept, the last ones used: each has memory of its own


class CudaGraphs:
    """`function`, for inference on a GPU: captured once for each shape; elsewhere as it is.

    function: of tensors, lists of tensors and plain values; waits for no device, and does the same
    operations whatever the numbers in its tensors are, as CoTracker.refine does (by test).
    module: whose parameters it reads; where they move, all graphs are dropped.

    What it returns is copied, so that the next call does not write over it.  The last few shapes
    keep their memory for as long as this object lives.
    """

    def __init__(self, function: Callable, module: nn.Module):
        self.function, self.module = function, module
        self._held, self._places = {}, ()

    def __call__(self, *arguments):
        tensors = tensors_of(arguments)
        if torch.is_grad_enabled() or not tensors or tensors[0].device.type != "cuda":
            return self.function(*arguments)
        with torch.cuda.device(tensors[0].device):
            return self._replay(arguments, tensors)

    def _replay(self, arguments: tuple, tensors: list[Tensor]):
        plain = tuple(value for value in arguments if not isinstance(value, Tensor | list))
        key = (
            torch.is_inference_mode_enabled(),
            plain,
            tuple((tuple(tensor.shape), tensor.dtype, tensor.device) for tensor in tensors),
        )
        self._forget_moved()
        graph, places, answer = last_used(self._held, key, lambda: self._capture(arguments))
        for place, tensor in zip(places, tensors, strict=True):
            place.copy_(tensor)
        graph.replay()
        return mapped(answer, torch.clone)

    def _forget_moved(self) -> None:
        """Graphs read where the parameters were."""
        places = tuple((p.data_ptr(), p.dtype) for p in self.module.parameters())
        if places != self._places:
            self._held.clear()
            self._places = places

    def _capture(self, arguments: tuple) -> tuple[torch.cuda.CUDAGraph, list[Tensor], object]:
        arguments = mapped(arguments, torch.clone)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM):
                self.function(*arguments)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # thread_local: another thread may pin batches meanwhile
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            answer = self.function(*arguments)
        return graph, tensors_of(arguments), answer


def last_used(held: dict, key: tuple, capture: Callable[[], tuple]) -> tuple:
    """held[key], captured where it is not there; of others the MOST - 1 last used stay."""
    if key not in held:
        while len(held) >= MOST:
            held.pop(next(iter(held)))
        held[key] = capture()
    held[key] = held.pop(key)  # to the end
    return held[key]


def mapped(value, change: Callable[[Tensor], Tensor]):
    """The same value with every tensor in it changed; tuples, named ones too, and lists stay."""
    if isinstance(value, Tensor):
        return change(value)
    if not isinstance(value, tuple | list):
        return value
    parts = [mapped(part, change) for part in value]
    return type(value)(parts) if type(value) in (tuple, list) else type(value)._make(parts)


def tensors_of(value) -> list[Tensor]:
    """All tensors in a value, tuples and lists included, in order."""
    found = []
    mapped(value, lambda tensor: found.append(tensor) or tensor)
    return found
