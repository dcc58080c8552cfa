"""Correlation features: two ways to the same numbers, both equal to reading the features
themselves.
"""

import pytest
import torch
import torch.nn.functional as F

from cotracker.model import correlation, runtime
from cotracker.model.correlation import correlate, offsets, read_products
from cotracker.model.encoder import pyramid

H, W, C, RADIUS = 7, 11, 6, 3
PLACES = [
    (5.3, 2.7),
    (4.0, 3.0),
    (0.0, 0.0),
    (10.0, 6.0),
    (-0.5, 3.2),
    (10.5, 6.5),
    (-2.25, 8.9),
    (-3.999, 1.0),
    (14.0, 3.0),
    (60.0, -80.0),
    (-1e7, 1e7),
    (3e9, 2.0),
]


def _case(batch=2, frames=3, videos=None, seed=0):
    """maps b S H W C, features B S N C, cells B S N 2: awkward places, then random ones."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(videos or batch, frames, H, W, C, generator=generator)
    cells = (
        torch.rand(batch, frames, 20, 2, generator=generator) * torch.tensor([W + 8.0, H + 8.0]) - 4
    )
    cells[:, :, : len(PLACES)] = torch.tensor(PLACES)
    return maps, torch.randn(batch, frames, 20, C, generator=generator), cells


def _brute_force(maps, features, cells, wanted):
    """Features read by grid_sample with zeros outside, then their products, B S N K."""
    batch, frames, points = features.shape[:3]
    at = cells.double()[:, :, :, None] + torch.tensor(wanted).double()  # B S N K 2
    height, width = maps.shape[2:4]
    grid = at.clamp(-1000, 1000) / torch.tensor([width - 1.0, height - 1.0]).clamp(min=1e-9) * 2 - 1
    images = maps.expand(batch, -1, -1, -1, -1).flatten(0, 1).permute(0, 3, 1, 2).double()
    read = F.grid_sample(
        images, grid.flatten(0, 1), mode="bilinear", padding_mode="zeros", align_corners=True
    )
    read = read.permute(0, 2, 3, 1).reshape(batch, frames, points, len(wanted), C)
    return (read * features.double()[..., None, :]).sum(-1).float()


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "local"])
@pytest.mark.parametrize("videos", [2, 1], ids=["own_video", "shared_video"])
def test_products_equal_reading_the_features(whole, videos):
    maps, features, cells = _case(videos=videos)
    expected = _brute_force(maps, features, cells, offsets("square", RADIUS))
    torch.testing.assert_close(
        read_products(maps, features, cells, RADIUS, whole), expected, rtol=0, atol=2e-5
    )


def test_far_outside_all_is_zero_and_at_a_cell_it_is_that_cell():
    maps, features, cells = _case()
    products = read_products(maps, features, cells, RADIUS)
    far = PLACES.index((60.0, -80.0))
    assert not products[:, :, far : len(PLACES)].any() and products[:, :, :far].any()
    centre = offsets("square", RADIUS).index((0, 0))
    expected = (maps[:, :, 3, 4] * features[:, :, 1]).sum(-1)
    torch.testing.assert_close(products[:, :, 1, centre], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "local"])
def test_points_taken_in_turns_are_the_same(whole, monkeypatch):
    maps, features, cells = _case()
    at_once = read_products(maps, features, cells, RADIUS, whole)
    counted = []
    inner = correlation._interpolate
    monkeypatch.setattr(runtime, "CHUNK_NUMBERS", 3 * 2 * 3 * (H * W if whole else 64 * C))
    monkeypatch.setattr(
        correlation, "_interpolate", lambda *a: counted.append(a[1].shape[2]) or inner(*a)
    )
    torch.testing.assert_close(
        read_products(maps, features, cells, RADIUS, whole), at_once, rtol=0, atol=1e-5
    )
    assert counted == [3] * 6 + [2]


def test_gradients_are_equal_both_ways():
    maps, features, cells = _case()
    cells = cells[:, :, :9]
    features = features[:, :, :9]
    weight = torch.randn(2, 3, 9, (2 * RADIUS + 1) ** 2, generator=torch.Generator().manual_seed(5))
    found = []
    for whole in (True, False, None):
        leaves = [x.clone().requires_grad_() for x in (maps, features)]
        if whole is None:
            out = _brute_force(*leaves, cells, offsets("square", RADIUS))
        else:
            out = read_products(*leaves, cells, RADIUS, whole)
        found.append(torch.autograd.grad((out * weight).sum(), leaves))
    for other in found[1:]:
        for a, b in zip(found[0], other):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-4)
    assert found[0][0].abs().sum() > 0


@pytest.mark.parametrize(
    "neighbourhood, radius, count", [("diamond", 4, 41), ("square", 3, 49), ("diamond", 1, 5)]
)
def test_levels_and_neighbourhoods(neighbourhood, radius, count):
    wanted = offsets(neighbourhood, radius)
    assert len(wanted) == len(set(wanted)) == count
    assert wanted == sorted(wanted)  # x slow, y fast
    maps, features, cells = _case()
    levels = [
        level.unflatten(0, (2, 3)) for level in pyramid(maps.flatten(0, 1).permute(0, 3, 1, 2), 4)
    ]
    assert [tuple(level.shape[2:4]) for level in levels] == [(7, 11), (4, 6), (2, 3), (1, 2)]
    near = correlate(levels, features, cells, neighbourhood, radius)
    assert near.shape == (2, 3, 20, 4 * count)
    for k, level in enumerate(levels):
        if 1 in level.shape[2:4]:  # the normalised grid of the brute force has no side of one cell
            continue
        expected = _brute_force(level, features, cells / 2**k, wanted) / C**0.5
        torch.testing.assert_close(
            near[..., k * count : (k + 1) * count], expected, rtol=0, atol=2e-5
        )


def test_pyramid_averages_over_what_is_there():
    maps = torch.arange(6.0).view(1, 1, 2, 3)  # 0 1 2 / 3 4 5
    assert pyramid(maps, 3)[1][0, :, :, 0].tolist() == [[2.0, 3.5]]
    assert pyramid(maps, 3)[2][0, :, :, 0].tolist() == [[2.75]]


def test_an_unknown_neighbourhood_is_refused():
    with pytest.raises(
        ValueError, match="model.neighbourhood must be diamond or square, not circle"
    ):
        offsets("circle", 3)
