"""What moves the weights: AdamW, the linear 1-cycle, gradient clipping, a running mean of the weights (appendix A)."""

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Optimiser:
    """AdamW under a linear 1-cycle over `steps` + `extra_steps`, with everything that a resumed run needs.

    lr: its peak.  warmup: the share of the cycle spent rising to it.  clip: largest gradient norm.  ema: decay of the
    running mean of the weights, 0 for none.  scaled: the loss is scaled against underflow, as float16 needs.
    Parameters: those of all `modules` that take a gradient.
    """

    def __init__(
        self,
        modules: list[nn.Module],
        steps: int,
        extra_steps: int,
        lr: float,
        weight_decay: float,
        warmup: float,
        clip: float,
        ema: float,
        scaled: bool = False,
    ):
        self.parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.adamw = torch.optim.AdamW(self.parameters, lr=lr, weight_decay=weight_decay, eps=1e-8)
        total = steps + extra_steps
        rising = min(
            max(float(warmup), 1.001 / total), 1 - 1e-9
        )  # of one step or none, OneCycleLR divides by zero
        self.schedule = OneCycleLR(
            self.adamw, lr, total, pct_start=rising, anneal_strategy="linear", cycle_momentum=False
        )
        self.clip = clip
        self.live = modules[0]
        self.mean = (
            AveragedModel(modules[0], multi_avg_fn=get_ema_multi_avg_fn(ema)) if ema else None
        )
        self.scaler = GradScaler(self.parameters[0].device.type, enabled=scaled)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.schedule.get_last_lr()[0]

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of `loss` to what the step's earlier calls gathered."""
        self.scaler.scale(loss).backward()

    def norm(self) -> Tensor:
        """The norm of the gathered gradient, which is then clipped; not finite where any part of it is not."""
        self.scaler.unscale_(self.adamw)
        return nn.utils.clip_grad_norm_(self.parameters, self.clip)

    def step(self, finite: bool, spent: float = 0.0) -> None:
        """Moves the weights by the gathered gradient, or not at all where it was not finite; then forgets it.

        The cycle goes on by a step, or to the share `spent` of it where that is further.
        """
        if finite:
            self.scaler.step(self.adamw)
            if self.mean is not None:
                self.mean.update_parameters(self.live)
            end = self.schedule.total_steps - 1
            goal = min(max(self.schedule.last_epoch + 1, int(min(spent, 1.0) * end)), end)
            while self.schedule.last_epoch < goal:
                self.schedule.step()
        self.scaler.update()
        self.adamw.zero_grad(set_to_none=True)

    @property
    def best_model(self) -> nn.Module:
        """The running mean where there is one, else the live model."""
        return self.live if self.mean is None else self.mean.module

    def state_dict(self, rounded: bool = False) -> dict:
        """All that a resumed run needs. rounded: AdamW's moments in bfloat16, half the size and not quite the same."""
        mean = None if self.mean is None else self.mean.state_dict()
        parts = {"adamw": self.adamw, "schedule": self.schedule, "scaler": self.scaler}
        state = {name: part.state_dict() for name, part in parts.items()} | {"mean": mean}
        return state | ({"adamw": _rounded(state["adamw"])} if rounded else {})

    def load_state_dict(self, state: dict) -> None:
        self.adamw.load_state_dict(state["adamw"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        if self.mean is not None:
            self.mean.load_state_dict(state["mean"])


def _rounded(adamw: dict) -> dict:
    """AdamW's state with its moments in bfloat16; load_state_dict makes them float32 again."""
    moments = {
        number: {
            name: value.bfloat16() if name.startswith("exp_avg") else value
            for name, value in of.items()
        }
        for number, of in adamw["state"].items()
    }
    return adamw | {"state": moments}
