"""What a newcomer writes first: each guess works, or one sentence says what to pass."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from moving import moving_texture
from PIL import Image
from small_networks import tiny

import cotracker
from cotracker import checkpoint
from cotracker.data.video import write_video
from cotracker.tracks import Tracks

FRAMES, HEIGHT, WIDTH = 24, 64, 96
V = moving_texture(FRAMES, HEIGHT, WIDTH)  # T H W 3 uint8
T = torch.from_numpy(V).permute(0, 3, 1, 2)[None]  # 1 T 3 H W
Q = torch.tensor([[[0, 20.0, 20.0], [3, 60, 40], [23, 50, 30]]])


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    checkpoint.save(path, tiny(), {})
    return cotracker.load_tracker(path, iters=1, resolution=(48, 64), device="cpu")


@pytest.fixture(scope="module")
def expected(tracker) -> Tracks:
    return tracker(T, Q)


WORKS = {
    "1 numpy video": (V, Q),
    "2 numpy both": (V, Q[0].numpy()),
    "3 T H W 3": (torch.from_numpy(V), Q),
    "4 T 3 H W": (T[0], Q),
    "5 nested lists": (T, Q[0].tolist()),
    "6 N 3": (T, Q[0]),
    "7 whole numbers": (T, Q.long()),
    "8 numpy queries": (T, Q.numpy()),
    "1 T H W 3": (V[None], Q),
    "a list of frames": (list(V), Q),
    "a list of pictures": ([Image.fromarray(frame) for frame in V], Q),
    "a list of tensors": (list(T[0]), Q),
    "a reversed array": (V[::-1][::-1], Q),
    "doubles": (V.astype(np.float64), Q.double()),
}


@pytest.mark.parametrize("guess", WORKS)
def test_guesses_that_work(tracker, expected, guess):
    tracks = tracker(*WORKS[guess])
    assert tracks.xy.shape == (1, FRAMES, 3, 2)
    assert torch.equal(tracks.xy, expected.xy) and torch.equal(tracks.visible, expected.visible)
    assert torch.equal(tracks.queries, Q) and tracks.size == (HEIGHT, WIDTH)


def test_an_iterator_of_frames(tracker, expected):
    assert torch.equal(tracker((frame for frame in V), Q).xy, expected.xy)


def test_a_path_as_text_and_as_path(tracker, tmp_path):
    write_video(tmp_path / "my.mp4", iter(V), 12.5, (HEIGHT, WIDTH))
    for path in (tmp_path / "my.mp4", str(tmp_path / "my.mp4")):
        tracks = tracker(path, Q)
        assert tracks.xy.shape == (1, FRAMES, 3, 2) and abs(tracks.fps - 12.5) < 1e-6


def test_10_and_11_the_grid_needs_no_further_import():
    from cotracker.queries import grid

    assert torch.equal(cotracker.queries.grid(3, (64, 96)), grid(3, (64, 96)))
    assert cotracker.visualize.overlay is not None


def test_12_a_grid_by_either_name(tracker):
    tracks = tracker(T, grid=3)
    assert tracks.queries.shape == (1, 9, 3) and not tracks.queries[..., 0].any()
    assert torch.equal(tracker(T, grid_size=3).xy, tracks.xy)
    assert tracker(T, grid=2, frame=7).queries[0, :, 0].tolist() == [7] * 4


REFUSED = {
    "9 x and y alone": (T, Q[..., 1:], "put the frame, such as 0, before x and y"),
    "13 far outside": (T, [[0, 300, 20]], "a query lies far outside the 96x64 picture"),
    "16 between frames": (T, [[1.5, 20, 20]], "a query's frame must be a whole number"),
    "17 before the video": (T, [[-1, 20, 20]], "frames 0 to 23, queries have -1"),
    "18 after the video": (T, [[24, 20, 20]], "frames 0 to 23, queries have 24"),
    "shares of 1": (T / 255, Q, "multiply by 255"),
    "shares of 1, numpy": (V / 255, Q, "multiply by 255"),
    "no frames": ([], Q, "a list of frames must hold pictures"),
    "unlike frames": ([V[0], V[0, :9]], Q, "all of one size"),
    "grey frames": (V[..., 0], Q, "video must have shape"),
    "unclear axes": (V[:, :3], Q, "may be T 3 H W or T H W 3: pass B T 3 H W"),
    "a missing file": ("absent.mp4", Q, "absent.mp4 does not exist"),
    "normalised": (T / 50 - 2, Q, "as normalised pictures do"),
    "16 bits in doubles": (V * 257.0, Q, "from 9509 to 55769, and must be 0..255"),
    "below nothing": (V.astype(np.int16) - 99, Q, "from -?[0-9]+ to [0-9]+, and must be 0..255"),
    "a spectrum": (T.to(torch.complex64), Q, "video must be numbers, not torch.complex64"),
    "no numbers": (T.to("meta"), Q, "video must be a dense tensor that holds its numbers"),
    "sparse queries": (T, Q.to_sparse(), "queries must be a dense tensor"),
    "missing queries": (T, np.ma.array(Q[0].numpy(), mask=np.eye(3)), "some are masked"),
    "an address": (Path("https://example.com/a.mp4"), Q, "^https://example.com/a.mp4 is an addr"),
    "an empty path": ("", Q, "video is empty: give a path"),
    "an endless name": ("a" * 5000, Q, "cannot be read .File name too long"),
    "bytes": (b"a.mp4", Q, "video must be a path, as text or pathlib.Path"),
    "nothing": (T, None, "nothing is asked: pass queries, points=, grid= or mask="),
}


@pytest.mark.parametrize("guess", REFUSED)
def test_guesses_that_are_refused_in_one_sentence(tracker, guess):
    *arguments, message = REFUSED[guess]
    with pytest.raises(ValueError, match=message) as caught:
        tracker(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "guess, row, message",
    [
        ("14", [0, 100, 20], "1 of 1 points lie outside the 96x64 picture: they are tracked"),
        ("15", [0, 20, 90], "x and y look swapped"),
    ],
)
def test_14_and_15_points_outside_are_tracked_with_a_warning(tracker, guess, row, message):
    with pytest.warns(UserWarning, match=message):
        tracks = tracker(T, [row])
    assert torch.equal(tracks.xy[0, 0, 0], torch.tensor(row[1:], dtype=torch.float32))
    assert not tracks.in_frame[0, 0, 0] and not tracks.visible[0, 0, 0]
    assert not (tracks.visible & ~tracks.in_frame).any()


def test_points_on_the_border_bring_no_warning(tracker):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracker(T, [[0, -0.5, -0.5], [0, 95.5, 63.5]])


@pytest.mark.parametrize("change", ["half", "bfloat16", "double"])
def test_a_tracker_keeps_its_precision(tracker, change):
    with pytest.raises(ValueError, match="choose it in load_tracker"):
        getattr(tracker, change)()
    with pytest.raises(ValueError, match="choose it in load_tracker"):
        tracker.to(torch.float16)
    assert tracker.to("cpu").float() is tracker


def test_two_clips_with_different_numbers_of_points(tracker):
    video = torch.cat([T, T.flip(-1)])
    tracks = tracker(video, [Q[0], Q[0, :1].numpy()])
    assert tracks.xy.shape == (2, FRAMES, 3, 2) and len(tracks) == 2
    assert tracks.point_mask.tolist() == [[True] * 3, [True, False, False]]
    assert not tracks.visible[1, :, 1:].any()
    assert torch.equal(tracks[0].xy, tracker(T, Q).xy)
    assert torch.equal(tracks[1].xy, tracker(T.flip(-1), Q[:, :1]).xy)
    with pytest.raises(ValueError, match="cannot be added to others"):
        tracker(video, [Q[0], Q[0, :1]], grid=2)


def test_the_inside_of_a_mask_with_the_labels_as_ids(tracker):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[20:50, 30:80] = True
    inside = tracker(T, mask=mask)
    x, y = inside.queries[0, :, 1:].unbind(-1)
    assert len(x) > 9 and (x > 29).all() and (x < 80).all() and (y > 19).all() and (y < 50).all()
    assert (inside.ids == 1).all()
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    labels[:, :48], labels[:, 48:] = 7, 300
    both = tracker(T, Q, points=[[0, 5, 6]], grid=2, mask=labels)
    assert both.ids.tolist() == [[0, 0, 0, 0, 7, 300, 7, 300]]
    assert torch.equal(both.queries[0, :4], torch.cat([Q[0], torch.tensor([[0, 5.0, 6]])]))


@pytest.mark.parametrize(
    "mask, message",
    [
        (np.ones((HEIGHT, WIDTH + 1)), "mask is 97x64, but the video is 96x64"),
        (np.ones((FRAMES, 1, HEIGHT, WIDTH)), "mask must be H W, of one frame .*, not 24 64 96"),
        (np.zeros((HEIGHT, WIDTH)), "mask is empty"),
        (np.full((HEIGHT, WIDTH), 0.7), "pass such as mask > 0.5"),
        (np.full((HEIGHT, WIDTH), np.nan), "pass such as mask > 0.5"),
        ({}, "mask must hold numbers in equally long rows"),
        (np.eye(HEIGHT, WIDTH) > 1, "mask is empty"),
    ],
)
def test_masks_that_are_refused(tracker, mask, message):
    with pytest.raises(ValueError, match=message):
        tracker(T, mask=mask)


def test_points_of_a_file_add_up_with_the_others(tracker, tmp_path):
    (tmp_path / "p.csv").write_text("frame,x,y\n2,10,11\n")
    tracks = tracker(T, Q, points=tmp_path / "p.csv", grid=1)
    assert tracks.queries[0].tolist()[3:] == [[2, 10, 11], [0, 48, 32]]


def test_a_grid_is_asked_of_every_clip_and_has_an_end(tracker):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[20:50, 30:80] = True
    both = tracker(torch.cat([T, T]), grid=3, mask=mask)
    alone = tracker(T, grid=3, mask=mask)
    assert torch.equal(both[1].xy, alone.xy) and torch.equal(both[1].ids, alone.ids)
    with pytest.raises(ValueError, match="grid must be a whole number from 1 to 1024"):
        tracker(T, grid=10**9)


def test_the_callers_defaults_change_nothing(tracker, expected, tmp_path):
    path = tmp_path / "tiny.safetensors"
    checkpoint.save(path, tiny(), {})
    dtype = torch.get_default_dtype()
    with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        torch.set_default_dtype(torch.float64)
        try:
            loaded = cotracker.load_tracker(path, iters=1, resolution=(48, 64), device="cpu")
            found = [one(T, Q).xy for one in (tracker, loaded)]
            assert torch.get_default_dtype() == torch.float64
        finally:
            torch.set_default_dtype(dtype)
    assert all(torch.equal(xy, expected.xy) for xy in found)


def test_what_cannot_be_used_is_said(tracker):
    for device in ("meta", "gpu"):
        with pytest.raises(ValueError, match=f"device {device} cannot be used on this machine"):
            cotracker.load_tracker(device=device)
    with pytest.raises(ValueError, match="iters must be a whole number from 1 to 1000"):
        cotracker.load_tracker(iters=10**9)
    with pytest.raises(ValueError, match="checkpoint is empty"):
        cotracker.load_tracker("")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="the tracker cannot be moved .*: leave it on cpu"):
            tracker.to("cuda")
    for device in ("gpu", *(() if torch.cuda.is_available() else ("cuda",))):
        with pytest.raises(ValueError, match=f"device {device} cannot be used on this machine"):
            tracker(T, Q).to(device)
    with pytest.raises(ValueError, match="device gpu cannot be used on this machine"):
        tracker.to("gpu")


def test_track_video_takes_what_a_tracker_takes(tracker, expected):
    found = cotracker.track_video(V, Q[0].tolist(), tracker)
    assert torch.equal(found.xy, expected.xy)


def test_tracks_are_indexed_counted_and_stored(tracker, expected, tmp_path):
    assert len(expected) == 1 and torch.equal(expected[0].xy, expected.xy)
    expected.save(tmp_path / "t.npz")
    assert torch.equal(cotracker.Tracks.load(tmp_path / "t.npz").xy, expected.xy)


def test_a_roi_equals_the_cropped_video(tracker):
    left, top, right, bottom = 16, 8, 80, 56
    queries = Q + torch.tensor([0, 16.0, 0])
    tracks = tracker(T, queries, roi=(left, top, right, bottom))
    corner = torch.tensor([0, left, top])
    alone = tracker(T[..., top:bottom, left:right], queries - corner)
    torch.testing.assert_close(tracks.xy, alone.xy + corner[1:])
    assert torch.equal(tracks.visible, alone.visible) and tracks.size == (HEIGHT, WIDTH)
    grid = tracker(T, grid=3, roi=(left, top, right, bottom)).queries[0, :, 1:]
    assert (grid.amin(0) >= corner[1:]).all() and (
        grid.amax(0) <= corner.new_tensor([79, 55])
    ).all()
    for roi in ((0, 0, 97, 64), (5, 5, 5, 9), (0.5, 0, 9, 9), 7):
        with pytest.raises(ValueError, match="roi must be .left, top, right, bottom."):
            tracker(T, Q, roi=roi)
