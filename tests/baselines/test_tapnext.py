"""TAPNext's small layout against the numbers of the published code (tapnet c2cbab81)."""

import pytest
import torch
from parity import close, stored
from systems import inputs, published_state

from cotracker.baselines.tapnext import PUBLISHED, TAPNextNetwork, read_positions


@pytest.fixture(scope="module")
def network():
    net = TAPNextNetwork((64, 96), width=192, heads=3, depth=4)
    PUBLISHED.load(net, published_state("tapnext", "spec_small.json"))
    return net


@torch.no_grad()
def test_frame_by_frame_it_is_the_published_one(network):
    golden = stored("golden", "tapnext")
    queries = torch.from_numpy(golden["small.query_points_tyx"])
    frames, state = inputs(8, 64, 96) * (2 / 255) - 1, None
    for number, frame in enumerate(frames):
        tokens = network.point_tokens(queries, number)
        close(tokens, golden["small.point_tokens_in"][number], 1e-4)
        logits, visible, state = network.step(frame, queries, number, state)
        close(logits, golden["small.online.track_logits"][number], 1e-3)
        close(visible, golden["small.online.visible_logits"][number][:, 0], 1e-4)
        close(read_positions(logits), golden["small.online.tracks_yx"][number], 1e-3)
        close(read_positions(logits), golden["small.clip.tracks_yx"][number], 1e-3)
