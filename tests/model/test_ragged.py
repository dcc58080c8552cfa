"""A batch of clips with unequal numbers of points: whatever stands in the padding, each clip counts
as by itself.
"""

from dataclasses import replace

import pytest
import torch

from cotracker.model.cotracker import CoTracker
from cotracker.queries import sample_queries
from cotracker.training.config import ObjectiveConfig
from cotracker.training.objective import Objective
from cotracker.types import Clip, collate

COUNTS = (5, 9, 2)
LOSSES = [
    {},
    {"log_loss_weight": 2.0},
    {"matching_weight": 0.5},
    {"points": 4},
    {"matching_weight": 0.5, "points": 0},
]


def clip_of(points: int, frames: int = 6) -> Clip:
    random = torch.Generator().manual_seed(points)
    video = torch.randint(256, (frames, 3, 32, 40), generator=random, dtype=torch.uint8)
    tracks = torch.rand(frames, points, 2, generator=random) * torch.tensor([39.0, 31.0])
    visible, valid = (torch.rand(frames, points, generator=random) < share for share in (0.6, 0.8))
    visible[0] = valid[0] = True
    return Clip(video, tracks, visible, valid, name=str(points), seed=(0, points))


def ragged(garbage: float) -> Clip:
    """The batch, with garbage in what its padding holds; what makes it padding is `valid` alone."""
    batch = collate([clip_of(count) for count in COUNTS])
    padding = torch.arange(max(COUNTS)) >= torch.tensor(COUNTS)[:, None]
    assert not batch.valid.transpose(1, 2)[padding].any()
    tracks = torch.where(padding[:, None, :, None], garbage, batch.tracks)
    return replace(batch, tracks=tracks, visible=batch.visible | padding[:, None])


def singles() -> list[Clip]:
    return [collate([clip_of(count)]) for count in COUNTS]


@pytest.fixture(scope="module")
def model() -> CoTracker:
    torch.manual_seed(0)
    return CoTracker(
        window=4,
        channels=16,
        widths=(8, 8, 8, 8),
        fuse_width=8,
        hidden=32,
        heads=2,
        time_layers=1,
        group_layers=1,
        motion_waves=4,
    )


def test_collate_pads_points_that_are_nowhere_valid():
    batch = collate([clip_of(count) for count in COUNTS])
    assert batch.tracks.shape == (3, 6, 9, 2) and batch.visible.shape == batch.valid.shape == (
        3,
        6,
        9,
    )
    for item, count in enumerate(COUNTS):
        clip = clip_of(count)
        for name in ("tracks", "visible", "valid"):
            value = getattr(batch, name)[item]
            assert torch.equal(value[:, :count], getattr(clip, name)) and not value[:, count:].any()
            assert value.dtype == getattr(clip, name).dtype
    assert batch.seed == [(0, 5), (0, 9), (0, 2)] and batch.replaced == [0, 0, 0]


@pytest.mark.parametrize(
    "other", [clip_of(5, frames=5), replace(clip_of(5), video=clip_of(5).video[..., 1:])]
)
def test_collate_refuses_other_shapes_still(other):
    with pytest.raises(ValueError, match="equal shapes"):
        collate([clip_of(5), other])


@pytest.mark.parametrize("garbage", [1e4, float("nan")])
def test_padding_asks_nothing_and_moves_no_query(garbage):
    """A late quarter is one of a clip's own points, so that a batch changes nothing."""
    queries, real = sample_queries(ragged(garbage), late=0.5)
    for item, alone in enumerate(singles()):
        count = COUNTS[item]
        own, own_real = sample_queries(alone, late=0.5)
        assert torch.equal(queries[item, :count], own[0]) and torch.equal(
            real[item, :count], own_real[0]
        )
        assert own_real.all() and not real[item, count:].any()


@pytest.mark.parametrize("garbage", [1e4, float("nan")])
def test_estimates_of_real_points_are_those_of_the_single_clips(model, garbage):
    batch = ragged(garbage)
    queries, real = sample_queries(batch)
    with torch.no_grad():
        together = model(batch.video, queries, 2, real)
        for item, clip in enumerate(singles()):
            count = COUNTS[item]
            for ours, own in zip(together, model(clip.video, sample_queries(clip)[0], 2)):
                assert torch.allclose(
                    ours.tracks[-1][item, :, :count], own.tracks[-1][0], atol=1e-5, rtol=1e-5
                )
                assert torch.allclose(
                    ours.logits[item, :, :count], own.logits[0], atol=1e-5, rtol=1e-5
                )


def gradients(
    model: CoTracker, objective: Objective, clip: Clip
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model.zero_grad()
    loss, _ = objective(model, objective.sample_targets(clip, model.window))
    loss.backward()
    return loss.detach(), [
        torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("garbage", [0.0, 1e4])
@pytest.mark.parametrize("terms", LOSSES, ids=str)
def test_loss_and_gradients_are_the_mean_over_the_single_clips(model, terms, garbage):
    objective = Objective(ObjectiveConfig(**terms))
    loss, gradient = gradients(model, objective, ragged(garbage))
    alone = [gradients(model, objective, clip) for clip in singles()]
    assert torch.allclose(loss, sum(one for one, _ in alone) / len(COUNTS), rtol=1e-5, atol=1e-5)
    scale = max(g.abs().max() for g in gradient)
    assert scale > 0
    for whole, *parts in zip(gradient, *(one for _, one in alone)):
        assert (whole - sum(parts) / len(COUNTS)).abs().max() <= 1e-5 * max(scale, 1)
