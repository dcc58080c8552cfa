"""MFT against the numbers of the published code (serycjon/MFT 01a59dbe); arrays are thinned out."""

import math
import warnings

import numpy as np
import parity_recipe as recipe
import pytest
import torch
from parity import close, stored
from systems import inputs, long_parity, published_state

from cotracker import checkpoint
from cotracker.baselines.mft import DELTAS, MFT, PUBLISHED, chain
from cotracker.baselines.raft import Frame

PIXELS, LOGITS = 3e-4, 3e-4  # rounding makes 1.6e-5 px, 1.4e-5


@pytest.fixture(scope="module")
def tracker():
    with pytest.warns(checkpoint.LicenceWarning, match="non-commercial use only .CC BY-NC-SA 4.0."):
        return MFT(published_state("mft"), iters=4, resolution=None, device="cpu")


def test_its_licence_is_said_once():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(2):
            checkpoint.tell_licence(PUBLISHED.licence, "the weights of MFT")
            checkpoint.tell_licence("BSD-3", "the weights of RAFT")
    assert [str(one.message) for one in told] == [
        "the weights of MFT are for non-commercial use only (CC BY-NC-SA 4.0)"
    ]


def pair_fields(left, right, height=48, width=64):
    """1 H W 4 of the parity recipe: flow, occlusion and sigma of a pair of frames."""
    y, x = np.meshgrid(np.arange(height, dtype=float), np.arange(width, dtype=float), indexing="ij")
    settings = {"waves": 8, "low": 0.01, "high": 0.06}
    a = recipe._texture(f"pair-a-{left}-{right}", x, y, **settings)
    b = recipe._texture(f"pair-b-{left}-{right}", x, y, **settings)
    d, n = right - left, abs(right - left)
    flow = [0.9 * d + 0.6 * n**0.5 * a[..., 0], 0.35 * d + 0.6 * n**0.5 * a[..., 1]]
    occlusion = 1 / (1 + np.exp(-(1.5 * b[..., 0] - 7.5 + 0.1 * n)))
    sigma = 0.3 * n**0.75 * np.exp(a[..., 2] / 2)
    return torch.from_numpy(np.stack([*flow, occlusion, sigma], -1)).float()[None]


@pytest.mark.parametrize(
    "case, first, last, settings",
    [
        ("forward0", 0, [2, 9], {}),
        ("backward39", 39, [20], {}),
        ("forward0_deltas_1_2_4", 0, [23], {"deltas": (1, 2, 4)}),
        ("forward5_threshold_0.5", 5, [29], {"threshold": 0.5}),
    ],
)
def test_the_most_certain_chain_wins(case, first, last, settings):
    golden = stored("chain", "mft")
    step = -1 if case == "backward39" else 1
    y, x = torch.meshgrid(torch.arange(0.0, 48, 3), torch.arange(0.0, 64, 4), indexing="ij")
    points = torch.stack([x, y], dim=-1).flatten(0, 1)
    start = torch.zeros(len(points), dtype=torch.long)
    pairs = {}

    def pair(left, right):
        if (left, right) not in pairs:
            pairs[left, right] = pair_fields(first + step * left, first + step * right)
        return pairs[left, right]

    frames = abs(last[-1] - first) + 1
    xy, occlusion, sigma = chain(pair, points, start, frames, (48, 64), **settings)
    for frame in last:
        t = abs(frame - first)
        clear = torch.from_numpy(golden[f"{case}.clear_{frame}"]).flatten()
        assert clear.float().mean() > 0.5
        flow = torch.from_numpy(golden[f"{case}.flow_{frame}"]).flatten(1).T
        close((xy[t] - points)[clear], flow[clear], 2e-4)
        close(occlusion[t][clear], golden[f"{case}.occlusion_{frame}"].reshape(-1)[clear], 1e-5)
        close(sigma[t][clear], golden[f"{case}.sigma_{frame}"].reshape(-1)[clear], 2e-4)


@pytest.mark.slow
@torch.no_grad()
def test_the_heads_of_a_pair(tracker):
    golden, network = stored("golden", "mft"), tracker.network
    first, second = (network.encode_frames(inputs(8, 128, 160)[[t]]) for t in (0, 5))
    updates = list(network.updates(first, second, 8))
    close(updates[-1].flow[0], golden["flow_low_last"], 1e-4)
    logits, variance = network.heads(updates[0])
    close(logits[0], golden["it0.occlusion_low"], LOGITS)
    close(variance[0, 0], golden["it0.alpha_low"][0], LOGITS)
    for update, occluded, alpha in zip(
        updates,
        golden["occlusion_logits_every4_per_iteration"],
        golden["alpha_every4_per_iteration"],
    ):
        logits, variance = (network.upsample(x, update) for x in network.heads(update))
        close(logits[0, :, ::4, ::4], occluded, LOGITS)
        close(variance[0, :, ::4, ::4], alpha, LOGITS)
    _, occlusion, sigma = network.pair(first, second, 8)
    close(occlusion[0, :, ::2, ::2], golden["occlusion_probability_last_every2"], 1e-4)
    theirs = golden["sigma_last_every2"]
    close(sigma[0, :, ::2, ::2] / torch.from_numpy(theirs), np.ones_like(theirs), 1e-4)


@torch.no_grad()
def test_padding_of_odd_sizes(tracker):
    golden = stored("golden", "mft")
    pair = tracker._pairs(inputs(16, 124, 150)[None], Frame((124, 150)))
    maps = pair(3, 7)[0, ::4, ::4].movedim(-1, 0)
    close(maps[:2], golden["wrapper_124x150.flow_every4"], PIXELS)
    close(maps[2:3], golden["wrapper_124x150.occlusion_every4"], 1e-4)
    theirs = golden["wrapper_124x150.sigma_every4"]
    close(maps[3:] / torch.from_numpy(theirs), np.ones_like(theirs), 1e-4)


@long_parity
@torch.no_grad()
def test_the_tracker_with_its_network(tracker):
    golden, frames = stored("tracker", "mft"), 10
    video = inputs(16, 124, 150)[None, :frames]
    pair = tracker._pairs(video, Frame((124, 150)))
    points = torch.from_numpy(golden["points_xy"])
    start = torch.zeros(len(points), dtype=torch.long)
    xy, occlusion, sigma = chain(pair, points, start, frames, (124, 150))
    clear = np.minimum.accumulate(golden["forward0.margin"], 0)[: frames - 1] > 1e-4
    flow = (xy[1:] - points)[torch.from_numpy(clear)]
    close(flow, golden["forward0.flow"][: frames - 1][clear], PIXELS)
    hidden = golden["forward0.occlusion"][: frames - 1][clear]
    close(occlusion[1:][torch.from_numpy(clear)], hidden, 1e-4)


def test_deltas_are_the_published_ones():
    assert DELTAS == (math.inf, 1, 2, 4, 8, 16, 32)
