"""TAPIR and BootsTAPIR against the numbers of the published code (tapnet c2cbab81)."""

import pytest
import torch
from parity import close, stored
from systems import inputs, long_parity, published_state

from cotracker.baselines.tap import resize
from cotracker.baselines.tapir import PUBLISHED, TAPIR, TAPIRNetwork

PIXELS, LOGITS = 1e-2, 1e-2  # rounding makes 5e-4 (small 2.6e-3) px and 4e-4


def network(name, **settings):
    net = TAPIRNetwork(boots=name == "bootstapir", **settings)
    PUBLISHED.load(net, published_state("tapir", f"spec_{name}.json"))
    return net


def questions(golden):
    return torch.from_numpy(golden["inputs.queries_tyx"][0])[:, [0, 2, 1]]


def compare(estimates, golden, case):
    *unrefined, last = estimates
    xy = torch.stack([e.xy for e in unrefined[: len(golden[f"{case}.unrefined_tracks"])]])
    close(xy, golden[f"{case}.unrefined_tracks"], PIXELS)
    close(last.xy, golden[f"{case}.tracks"], PIXELS)
    close(last.occlusion, golden[f"{case}.occlusion"], LOGITS)
    close(last.distance, golden[f"{case}.expected_dist"], LOGITS)


@pytest.mark.slow
@torch.no_grad()
def test_features_and_matching_are_the_published_ones():
    golden, net = stored("golden_tapir", "tapir"), network("tapir")
    frames = resize(inputs(20, 96, 128)[[0, 5, 13]] * (2 / 255) - 1, (256, 256))
    maps = net.encode(frames)
    lowres = maps.lowres[0].permute(1, 2, 0)[::2, ::2]
    close(lowres, golden["T20.lowres_frame0_every2_f16"], 4e-3)
    close(maps.hires[0].permute(1, 2, 0)[::4, ::4], golden["T20.hires_frame0_every4_f16"], 4e-3)
    early = questions(golden)
    early = early[early[:, 0] == 0]
    features = net.query(maps, early, (96, 128))
    rows = [0, 2, 5]
    close(features[0], golden["T20.query_hires"][rows], 1e-5)
    close(features[1], golden["T20.query_lowres"][rows], 1e-5)
    features[1] = torch.from_numpy(golden["T20.query_lowres"][[1, 2]])
    costs = torch.einsum("nc,tchw->tnhw", features[1], maps.lowres)
    close(costs, golden["T20.cost_volume_2pts"], 1e-5)
    close(
        net.match(costs.flatten(0, 1))[0].unflatten(0, (3, 2)),
        golden["T20.heatmap_logit_2pts"],
        1e-4,
    )


@long_parity
@pytest.mark.parametrize("name", ["tapir", "bootstapir"])
@torch.no_grad()
def test_the_small_resolutions(name):
    golden = stored(f"golden_{name}", "tapir")
    frames = inputs(20, 96, 128) * (2 / 255) - 1
    net = network(name, height_only=True)
    sizes = [(64, 64), (64, 64), (96, 128)]
    compare(net(frames, questions(golden), sizes), golden, "small_T20")
    if name == "bootstapir":
        net.temperature = 10.0
        compare(net(frames, questions(golden), sizes), golden, "small_T20_temperature10")


@long_parity
@torch.no_grad()
def test_the_default_resolution():
    golden = stored("golden_tapir", "tapir")
    frames = inputs(20, 96, 128) * (2 / 255) - 1
    estimates = network("tapir")(frames, questions(golden), [(256, 256), (256, 256)])
    compare(estimates, golden, "T20")


@torch.no_grad()
def test_a_causal_network_sees_no_later_frame():
    tracker = TAPIR("random", causal=True, per_frame=True, device="cpu")
    tracker.size = (32, 32)
    video, queries = inputs(5, 32, 32)[None], torch.tensor([[[0, 9.0, 20], [2, 20, 7]]])
    live = tracker(video, queries)
    tracker.per_frame, tracker.both_directions = False, True
    whole = tracker(video, queries)
    close(whole.xy[0, :, 0], live.xy[0, :, 0], 1e-3)
    close(whole.visibility[0, :, 0], live.visibility[0, :, 0], 1e-4)
    later = tracker(video[:, 2:], queries[:, 1:] - torch.tensor([2.0, 0, 0]))
    close(later.xy[0, :, 0], live.xy[0, 2:, 1], 1e-3)
