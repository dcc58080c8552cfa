"""Queries without a truth: grids equal the published ones, masks, files refused by line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cotracker.queries import around, grid, inside_mask, read_points

GOLDEN = Path(__file__).parents[2] / "shared/parity/metrics/golden.npz"


def test_grids_equal_the_published_ones():
    if not GOLDEN.exists():
        pytest.skip("shared/parity is not on this machine")
    golden = np.load(GOLDEN)
    compared = 0
    for number, (count, height, width, cy, cx) in enumerate(golden["grid_v1.args_size_H_W_cy_cx"]):
        expected = torch.from_numpy(golden[f"grid_v1.{number}"])
        if np.isnan(cx):
            ours = grid(int(count), (int(height), int(width)))[..., 1:]
        elif cx == cy == 0:
            continue  # the published code takes a centre of exactly (0, 0) for none; ours does not
        else:
            ours = around(
                torch.tensor([[cx, cy]], dtype=torch.float32), int(count), box=height, centred=False
            )
        torch.testing.assert_close(ours, expected, rtol=0, atol=5e-5)
        compared += 1
    assert compared == 10


def test_grid_over_the_working_size():
    points = grid(6, (384, 512), frame=3)
    assert points.shape == (1, 36, 3) and points.dtype == torch.float32
    assert (points[..., 0] == 3).all()
    torch.testing.assert_close(points[0, :6, 1], torch.tensor([8, 107.2, 206.4, 305.6, 404.8, 504]))
    torch.testing.assert_close(points[0, ::6, 2], torch.tensor([8, 81.6, 155.2, 228.8, 302.4, 376]))
    assert grid(1, (384, 512))[0].tolist() == [[0, 256, 192]]
    assert grid(2, (33, 17), margin=1)[0, :, 1:].tolist() == [[1, 1], [16, 1], [1, 32], [16, 32]]
    assert grid(2, (3, 17), margin=(1, 4))[0, :, 1:].tolist() == [[4, 1], [13, 1], [4, 2], [13, 2]]
    with pytest.raises(ValueError, match="at least 1"):
        grid(0, (10, 10))


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_around_is_centred_unless_asked(count):
    centre = torch.tensor([[[10.0, 20.0], [0.0, 0.0]]])
    points = around(centre, count)
    assert points.shape == (1, 2, count * count, 2)
    torch.testing.assert_close(points.mean(dim=2), centre)
    if count > 1:
        assert (points.amax(2) - points.amin(2) - 50).abs().max() < 1e-4
    if count == 6:
        shifted = around(centre, 6, centred=False)
        torch.testing.assert_close(shifted[0, 1, :6, 0], torch.arange(-30.0, 21, 10))


def test_inside_mask_keeps_what_lies_on_it():
    mask = torch.zeros(20, 30, dtype=torch.uint8)
    mask[5:10, 12:20] = 255
    queries = torch.tensor(
        [[[0, 12, 5], [0, 11.4, 5], [0, 11.6, 9.4], [1, 19, 10], [0, -9, 7], [0, 500, 500]]]
    )
    assert inside_mask(queries, mask)[0].tolist() == [[0, 12, 5], queries[0, 2].tolist()]
    assert inside_mask(queries, torch.zeros(20, 30)).shape == (1, 0, 3)


def test_read_points(tmp_path):
    file = tmp_path / "points.csv"
    file.write_text("\ufeffframe, x ,y\r\n0,1.5,2\r\n\r\n 7 ,-3,40.25\r\n", encoding="utf-8")
    points, names = read_points(file, frames=8, size=(48, 64))
    assert names is None and points.dtype == torch.float32
    assert points.tolist() == [[[0, 1.5, 2], [7, -3, 40.25]]]


@pytest.mark.parametrize(
    "text, expected, names",
    [
        ("frame,x,y,name\n0,80,60,nose\n0,40,30,tail\n", [(0, 80, 60), (0, 40, 30)], "nose tail"),
        (",frame,x,y\n0,0,80,60\n1,0,40,30\n", [(0, 80, 60), (0, 40, 30)], None),
        ("frame;x;y\n0;80,5;60\n", [(0, 80.5, 60)], None),
        ("name\ty\tx\tframe\na, b\t1\t2\t3\n", [(3, 2, 1)], "a, b"),
        (
            "point,frame,seconds,x,y,visibility,visible\n"
            "0,0,0,8,6,0.2,0\n0,1,.1,9,7,0.9,1\n0,2,.2,1,1,0.9,1\n1,0,0,5,5,0.1,0\n",
            [(1, 9, 7), (0, 5, 5)],
            None,
        ),
    ],
)
def test_columns_may_be_more_and_separated_otherwise(tmp_path, text, expected, names):
    (tmp_path / "points.csv").write_text(text)
    points, found = read_points(tmp_path / "points.csv", frames=8, size=(120, 160))
    assert points[0].tolist() == [list(map(float, row)) for row in expected]
    assert " ".join(found or ()) == (names or "")


def test_frames_of_a_cut_video_keep_the_numbers_of_the_file(tmp_path):
    (tmp_path / "points.csv").write_text("frame,x,y\n12,1,2\n")
    points, _ = read_points(tmp_path / "points.csv", frames=8, size=(48, 64), first=10)
    assert points.tolist() == [[[2, 1, 2]]]
    with pytest.raises(ValueError, match="frame 12 is outside the video, which has frames 13 to"):
        read_points(tmp_path / "points.csv", frames=8, size=(48, 64), first=13)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "must begin with a header that has frame,x,y, not an empty line"),
        ("frame,frame,x,y\n0,0,1,2\n", "has two columns frame"),
        ("x,y\n1,2\n", "must begin with a header that has frame,x,y, not x,y"),
        ("frame,x,y\n", "holds no points"),
        ("frame,x,y\n\n0,1,2\n0,one,2\n", "line 4: expected three numbers frame,x,y, not 0,one,2"),
        ("frame,x,y\n0,1\n", "line 2: expected three numbers"),
        ("frame,x,y\n0,nan,2\n", "line 2: 0,nan,2 is not finite"),
        ("frame,x,y\n8,1,2\n", "line 2: frame 8 is outside the video, which has frames 0 to 7"),
        ("frame,x,y\n0.5,1,2\n", "frame 0.5 must be a whole number"),
        ("frame,x,y\n0,640,2\n", "far outside the 64x48 picture"),
    ],
)
def test_read_points_refuses(tmp_path, text, message):
    file = tmp_path / "points.csv"
    file.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_points(file, frames=8, size=(48, 64))
    assert (
        message in str(caught.value)
        and str(file) in str(caught.value)
        and "\n" not in str(caught.value)
    )


def test_read_points_refuses_what_is_no_text(tmp_path):
    file = tmp_path / "points.csv"
    file.write_bytes(b"\xff\xfe\x00\x81" * 9)
    with pytest.raises(ValueError, match="is not a csv text file"):
        read_points(file, frames=8, size=(48, 64))
    with pytest.raises(ValueError, match="does not exist"):
        read_points(tmp_path / "none.csv", frames=8, size=(48, 64))
