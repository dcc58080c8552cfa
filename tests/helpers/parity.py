"""What the parity tests share: the published model from its recipe, and its stored numbers."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import parity_recipe as recipe
import torch
from torch import Tensor

from cotracker.model.cotracker import CoTracker
from cotracker.model.published import open_published
from cotracker.model.windowed import WindowedNetwork
from cotracker.model.windows import Estimate

GOLDEN = Path(__file__).parents[1] / "golden"


def published_state(layout: str = "spec.json", folder: str = "cotracker_v1") -> dict[str, Tensor]:
    """The state dict of a published layout, with the recipe's weights; its tables are zeros."""
    spec = json.loads((GOLDEN / folder / layout).read_text())
    recipe_model = spec.get("recipe_model", folder)
    return {
        name: torch.from_numpy(recipe.weight(recipe_model, name, shape))
        if kind == "parameter"
        else torch.zeros(shape)
        for name, shape, _, kind in spec["entries"]
    }


@cache
def published_model() -> CoTracker:
    """Stride 4, window 8, with the recipe's weights; shared by the tests, so none may change it."""
    return open_published(published_state(), "", 4, 8).model


@cache
def published(folder: str, layout: str = "spec.json") -> WindowedNetwork:
    """CoTracker2 or 3 with the recipe's weights; shared by the tests, so none may change it."""
    return open_published(published_state(layout, folder), "").model


@cache
def stored(name: str, folder: str = "cotracker_v1") -> dict[str, np.ndarray]:
    """All arrays of golden.npz, predictors.npz or train.npz."""
    with np.load(GOLDEN / folder / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def video(frames: int, height: int = 96, width: int = 128) -> Tensor:
    """The recipe's video, 1 T 3 H W uint8."""
    return torch.from_numpy(recipe.video(frames, height, width)).permute(0, 3, 1, 2)[None]


def queries(height: int = 96, width: int = 128, rows: list[int] | None = None) -> Tensor:
    """The recipe's nine queries, or some of them, 1 N 3."""
    every = torch.from_numpy(recipe.queries(height, width))[None]
    return every if rows is None else every[:, rows]


def stitched(model: WindowedNetwork, video: Tensor, queries: Tensor, iters: int) -> tuple:
    """`stitch` of what a network says, as it is: nothing is pinned to the query."""
    with torch.no_grad():
        return stitch(model(video, queries, iters), video.shape[1])


def stitch(estimates: list[Estimate], frames: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tracks B T N 2, visibility and confidence B T N, and where a window has told of a point.

    Later windows replace earlier ones.
    """
    batch, points = estimates[0].active.shape
    shape = batch, frames, points
    xy, visibility, confidence = torch.zeros(*shape, 2), torch.zeros(shape), torch.zeros(shape)
    told = torch.zeros(shape, dtype=torch.bool)
    for estimate in estimates:
        window = slice(estimate.start, estimate.start + estimate.logits.shape[1])
        active = estimate.active[:, None]
        logits = estimate.logits, (estimate.confidence or [estimate.logits])[-1]
        xy[:, window] = torch.where(active[..., None], estimate.tracks[-1], xy[:, window])
        for every, some in zip((visibility, confidence), logits):
            every[:, window] = torch.where(active, some.sigmoid(), every[:, window])
        told[:, window] |= active
    return xy, visibility, confidence, told


def close(ours: Tensor, theirs: np.ndarray, tolerance: float) -> None:
    """All numbers are within the tolerance; half-precision arrays count as they are."""
    theirs = np.asarray(theirs, dtype=np.float32)
    np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=0, atol=tolerance)
