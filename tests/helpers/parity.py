"""What the parity tests share: the published model rebuilt from its recipe, and its stored numbers."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import recipe
import torch
from torch import Tensor

from cotracker.checkpoint import convert_published
from cotracker.model.cotracker import CoTracker

FOLDER = Path(__file__).parents[1] / "golden" / "cotracker_v1"


def published_state(layout: str = "spec.json") -> dict[str, Tensor]:
    """The state dict of a published layout, with the recipe's weights."""
    entries = json.loads((FOLDER / layout).read_text())["entries"]
    return {
        name: torch.from_numpy(recipe.weight("cotracker_v1", name, shape))
        for name, shape, _, _ in entries
    }


@cache
def published_model() -> CoTracker:
    """Stride 4, window 8, with the recipe's weights; shared by the tests, so none may change it."""
    return convert_published(published_state(), stride=4, window=8)


@cache
def stored(name: str) -> dict[str, np.ndarray]:
    """All arrays of golden.npz, predictors.npz or train.npz."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def video(frames: int, height: int = 96, width: int = 128) -> Tensor:
    """The recipe's video, 1 T 3 H W uint8."""
    return torch.from_numpy(recipe.video(frames, height, width)).permute(0, 3, 1, 2)[None]


def queries(height: int = 96, width: int = 128, rows: list[int] | None = None) -> Tensor:
    """The recipe's nine queries, or some of them, 1 N 3."""
    every = torch.from_numpy(recipe.queries(height, width))[None]
    return every if rows is None else every[:, rows]
