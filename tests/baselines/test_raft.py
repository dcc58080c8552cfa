"""RAFT against the numbers of the published code (princeton-vl/RAFT 2888e15a)."""

import pytest
import torch
from parity import close, stored
from systems import inputs, published_state

from cotracker import checkpoint, load_tracker
from cotracker.baselines.pips import PIPs
from cotracker.baselines.raft import RAFT
from cotracker.baselines.weights import seeded
from cotracker.model.raft import RAFT as RAFTNetwork

FLOW = 1e-4  # cells or pixels; rounding makes 8e-6


def network():
    return RAFT(published_state("raft"), device="cpu").network


@pytest.mark.slow
@torch.no_grad()
def test_every_update_of_a_pair_is_the_published_one():
    golden, raft = stored("golden", "raft"), network()
    first, second = (raft.encode_frames(inputs(8, 128, 160)[[t]]) for t in (0, 5))
    close(first.features[0, :, ::2, ::2], golden["fmap_frame0_f16"], 4e-3)
    close(first.hidden[0], golden["it0.net"], 1e-3)
    close(first.context[0], golden["it0.inp"], 1e-3)
    updates = list(raft.updates(first, second, 8))
    cells = updates[0].correlation[0, :, [3, 10], [4, 17]].T
    close(cells, golden["it0.corr_2cells"], 1e-4)  # of numbers up to 30
    close(updates[0].delta[0], golden["it0.delta_flow"], FLOW)
    for update, flow in zip(updates[:-1], golden["flow_low_per_iteration"]):
        close(update.flow[0], flow, FLOW)
    close(updates[-1].flow[0], golden["flow_low_last"], FLOW)
    for update, flow in zip(updates, golden["flow_up_every4_per_iteration"]):
        close(raft.upsample(update.flow, update, 8)[0, :, ::4, ::4], flow, 3e-4)
    close(raft.flow(first, second, 8)[0], golden["flow_up_last_f16"], 2e-2)
    start = torch.from_numpy(golden["flow_low_last"])[None]
    *_, last = raft.updates(first, second, 3, start)
    close(last.flow[0], golden["warm_start.flow_low"], FLOW)


@torch.no_grad()
def test_what_is_trained_is_the_flow_where_points_are_queried():
    network = seeded(lambda: RAFTNetwork(size="small")).eval()
    video = inputs(2, 128, 136)[None]
    queries = torch.tensor([[[0, 20, 30], [0, 100, 90], [1, 50, 50], [0, 5, 5]]]).float()
    point_mask = torch.tensor([[True, True, True, False]])
    (estimate,) = network.track(network.encode(video), queries, 3, point_mask)
    assert estimate.active.tolist() == [[True, True, False, False]]
    first, second = (network.encode_frames(video[:, t]) for t in (0, 1))
    flow = network.flow(first, second, 3)[0]
    for n, (x, y) in enumerate([(20, 30), (100, 90)]):
        moved = estimate.tracks[-1][0, 1, n] - queries[0, n, 1:]
        close(moved, flow[:, y, x].numpy(), 1e-4)
    assert moved.norm() > 1e-3 and len(estimate.tracks) == 3


@pytest.mark.parametrize("frames, size, words", [
    (2, (120, 160), "data.height"), (3, (128, 160), "objective.unrolled=false"),
])  # fmt: skip
def test_what_cannot_be_trained_is_refused(frames, size, words):
    network = RAFTNetwork(size="small").eval()
    with pytest.raises(ValueError, match=words):
        network.track(network.encode(torch.zeros(1, frames, 3, *size)), torch.zeros(1, 1, 3))


def test_a_trained_file_is_followed_by_its_tracker_alone(tmp_path):
    path = tmp_path / "raft.safetensors"
    checkpoint.save(path, RAFTNetwork(size="small"), {"licence": "MIT"})
    tracker = RAFT(path, iters=2, device="cpu")
    assert tracker.describe()["checkpoint"]["name"] == "raft"
    tracks = tracker(inputs(3, 64, 96)[None], torch.tensor([[[0.0, 30, 40]]]))
    assert tracks.xy.isfinite().all()
    with pytest.raises(ValueError, match="tracker=raft"):
        load_tracker(path)
    with pytest.raises(ValueError, match="holds no PIPs"):
        PIPs(path)
