"""OmniMotion's mapping, rendering and queries against the published code's numbers (43868e5d)."""

import re

import parity_recipe as recipe
import pytest
import torch
from parity import close, stored
from systems import layout

from cotracker.baselines.omnimotion import OmniMotionNetwork, to_pixels, to_units
from cotracker.baselines.omnimotion_fit import Sampler, chain_flows, filter_flows, pixel_grid

SIZE = (96, 128)
RENAMES = (  # published names -> ours
    (r"map_st\.0\.mlp", "map_st"),
    (r"projection\.proj\.0", "projection"),
    (r"(code_projectors\.\d)\.mlp", r"\1"),
    (r"affine_mlp\.hidden\.(\d)(\.0)?\.", r"affine_mlp.\1."),
)


@pytest.fixture(scope="module")
def network():
    spec = layout("omnimotion")
    net, state = OmniMotionNetwork(8, spec["transformed_coordinate"]), {}
    for name, shape, _, kind in spec["entries"]:
        value = torch.from_numpy(recipe.fill(name, shape)) * spec["scales"].get(name, 1)
        value = value + torch.tensor(spec["added"].get(name, 0.0))
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        if kind == "parameter":
            state[name] = value
    missing = net.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and all("mask" in key for key in missing.missing_keys)
    return net.eval()


@torch.no_grad()
def test_points_map_into_the_volume_and_back(network):
    golden = stored("golden", "omnimotion")
    x, frames = torch.from_numpy(golden["x"]), torch.from_numpy(golden["x.frame_ids"])
    times = ((torch.arange(8) + 1) / 8)[:, None]
    close(network.feature_mlp(times), golden["feature_mlp_8frames"], 1e-5)
    canonical = network.to_canonical(x, frames)
    close(canonical, golden["canonical"], 1e-5)
    close(network.from_canonical(canonical, frames), x.numpy(), 1e-5)
    others = network.from_canonical(canonical, torch.tensor([7, 2]))
    close(others, golden["to_frame_7_and_2"], 3e-5)
    colour, density = network.look_up(canonical)
    close(colour, golden["color"], 2e-5)
    close(density, golden["density"], 1e-4)


@torch.no_grad()
def test_queries_follow_the_sample_of_largest_weight(network):
    golden = stored("golden", "omnimotion")
    pixels, pairs = torch.from_numpy(golden["pixels"]), torch.from_numpy(golden["pairs"])
    xy = to_units(pixels, SIZE)[None]
    both = xy.expand(2, -1, -1)
    weights, colours = network.weigh(network.to_canonical(network.rays(both), pairs[:, 0]))
    close(weights, golden["weights"], 3e-5)
    close((weights[..., None] * colours).sum(2), golden["rendered_rgb"], 3e-5)
    there, hidden = network.follow(both, pairs[:, 0], pairs[:, 1])
    close(to_pixels(there[..., :2], SIZE), golden["max_loc.points"], 1e-3)
    close(hidden[..., None], golden["max_loc.occlusion_score"], 1e-4)
    every, source = torch.arange(8), torch.full((8,), 2)
    there, hidden = network.follow(xy.expand(8, -1, -1), source, every)
    close(to_pixels(there[..., :2], SIZE), golden["tracks_from_frame2"], 1e-3)


def test_flow_that_does_not_close_is_not_trusted_and_chains_go_on():
    frames, height, width = 4, 12, 16
    flow = torch.zeros(frames, frames, height, width, 2)
    for i in range(frames):
        for j in range(frames):
            flow[i, j, ..., 0] = j - i
    flow[0, 3] += 7  # a direct flow that is wrong
    flows = filter_flows(flow)
    assert flows.cycle[0, 1].any() and not flows.cycle[0, 3].any()
    colours = pixel_grid(flow)[..., :1].expand(-1, -1, 3).repeat(frames, 1, 1, 1) * 0
    chained = chain_flows(flows, colours)
    assert torch.equal(chained.flow[0, 3, 5, 5], torch.tensor([3.0, 0.0]))
    assert chained.cycle[0, 3, 5, 5]
    pairs = Sampler(chained, colours, 3, 8).sample(0)
    apart = (pairs.second - pairs.first)[:, None].float()
    known = pairs.weight > 0
    assert torch.equal((pairs.there - pairs.here)[..., 0][known], apart.expand(-1, 8)[known])
