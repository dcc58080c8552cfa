"""The trained parts of a run: the model, its objective and the optimiser."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cotracker.model.cotracker import CoTracker
from cotracker.model.runtime import compile_transformer
from cotracker.training.config import ObjectiveConfig, TrainConfig
from cotracker.training.cuda_graph import GraphedStep
from cotracker.training.distributed import Group
from cotracker.training.objective import Objective
from cotracker.training.optim import Optimiser, freeze_except
from cotracker.training.precision import dtype_of
from cotracker.training.targets import TrainingTargets


@dataclass(frozen=True)
class Parts:
    """What a run trains, and all of its state but its progress."""

    model: CoTracker
    objective: Objective
    optimiser: Optimiser

    def state_dict(self, bfloat16_moments: bool = False) -> dict:
        """Tensors and plain values by the names of the parts."""
        return {
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(bfloat16_moments),
        }

    def load_state_dict(self, state: dict, schedule: bool = True) -> None:
        """Loads all of it; schedule=False keeps the optimiser's own schedule and rate."""
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"], schedule)


def build_parts(
    model: CoTracker, objective: ObjectiveConfig, config: TrainConfig, group: Group
) -> Parts:
    """The parts on the group's device."""
    if config.cuda_graphs and (group.device.type != "cuda" or group.world > 1):
        raise ValueError("train.cuda_graphs=true needs a GPU and one process: leave it out here")
    if objective.confidence_weight and not model.has_confidence:
        raise ValueError(
            "objective.confidence_weight needs a network with confidence: "
            "set it to 0, or choose model=cotracker3_online"
        )
    model = model.to(group.device)
    loss = Objective(objective).to(group.device)
    if objective.points == 0:  # only the encoder takes part in the matching loss
        freeze_except(model, ["encoder"])
    if config.trainable is not None:
        freeze_except(model, config.trainable)
    if config.compile:
        compile_transformer(model)
    return Parts(model, loss, Optimiser([model, loss], config))


class Trainee(nn.Module):
    """The model and its objective as one module, so that DDP sees one forward: targets -> loss."""

    def __init__(self, parts: Parts, dtype: torch.dtype):
        super().__init__()
        self.model, self.objective, self.dtype = parts.model, parts.objective, dtype

    def forward(self, targets: TrainingTargets) -> tuple[Tensor, dict[str, Tensor]]:
        enabled = self.dtype != torch.float32
        with torch.autocast(targets.video.device.type, self.dtype, enabled=enabled):
            return self.objective(self.model, targets)


class Gradients:
    """add(targets, …) -> scalars: adds the gradient of a batch's loss to the parameters'."""

    def __init__(self, parts: Parts, config: TrainConfig, group: Group):
        self.optimiser, self.batches = parts.optimiser, config.accumulate
        dtype = dtype_of(config.precision, group.device)
        if config.precision == "auto":
            group.print_rank0(f"precision auto: {str(dtype).removeprefix('torch.')} here")
        self.graphed = None
        if config.cuda_graphs:
            parameters = parts.optimiser.parameters
            self.graphed = GraphedStep(parts.model, parts.objective, parameters, dtype)
        trainee = Trainee(parts, dtype).train()
        self.trainee = group.wrap_ddp(trainee, static=config.accumulate == 1)

    def add(self, targets: TrainingTargets, last: bool) -> dict[str, Tensor]:
        """The scalars of the batch; last: of the step, after which ranks average gradients."""
        if self.graphed:
            return self.graphed(targets)[1]
        single = isinstance(self.trainee, Trainee)
        with nullcontext() if last or single else self.trainee.no_sync():
            loss, scalars = self.trainee(targets)
            self.optimiser.backward(loss / self.batches)
        return scalars
