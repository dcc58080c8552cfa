"""A step's forward and backward pass as one CUDA graph a shape: for one GPU that would else wait for its launches.

A window's updates are hundreds of small kernels; launching them one by one takes twice as long as they do
(docs/speed.md). All that is random in a step is drawn before (Objective.posed), so that the rest is the same operations
for all batches of one shape.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cotracker.model.cuda_graphs import last_used, mapped, tensors_of
from cotracker.training.objective import Objective, Posed
from cotracker.types import Clip

POINTS = 512  # clips are padded to a multiple of so many points, so that there are few shapes


class GraphedStep:
    """step(clip) -> loss and scalars, as the objective's; the parameters' gradients are set, not added to.

    What comes out is written over by the next call. A shape's first call takes seconds and captures it. All captured
    steps share memory, so that it is the largest one's; the last few shapes are kept. dtype: of autocast.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        parameters: Sequence[Tensor],
        dtype: torch.dtype,
    ):
        self.model, self.objective, self.parameters, self.dtype = (
            model,
            objective,
            list(parameters),
            dtype,
        )
        self._held, self._pool, self._stream = {}, None, None

    def __call__(self, clip: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        posed = self.objective.posed(padded(clip), self.model.window)
        tensors = tensors_of(posed)
        key = posed.handed is None, tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors)
        graph, places, answer, gradients = last_used(self._held, key, lambda: self._captured(posed))
        for place, tensor in zip(places, tensors, strict=True):
            place.copy_(tensor)
        graph.replay()
        for parameter, gradient in zip(self.parameters, gradients):
            parameter.grad = gradient
        return answer

    def _captured(self, posed: Posed) -> tuple:
        posed = mapped(posed, torch.clone)
        self._stream = self._stream or torch.cuda.Stream()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._work(posed)  # so that libraries have chosen their kernels
        torch.cuda.current_stream().wait_stream(self._stream)
        self._forget()
        graph, own = torch.cuda.CUDAGraph(), "thread_local"  # another thread pins batches meanwhile
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode=own):
            answer = self._work(posed)
        gradients = [parameter.grad for parameter in self.parameters]
        self._forget()
        return graph, tensors_of(posed), answer, gradients

    def _work(self, posed: Posed) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(
            posed.video.device.type, self.dtype, enabled=self.dtype != torch.float32
        ):
            loss, scalars = self.objective.computed(self.model, posed)
        loss.backward()
        return loss.detach(), scalars

    def _forget(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


def padded(clip: Clip) -> Clip:
    """The collated clip with points that count for nothing at the end, up to a multiple of POINTS."""
    missing = -clip.tracks.shape[2] % POINTS

    def more(values: Tensor) -> Tensor:
        return torch.cat(
            [values, values.new_zeros(*values.shape[:2], missing, *values.shape[3:])], dim=2
        )

    return Clip(clip.video, more(clip.tracks), more(clip.visible), more(clip.valid), seed=clip.seed)
