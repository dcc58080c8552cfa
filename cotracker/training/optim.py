"""The optimiser: AdamW, its schedules, gradient clipping, EMA weights (appendix A)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cotracker.training.config import TrainConfig


class Optimiser:
    """AdamW under a schedule, with all that a resumed run needs.

    It trains the parameters of all `modules` that take a gradient; EMA weights are of the first.
    In float16 the loss is scaled against underflow.
    """

    def __init__(self, modules: list[nn.Module], config: TrainConfig):
        self.parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.adamw = torch.optim.AdamW(
            self.parameters, lr=config.lr, weight_decay=config.weight_decay, eps=1e-8
        )
        self.last_step = config.steps + config.schedule_extra_steps - 1
        self.schedule = build_schedule(self.adamw, config)
        self.clip = config.clip
        self.model = modules[0]
        self.ema = None
        if config.ema:
            self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
        scaled = config.precision == "float16"
        self.scaler = GradScaler(self.parameters[0].device.type, enabled=scaled)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self.schedule.get_last_lr()[0]

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of `loss` to that of the step's earlier batches."""
        self.scaler.scale(loss).backward()

    def clip_gradients(self) -> Tensor:
        """The norm of the gradient before it is clipped; not finite where any part of it is not."""
        self.scaler.unscale_(self.adamw)
        return nn.utils.clip_grad_norm_(self.parameters, self.clip)

    def step(self, finite: bool, progress: float = 0.0) -> None:
        """Moves the weights by the gradient, or not at all where it is not finite, and drops it.

        The schedule advances by a step, or to the share `progress` of it where that is further.
        """
        if finite:
            self.scaler.step(self.adamw)
            if self.ema is not None:
                self.ema.update_parameters(self.model)
            end = self.last_step
            goal = min(max(self.schedule.last_epoch + 1, int(min(progress, 1.0) * end)), end)
            while self.schedule.last_epoch < goal:
                self.schedule.step()
        self.scaler.update()
        self.adamw.zero_grad(set_to_none=True)

    @property
    def ema_model(self) -> nn.Module:
        """The model with EMA weights if they are kept, else with the current ones."""
        return self.model if self.ema is None else self.ema.module

    def state_dict(self, bfloat16_moments: bool = False) -> dict:
        """All that a resumed run needs.

        bfloat16_moments: AdamW's moments take half the size, and resuming is not bit-exact.
        """
        adamw = self.adamw.state_dict()
        return {
            "adamw": _round_moments(adamw) if bfloat16_moments else adamw,
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "mean": None if self.ema is None else self.ema.state_dict(),
        }

    def load_state_dict(self, state: dict, schedule: bool = True) -> None:
        """Loads a run's state; schedule=False keeps this one's own schedule and rate."""
        rates = [group["lr"] for group in self.adamw.param_groups]
        self.adamw.load_state_dict(state["adamw"])
        if schedule:
            self.schedule.load_state_dict(state["schedule"])
        else:
            for group, rate in zip(self.adamw.param_groups, rates):
                group["lr"] = rate
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["mean"])


def build_schedule(adamw: torch.optim.Optimizer, config: TrainConfig) -> LRScheduler:
    """The schedule of the rate: to zero, constant after its rise, or the linear 1-cycle."""
    if config.decay_from:
        return LambdaLR(adamw, lambda step: max(0.0, 1 - step / config.steps))
    total = config.steps + config.schedule_extra_steps
    if config.lr_schedule == "constant":
        return LambdaLR(adamw, lambda step: min(1.0, (step + 1) / max(1, config.warmup * total)))
    # with a rise of one step or none, OneCycleLR divides by zero
    rise = min(max(float(config.warmup), 1.001 / total), 1 - 1e-9)
    return OneCycleLR(
        adamw, config.lr, total, pct_start=rise, anneal_strategy="linear", cycle_momentum=False
    )


def freeze_except(model: nn.Module, parts: Sequence[str]) -> None:
    """Leaves gradients to the parameters of these parts alone, named by how their names begin.

    ValueError for a part that has no parameter to train.
    """
    free = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    for part in parts:
        if not any(_is_within(name, part) for name in free):
            names = ", ".join(dict.fromkeys(name.split(".")[0] for name in free))
            raise ValueError(f"train.trainable={part} is no part of the model: choose of {names}")
    for name, parameter in model.named_parameters():
        trained = any(_is_within(name, part) for part in parts)
        parameter.requires_grad_(parameter.requires_grad and trained)


def _is_within(parameter: str, part: str) -> bool:
    return f"{parameter}.".startswith(f"{part}.")


def _round_moments(adamw: dict) -> dict:
    """AdamW's state with its moments in bfloat16; load_state_dict makes them float32 again."""
    state = {
        number: {
            name: value.bfloat16() if name.startswith("exp_avg") else value
            for name, value in values.items()
        }
        for number, values in adamw["state"].items()
    }
    return adamw | {"state": state}
