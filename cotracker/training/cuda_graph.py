"""Forward and backward pass of a step as one CUDA graph a shape, for one GPU.

The iterations of a window are hundreds of small kernels; launching them one by one takes twice as
long as running them (docs/speed.md). All that is random is in the targets, so that the rest is the
same operations for all targets of one shape.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cotracker.model.cuda_graphs import last_used, mapped, tensors_of
from cotracker.training.objective import Objective
from cotracker.training.targets import TrainingTargets


class GraphedStep:
    """step(targets) -> loss and scalars, as the objective's; gradients are set, not added to.

    The next call overwrites the results. The first call of a shape takes seconds and captures it.
    All graphs share the memory of the largest; the last few shapes are kept.
    dtype: of autocast.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        parameters: Sequence[Tensor],
        dtype: torch.dtype,
    ):
        self.model = model
        self.objective = objective
        self.parameters = list(parameters)
        self.dtype = dtype
        self._graphs, self._pool, self._stream = {}, None, None

    def __call__(self, targets: TrainingTargets) -> tuple[Tensor, dict[str, Tensor]]:
        tensors = tensors_of(targets)
        shapes = tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors)
        key = targets.late_window is None, shapes
        graph, inputs, outputs, gradients = last_used(
            self._graphs, key, lambda: self._capture(targets)
        )
        for own, tensor in zip(inputs, tensors, strict=True):
            own.copy_(tensor)
        graph.replay()
        for parameter, gradient in zip(self.parameters, gradients):
            parameter.grad = gradient
        return outputs

    def _capture(self, targets: TrainingTargets) -> tuple:
        targets = mapped(targets, torch.clone)
        self._stream = self._stream or torch.cuda.Stream()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._forward_backward(targets)  # so that libraries have chosen their kernels
        torch.cuda.current_stream().wait_stream(self._stream)
        self._drop_gradients()
        graph = torch.cuda.CUDAGraph()
        mode = "thread_local"  # another thread pins batches meanwhile
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode=mode):
            outputs = self._forward_backward(targets)
        gradients = [parameter.grad for parameter in self.parameters]
        self._drop_gradients()
        return graph, tensors_of(targets), outputs, gradients

    def _forward_backward(self, targets: TrainingTargets) -> tuple[Tensor, dict[str, Tensor]]:
        enabled = self.dtype != torch.float32
        with torch.autocast(targets.video.device.type, self.dtype, enabled=enabled):
            loss, scalars = self.objective.loss(self.model, targets)
        loss.backward()
        return loss.detach(), scalars

    def _drop_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None
