"""The optimiser: its schedule, and what a gradient that is not finite does."""

import numpy as np
import pytest
import torch

from cotracker.training.config import TrainConfig
from cotracker.training.optim import Optimiser


def make(modules, **settings) -> Optimiser:
    return Optimiser(
        modules, TrainConfig(**{"lr": 1.0, "weight_decay": 0.0, "clip": 1.0} | settings)
    )


def test_a_gradient_that_is_not_finite_changes_nothing():
    layer = torch.nn.Linear(2, 1)
    optimiser = make([layer], steps=10, weight_decay=0.1, warmup=0.1, ema=0.9)
    before, lr = layer.weight.clone(), optimiser.lr
    for value in (torch.inf, 1.0):
        optimiser.backward(layer(torch.full((1, 2), value)).sum())
        norm = optimiser.clip_gradients()
        assert norm.isfinite() == (value == 1) and norm > 0
        optimiser.step(bool(norm.isfinite()))
        assert torch.equal(layer.weight, before) == (optimiser.lr == lr) == (value == torch.inf)
    assert torch.equal(optimiser.ema_model.weight, layer.weight)  # EMA of one


@pytest.mark.parametrize("steps, warmup", [(1, 0.5), (20, 0), (20, 1)])
def test_every_warmup_has_a_schedule(steps, warmup):
    optimiser = make([torch.nn.Linear(1, 1)], steps=steps, schedule_extra_steps=1, warmup=warmup)
    assert 0 < optimiser.lr <= 1


@pytest.mark.parametrize("extra_steps, least, most", [(1, 0.0, 0.03), (100, 0.4, 0.6)])
def test_the_lr_falls_in_a_line_to_the_end_of_the_schedule(extra_steps, least, most):
    layer = torch.nn.Linear(1, 1)
    optimiser = make([layer], steps=100, schedule_extra_steps=extra_steps)
    rates = []
    for _ in range(100):
        rates.append(optimiser.lr)
        optimiser.backward(layer(torch.ones(1, 1)).sum())
        optimiser.clip_gradients()
        optimiser.step(True)
    falls = np.diff(rates[12:])
    assert np.allclose(falls, falls[0]) and falls[0] < 0
    assert max(rates) == pytest.approx(1, abs=0.2) and least < rates[-1] < most


def test_the_lr_follows_the_time():
    layer = torch.nn.Linear(1, 1)
    optimiser = make([layer], steps=1000, schedule_extra_steps=1, warmup=0.1)
    rates = []
    for progress in (0.0, 0.05, 0.1, 0.55, 0.5, 1.0, 1.2):
        optimiser.backward(layer(torch.ones(1, 1)).sum())
        optimiser.clip_gradients()
        optimiser.step(True, progress)
        rates.append(optimiser.lr)
    assert rates == pytest.approx(
        [0.05, 0.52, 1.0, 0.5, 0.5, 0.0, 0.0], abs=0.01
    )  # later steps never go back
