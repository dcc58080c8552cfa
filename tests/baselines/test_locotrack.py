"""LocoTrack against the numbers of the published code (cvlab-kaist/locotrack 3385a233)."""

import pytest
import torch
from parity import close, stored
from systems import inputs, long_parity, published_state

from cotracker.baselines.locotrack import PUBLISHED, LocoTrackNetwork

PIXELS, LOGITS = 3e-3, 3e-3  # rounding makes 2e-4 px, 1e-4


def network(kind):
    net = LocoTrackNetwork({"small": 256, "base": 384}[kind])
    PUBLISHED.load(net, published_state("locotrack", f"spec_{kind}.json"))
    return net


CASES = {  # name: network, frames, first and last resolution
    "small": ("small", 12, (96, 128), (96, 128)),
    "base": ("base", 12, (96, 128), (96, 128)),
    "small64_to_96x128": ("small", 12, (64, 64), (96, 128)),
    "small_forward_96x128_refine256": ("small", 6, (256, 256), (256, 256)),
}


@long_parity
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_every_estimate_is_the_published_one(case):
    kind, frames, first, last = CASES[case]
    golden = stored("golden", "locotrack")
    rows = slice(None) if frames == 12 else [0, 1, 3, 4]
    queries = torch.from_numpy(golden["query_points_tyx"])[rows][:, [0, 2, 1]]
    *unrefined, answer = network(kind)(
        inputs(frames, 96, 128) * (2 / 255) - 1, queries, first, last
    )
    close(torch.stack([e.xy for e in unrefined]), golden[f"{case}.unrefined_tracks"], PIXELS)
    close(answer.xy, golden[f"{case}.tracks"], PIXELS)
    close(answer.occlusion, golden[f"{case}.occlusion"], LOGITS)
    close(answer.distance, golden[f"{case}.expected_dist"], LOGITS)


@torch.no_grad()
def test_features_and_matching_are_the_published_ones():
    golden, net = stored("golden", "locotrack"), network("small")
    queries = torch.from_numpy(golden["query_points_tyx"])[:, [0, 2, 1]]
    maps = net.encode(inputs(12, 96, 128)[[0, 4]] * (2 / 255) - 1)
    hires, lowres, highest = (level[0].permute(1, 2, 0) for level in maps)
    close(lowres[::2, ::2], golden["small.features.lowres_frame0_f16"], 4e-3)
    close(hires[::6, ::8], golden["small.features.hires_frame0_f16"], 4e-3)
    close(highest[::12, ::16], golden["small.features.highest_frame0_f16"], 4e-3)
    net.iters = 1
    support = net.support(maps, queries[queries[:, 0] == 0], (96, 128))
    start = net.start(maps, support, (96, 128))
    rows = [0, 2, 4]
    close(start.occlusion[:, 1], golden["small.unrefined_occlusion"][0][rows, 4], LOGITS)
    close(start.xy[:, 1], golden["small.unrefined_tracks"][0][rows, 4], PIXELS)
