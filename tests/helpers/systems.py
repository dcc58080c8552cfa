"""Published layouts of other systems with the recipe's weights, and their stored numbers."""

import json
import os
from functools import cache

import numpy as np
import parity_recipe as recipe
import pytest
import torch
from parity import GOLDEN
from torch import Tensor

long_parity = pytest.mark.skipif(
    not os.environ.get("PARITY"), reason="minutes of a core: run with PARITY=1 after a change"
)


def layout(folder: str, name: str = "spec.json") -> dict:
    """The spec of a system: its entries, factors and aliases."""
    return json.loads((GOLDEN / folder / name).read_text())


@cache
def published_state(folder: str, name: str = "spec.json") -> dict[str, Tensor]:
    """A published state dict with the recipe's weights; buffers are those of a fresh network."""
    spec = layout(folder, name)
    aliases = spec.get("aliases", {})
    return {
        entry[0]: _tensor(spec, aliases.get(entry[0], entry[0]), *entry[1:])
        for entry in spec["entries"]
    }


def _tensor(spec: dict, name: str, shape: list[int], dtype: str, kind: str) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    if kind == "buffer" and not _filled(spec, name):
        return torch.ones(shape) if name.endswith("running_var") else torch.zeros(shape)
    if "added" not in spec:
        return torch.from_numpy(recipe.weight(spec["recipe_model"], name, shape))
    weight = recipe.fill(name, shape) * np.float32(spec["scales"].get(name, 1))
    for tap in [spec.get("centre_tap_offsets", {}).get(name)]:
        if tap is not None:
            weight[..., 1, 1] += np.float32(tap)
    added = np.asarray(spec["added"].get(name, 0), dtype=np.float32)
    return torch.from_numpy((weight + added).astype(np.float32))


def _filled(spec: dict, name: str) -> bool:
    """RAFT's golden numbers were made with four averages filled as weights are (its README)."""
    return spec["recipe_model"] == "raft" and "downsample" in name


def inputs(frames: int, height: int, width: int) -> Tensor:
    """The recipe's video, T 3 H W float 0..255."""
    return torch.from_numpy(recipe.video(frames, height, width)).permute(0, 3, 1, 2).float()
