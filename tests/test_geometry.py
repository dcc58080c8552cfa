"""The one pixel convention: points and pictures are resized alike, and maps are read exactly."""

import pytest
import torch
import torch.nn.functional as F

from cotracker.geometry import (
    flip_points,
    inside_frame,
    rescale_points,
    resize_video,
    reverse_time,
    sample_maps,
)


def _random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "size, to", [((24, 40), (48, 80)), ((17, 33), (384, 512)), ((384, 512), (17, 33))]
)
def test_points_rescale_there_and_back(size, to):
    xy = _random(50, 2) * torch.tensor([size[1] - 1.0, size[0] - 1.0])
    there = rescale_points(xy, size, to)
    torch.testing.assert_close(rescale_points(there, to, size), xy, rtol=0, atol=1e-4)
    corners = torch.tensor([[0.0, 0.0], [size[1] - 1, size[0] - 1]])
    assert torch.equal(
        rescale_points(corners, size, to), torch.tensor([[0.0, 0.0], [to[1] - 1, to[0] - 1]])
    )


def test_a_side_of_one_pixel_rescales_to_finite_points():
    assert rescale_points(torch.tensor([[0.0, 3.0]]), (5, 1), (9, 7)).tolist() == [[0.0, 6.0]]


@pytest.mark.parametrize("to", [(45, 79), (23, 118), (67, 40)])
def test_resizing_moves_a_marked_spot_where_rescaling_says(to):
    """A smooth bump's centre of mass, measured in the resized picture."""
    size, centre = (23, 40), torch.tensor([14.0, 9.0])
    y, x = torch.meshgrid(torch.arange(23.0), torch.arange(40.0), indexing="ij")
    bump = 255 * torch.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 8)
    resized = resize_video(bump.expand(1, 1, 3, *size), to)[0, 0, 0]
    y, x = torch.meshgrid(torch.arange(float(to[0])), torch.arange(float(to[1])), indexing="ij")
    measured = torch.stack([(x * resized).sum(), (y * resized).sum()]) / resized.sum()
    torch.testing.assert_close(measured, rescale_points(centre, size, to), rtol=0, atol=0.02)


def test_resizing_a_ramp_keeps_what_lies_under_every_point():
    """A picture that says its own x: after resizing, each pixel says the x it came from."""
    ramp = torch.arange(40.0).expand(1, 2, 3, 23, 40)
    resized = resize_video(ramp, (31, 64))
    where = torch.stack([torch.arange(64.0), torch.zeros(64)], dim=-1)
    torch.testing.assert_close(resized[0, 1, 2, 5], rescale_points(where, (31, 64), (23, 40))[:, 0])


def test_resizing_to_the_same_size_changes_nothing_but_the_type():
    video = (_random(2, 3, 3, 5, 7) * 255).byte()
    resized = resize_video(video, (5, 7))
    assert resized.dtype == torch.float32 and torch.equal(resized, video.float())


def test_a_map_read_at_whole_positions_returns_its_cells():
    maps = _random(2, 5, 7, 3)
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    for k in (0, 1):
        which = torch.full((5, 7), k)
        assert torch.equal(sample_maps(maps, which, torch.stack([x, y], dim=-1)), maps[k])


def test_a_map_read_anywhere_is_bilinear_with_zeros_outside():
    maps = _random(3, 6, 9, 4)
    xy = _random(40, 2, seed=1) * torch.tensor([15.0, 12.0]) - 3
    xy = torch.cat(
        [xy, torch.tensor([[-1e9, 2.0], [3.0, 1e9], [-0.5, -0.5], [8.5, 5.5], [8.0, 5.0]])]
    )
    which = torch.arange(len(xy)) % 3
    grid = xy.clamp(-50, 50) / torch.tensor([8.0, 5.0]) * 2 - 1
    whole = F.grid_sample(
        maps.permute(0, 3, 1, 2), grid[None, None].expand(3, -1, -1, -1), align_corners=True
    )
    expected = whole[which, :, 0, torch.arange(len(xy))]
    torch.testing.assert_close(sample_maps(maps, which, xy), expected, rtol=0, atol=1e-5)


def test_inside_is_between_the_outer_pixel_centres():
    xy = torch.tensor(
        [[0.0, 0.0], [6.0, 4.0], [6.01, 4.0], [6.0, 4.01], [-0.01, 2.0], [float("nan"), 2.0]]
    )
    assert inside_frame(xy, (5, 7)).tolist() == [True, True, False, False, False, False]


def test_reverse_time_twice_is_the_query():
    queries = torch.tensor([[[0.0, 1.0, 2.0], [4.0, 5.0, 6.0]]])
    assert reverse_time(queries, 12)[..., 0].tolist() == [[11.0, 7.0]]
    assert torch.equal(reverse_time(reverse_time(queries, 12), 12), queries)


def test_flipped_twice_is_the_point_and_a_query_keeps_its_frame():
    queries = torch.tensor([[[3.0, 1.5, 2.0], [4.0, 9.0, 6.0]]])
    assert flip_points(queries, 10).tolist() == [[[3.0, 7.5, 2.0], [4.0, 0.0, 6.0]]]
    assert torch.equal(flip_points(flip_points(queries, 10), 10), queries)
    assert flip_points(queries[..., 1:], 10).tolist() == [[[7.5, 2.0], [0.0, 6.0]]]
