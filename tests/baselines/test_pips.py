"""PIPs against the numbers of the published code (aharley/pips a05a120b)."""

import numpy as np
import pytest
import torch
from parity import close, stored
from systems import inputs, published_state

from cotracker.baselines.pips import PIPs, next_start
from cotracker.model.windows import Estimate
from cotracker.training.losses import track_loss
from cotracker.types import Clip

PIXELS, LOGITS = 3e-4, 3e-4  # rounding makes 1.5e-5, 1e-5
SIZES = {8: (128, 160), 4: (96, 128)}


def network(stride):
    return PIPs(published_state("pips"), stride=stride, device="cpu").network


@pytest.fixture(scope="module", params=SIZES, ids=["stride8", "stride4"])
def case(request):
    """Stride, network, maps, and queries 9 2 at frame 0, of one stride."""
    stride = request.param
    pips = network(stride)
    xy = torch.from_numpy(stored("golden", "pips")[f"inputs.queries_stride{stride}"][:, 1:])
    return stride, pips, pips.encode(inputs(8, *SIZES[stride])[None]), xy


def start(pips, maps, xy):
    """Features 1 9 C and positions 1 8 9 2 that a window starts from."""
    which = torch.zeros(len(xy), dtype=torch.long)
    feature = pips.sample(maps[0][0], which, xy / pips.stride)
    return feature[None], xy.expand(1, 8, -1, -1)


@pytest.mark.slow
@torch.no_grad()
def test_every_iteration_is_the_published_one(case):
    stride, pips, maps, xy = case
    golden, name = stored("golden", "pips"), f"stride{stride}"
    feature, still = start(pips, maps, xy)
    close(maps[0][0, 0].permute(2, 0, 1), golden[f"{name}.fmap_frame0_f16"], 4e-3)
    close(feature[0], golden[f"{name}.track_feat"], 1e-4)
    for iters in (4, 6):
        tracks, logits = pips.refine(maps, feature, still, iters)
        close(torch.cat(tracks), golden[f"{name}_iters{iters}.coords"], PIXELS)
        close(logits, golden[f"{name}_iters{iters}.vis_logits"], LOGITS)
    true = torch.from_numpy(golden[f"{name}.gt_tracks"])
    tracks, logits = pips.refine(maps, feature / 2, true, 2)
    close(torch.cat(tracks), golden[f"{name}_given_init.coords"], PIXELS)
    close(logits, golden[f"{name}_given_init.vis_logits"], LOGITS)


@pytest.mark.slow
@torch.no_grad()
def test_in_training_the_first_frame_moves_too(case):
    stride, pips, maps, xy = case
    golden, name = stored("golden", "pips"), f"stride{stride}"
    tracks, logits = pips.train().refine(maps, *start(pips, maps, xy), 4)
    pips.eval()
    close(torch.cat(tracks), golden[f"{name}_is_train.coords"], PIXELS)
    close(logits, golden[f"{name}_is_train.vis_logits"], LOGITS)
    truth = [torch.from_numpy(golden[f"{name}.gt_{key}"]) for key in ("tracks", "visible", "valid")]
    clip = Clip(torch.empty(0), truth[0], truth[1].bool(), truth[2].bool())
    estimate = Estimate(0, tracks, logits, torch.ones(1, 9, dtype=torch.bool))
    published = golden[f"{name}.losses_seq_vis_ce"][0]
    assert abs(float(track_loss(estimate, clip, 0.8)) / published - 1) < 1e-4


@pytest.mark.slow
@torch.no_grad()
def test_the_chain_jumps_where_the_published_one_does():
    golden = stored("chain", "pips")
    tracker = PIPs(published_state("pips"), resolution=None, device="cpu")
    video = torch.nn.functional.interpolate(
        inputs(20, 192, 256), (96, 128), mode="bilinear", align_corners=False
    )
    xy = torch.from_numpy(golden["chain.first_points"]) / 2
    zero = torch.zeros(4, dtype=torch.long)
    tracks, _ = tracker._chain(video[None], zero, xy, (96, 128))
    close(tracks, golden["chain.tracks"][0], 1e-3)


def test_the_threshold_is_lowered_until_a_frame_reaches_it():
    golden = stored("chain", "pips")
    seen = torch.from_numpy(golden["chain.window_visibility"]).T
    assert next_start(seen).tolist() == golden["chain.jumps"][:, 2].tolist()
    assert next_start(torch.tensor([1, 1, 0.3, 0.31, 0.2, 0, 0, 0])[:, None]).tolist() == [3]
    assert np.allclose(golden["chain.threshold"].max(), 0.9)
