"""RAFT against the numbers of the published code (princeton-vl/RAFT 2888e15a)."""

import pytest
import torch
from parity import close, stored
from systems import inputs, published_state

from cotracker.baselines.raft import RAFT

FLOW = 1e-4  # cells or pixels; rounding makes 8e-6


def network():
    return RAFT(published_state("raft"), device="cpu").network


@pytest.mark.slow
@torch.no_grad()
def test_every_update_of_a_pair_is_the_published_one():
    golden, raft = stored("golden", "raft"), network()
    first, second = (raft.encode(inputs(8, 128, 160)[[t]]) for t in (0, 5))
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
