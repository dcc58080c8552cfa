"""What moves the weights: AdamW, the linear 1-cycle, gradient clipping, a running mean of the weights (appendix A)."""

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Optimiser:
    """AdamW under a linear 1-cycle over `steps` + `extra_steps`, with everything that a resumed run needs.

    lr: its peak.  warmup: the share of the cycle spent rising to it.  clip: largest gradient norm.  ema: decay of the
    running mean of the weights, 0 for none.  Parameters: those of all `modules` that take a gradient.
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
    ):
        self.parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.adamw = torch.optim.AdamW(self.parameters, lr=lr, weight_decay=weight_decay, eps=1e-8)
        self.schedule = OneCycleLR(
            self.adamw, lr, steps + extra_steps, pct_start=warmup, anneal_strategy="linear", cycle_momentum=False
        )
        self.clip = clip
        self.live = modules[0]
        self.mean = AveragedModel(modules[0], multi_avg_fn=get_ema_multi_avg_fn(ema)) if ema else None

    def step(self, loss: Tensor) -> tuple[Tensor, bool]:
        """The gradient norm, and whether a step was taken: where the norm is not finite nothing changes."""
        self.adamw.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        finite = bool(torch.isfinite(norm))
        if finite:
            self.adamw.step()
            if self.mean is not None:
                self.mean.update_parameters(self.live)
            self.schedule.step()
        return norm, finite

    @property
    def best_model(self) -> nn.Module:
        """The running mean where there is one, else the live model."""
        return self.live if self.mean is None else self.mean.module

    def state_dict(self) -> dict:
        mean = None if self.mean is None else self.mean.state_dict()
        return {"adamw": self.adamw.state_dict(), "schedule": self.schedule.state_dict(), "mean": mean}

    def load_state_dict(self, state: dict) -> None:
        self.adamw.load_state_dict(state["adamw"])
        self.schedule.load_state_dict(state["schedule"])
        if self.mean is not None:
            self.mean.load_state_dict(state["mean"])
