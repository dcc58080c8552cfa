"""TAP-Net against the numbers of the published code (tapnet c2cbab81, JAX)."""

import numpy as np
import parity_recipe as recipe
import pytest
import torch
from parity import close, stored
from systems import inputs, layout

from cotracker.baselines.tapnet import PUBLISHED, TAPNetNetwork, read

PIXELS, LOGITS = 1e-2, 1e-3


@pytest.fixture(scope="module")
def golden():
    return stored("golden", "tapnet")


@pytest.fixture(scope="module")
def path(tmp_path_factory, golden):
    """A file as the published one is: nested dicts, pickled by numpy."""
    held = {"params": {}, "state": {}, "global_step": np.int64(3)}
    for name, shape, dtype, kind in layout("tapnet")["entries"]:
        module, _, leaf = name.rpartition("/")
        if kind == "parameter":
            value = recipe.haiku(name, shape)
        else:
            value = golden.get(f"state.{name}", np.zeros(shape, dtype))
        held["state" if kind == "state" else "params"].setdefault(module, {})[leaf] = value
    path = tmp_path_factory.mktemp("tapnet") / "checkpoint.npy"
    np.save(path, held)
    return path


@torch.no_grad()
def test_a_file_of_jax_computes_what_it_computes_there(path, golden, monkeypatch):
    network = TAPNetNetwork()
    card = PUBLISHED.load(network, path, read)
    assert card["name"] == "checkpoint" and card["licence"] == "Apache-2.0"
    frames = inputs(12, 96, 128) * (2 / 255) - 1
    maps = network.encode(frames)
    close(maps[0].permute(1, 2, 0), golden["feature_grid_frame0"], 1e-3)  # half precision
    asked = torch.from_numpy(golden["inputs.queries_tyx"])[:, [0, 2, 1]]
    xy, occlusion = network(maps, asked, (96, 128))
    close(xy, golden["tracks"], PIXELS)
    close(occlusion, golden["occlusion"], LOGITS)
    monkeypatch.setattr("cotracker.baselines.tapnet.FRAMES_AT_ONCE", 3)
    torch.testing.assert_close(network.encode(frames), maps, rtol=0, atol=1e-5)


def test_other_nested_arrays_are_refused(tmp_path):
    path = tmp_path / "other.npy"
    np.save(path, {"params": {"tap_net/~/occlusion_out": {"w": np.ones((16, 2)), "b": "no"}}})
    with pytest.raises(ValueError, match=r"other.npy does not (.|\n)*occ_out.weight is \(2, 16\)"):
        PUBLISHED.load(TAPNetNetwork(), path, read)
