"""The classical trackers on a texture that moves by a known step."""

import cv2
import numpy as np
import pytest
import torch

from cotracker.baselines.dis_flow import DISFlow
from cotracker.baselines.lucas_kanade import LucasKanade
from cotracker.baselines.static import Static

STEP = (2.5, -1.5)
FRAMES = 8
MOVERS = [LucasKanade((96, 128)), DISFlow((96, 128)), LucasKanade(None), DISFlow(None)]
IDS = ["lk", "dis", "lk_native", "dis_native"]


def _video(seed=0):
    """uint8 1 T 3 96 128: a smooth random texture moving by STEP a frame."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.uniform(0, 255, (200, 200, 3)).astype(np.float32), (0, 0), 2.5)
    texture = (texture - texture.min()) / (texture.max() - texture.min()) * 255
    frames = []
    for t in range(FRAMES):
        shift = np.float32([[1, 0, -30 + STEP[0] * t], [0, 1, -30 + STEP[1] * t]])
        frames.append(cv2.warpAffine(texture, shift, (128, 96), flags=cv2.INTER_LINEAR))
    return torch.from_numpy(np.stack(frames)).round().byte().permute(0, 3, 1, 2)[None]


def _queries(times):
    rng = np.random.default_rng(1)
    xy = np.stack([rng.uniform(25, 95, len(times)), rng.uniform(30, 75, len(times))], -1)
    return torch.from_numpy(np.c_[times, xy]).float()[None]


@pytest.mark.parametrize("tracker", MOVERS, ids=IDS)
def test_a_moving_texture_is_followed(tracker):
    queries = _queries([0, 0, 0, 0, 2, 3, 5])
    tracks = tracker(_video(), queries)
    time = torch.arange(FRAMES)[None, :, None] - queries[:, None, :, 0]
    truth = queries[:, None, :, 1:] + time.clamp(min=0)[..., None] * torch.tensor(STEP)
    assert tracks.xy.shape == (1, FRAMES, 7, 2) and tracks.xy.dtype == torch.float32
    assert (tracks.xy - truth).norm(dim=-1).max() < 0.5
    assert torch.equal(tracks.visible, time >= 0)


@pytest.mark.parametrize(
    "tracker", [LucasKanade((48, 64)), DISFlow((192, 256))], ids=["half", "double"]
)
def test_the_working_size_is_undone(tracker):
    queries = _queries([0, 0, 0, 0])
    moved = tracker(_video(), queries).xy[0, -1] - queries[0, :, 1:]
    assert (moved - 7 * torch.tensor(STEP)).norm(dim=-1).max() < 1


@pytest.mark.parametrize("tracker", [Static(), *MOVERS], ids=["static", *IDS])
def test_before_its_query_a_point_is_repeated_unseen(tracker):
    queries = _queries([0, 3, 7])
    tracks = tracker(_video(), queries)
    for n, t in enumerate([0, 3, 7]):
        assert torch.equal(tracks.xy[0, : t + 1, n], queries[0, n, 1:].expand(t + 1, 2))
        assert not tracks.visible[0, :t, n].any() and tracks.visible[0, t, n]
    assert torch.equal(tracks.visibility, tracks.visible.float())


@pytest.mark.parametrize("tracker", [Static(), *MOVERS[:2]], ids=["static", "lk", "dis"])
def test_a_batch_is_its_singles_in_any_order(tracker):
    videos, queries = (
        [_video(0), _video(1)],
        [_queries([0, 1, 4]), _queries([2, 0, 0]) + torch.tensor([0.0, 3, 2])],
    )
    singles = [tracker(video, query) for video, query in zip(videos, queries)]
    both = tracker(torch.cat(videos), torch.cat(queries))
    assert torch.equal(both.xy, torch.cat([one.xy for one in singles]))
    assert torch.equal(both.visible, torch.cat([one.visible for one in singles]))
    shared = tracker(videos[0], torch.cat(queries))  # one video serving two sets of queries
    assert torch.equal(shared.xy[0], singles[0].xy[0]) and torch.equal(
        shared.xy[1], tracker(videos[0], queries[1]).xy[0]
    )
    order = [2, 0, 1]
    permuted = tracker(videos[0], queries[0][:, order])
    assert torch.equal(permuted.xy, singles[0].xy[:, :, order])


def test_static_stays():
    queries = _queries([0, 2])
    xy = Static()(_video(), queries).xy
    assert torch.equal(xy, queries[:, None, :, 1:].expand(1, FRAMES, 2, 2))


@pytest.mark.parametrize("tracker", MOVERS[:2], ids=["lk", "dis"])
def test_a_point_that_leaves_the_picture_is_unseen(tracker):
    queries = torch.tensor([[[0.0, 120.0, 50.0]]])
    tracks = tracker(_video(), queries)
    assert tracks.visible[0, 0, 0] and not tracks.visible[0, -1, 0]
    assert torch.isfinite(tracks.xy).all()


def test_opencv_keeps_its_threads_and_no_points_are_tracked_to_nothing():
    before = cv2.getNumThreads()
    tracks = DISFlow((96, 128))(_video(), torch.zeros(1, 0, 3))
    assert tracks.xy.shape == (1, FRAMES, 0, 2) and cv2.getNumThreads() == before


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: LucasKanade(window=20), "window must be odd, not 20"),
        (lambda: LucasKanade(levels=0), "levels must be a whole number of at least 1"),
        (lambda: DISFlow(preset="slow"), "preset must be ultrafast, fast or medium, not slow"),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_settings_are_described():
    assert LucasKanade().describe() == {
        "tracker": "LucasKanade",
        "resolution": [384, 512],
        "window": 21,
        "levels": 5,
    }
    assert DISFlow(None).describe() == {
        "tracker": "DISFlow",
        "resolution": None,
        "preset": "medium",
    }


@pytest.mark.parametrize("kind", [LucasKanade, DISFlow])
def test_a_point_that_was_hidden_is_found_again_on_request(kind):
    video, queries = _video(), torch.tensor([[[0.0, 40, 60], [2, 80, 40]]])
    noise = np.random.default_rng(2).integers(0, 256, (3, 44, 40), np.uint8)
    video[:, 3:6, :, 36:80, 30:70] = torch.from_numpy(noise)  # stands still over the first point
    truth = queries[0, 0, 1:] + torch.arange(FRAMES)[:, None] * torch.tensor(STEP)
    hidden = (torch.arange(FRAMES) >= 3) & (torch.arange(FRAMES) < 6)
    plain, again = (
        kind((96, 128), redetect=redetect)(video, queries) for redetect in (False, True)
    )
    error = (again.xy[0, :, 0] - truth).norm(dim=-1)
    assert error[~hidden].max() < 1 and torch.equal(again.visible[0, :, 0], ~hidden)
    assert (plain.xy[0, :, 0] - truth).norm(dim=-1)[6:].min() > 3
    assert torch.equal(plain.visible[0, :, 1], again.visible[0, :, 1])  # never lost
    assert torch.equal(plain.xy[0, :, 1], again.xy[0, :, 1])


def test_what_looks_like_nothing_is_neither_lost_nor_found():
    queries = torch.tensor([[[0.0, 40, 60]]])
    flat = torch.full((1, 4, 3, 96, 128), 90, dtype=torch.uint8)
    found = [DISFlow(None, redetect=redetect)(flat, queries) for redetect in (False, True)]
    assert torch.equal(found[0].xy, found[1].xy)
    assert found[1].visible.all()
