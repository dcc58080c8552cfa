"""What every tracker and every chain of wrappers promises."""

import json

import pytest
import torch
from sliding import FRAMES, MODEL, STEP, TRACKERS, H, Lazy, W, assert_same, some_queries, texture

from cotracker.baselines.dis_flow import DISFlow
from cotracker.baselines.lucas_kanade import LucasKanade
from cotracker.baselines.static import Static
from cotracker.trackers.wrappers import Bidirectional
from cotracker.types import Tracks

every_tracker = pytest.mark.parametrize("tracker", TRACKERS.values(), ids=TRACKERS)


@every_tracker
def test_tracks_have_their_shapes_and_begin_at_the_queries(tracker):
    video, queries = texture(), some_queries()
    kept = video.clone(), queries.clone()
    tracks = tracker(video, queries)
    assert torch.equal(video, kept[0]) and torch.equal(queries, kept[1])
    assert tracks.xy.shape == (1, FRAMES, 5, 2) and tracks.xy.dtype == torch.float32
    assert tracks.visibility.shape == tracks.visible.shape == (1, FRAMES, 5)
    assert tracks.visibility.dtype == torch.float32 and tracks.visible.dtype == torch.bool
    assert tracks.xy.isfinite().all() and not tracks.xy.requires_grad
    assert ((tracks.visibility >= 0) & (tracks.visibility <= 1)).all()
    for n, time in enumerate(queries[0, :, 0].long()):
        assert torch.equal(tracks.xy[0, time, n], queries[0, n, 1:])  # to the bit
        assert tracks.visibility[0, time, n] == 1 and tracks.visible[0, time, n]
        if not tracker.both_directions:
            assert torch.equal(tracks.xy[0, :time, n], queries[0, n, 1:].expand(time, 2))
            assert not tracks.visibility[0, :time, n].any()
            assert not tracks.visible[0, :time, n].any()
    assert "tracker" in json.loads(json.dumps(tracker.describe()))
    none = tracker(video, queries[:, :0])
    assert none.xy.shape == (1, FRAMES, 0, 2) and none.visible.shape == (1, FRAMES, 0)


@pytest.mark.slow
@every_tracker
def test_permuting_queries_permutes_tracks(tracker):
    video, queries, order = texture(), some_queries(), [3, 1, 4, 0, 2]
    assert_same(tracker(video, queries[:, order]), tracker(video, queries), order)


@pytest.mark.slow
@every_tracker
def test_a_batch_of_two_equals_two_of_one(tracker):
    video, queries = texture(2), some_queries(2)
    both = tracker(video, queries)
    for b in (slice(0, 1), slice(1, 2)):
        expected = Tracks(both.xy[b], both.visibility[b], both.visible[b])
        assert_same(tracker(video[b], queries[b]), expected)
    shared = tracker(video[:1], queries)  # and one video serves both sets
    assert_same(shared, tracker(video[:1].expand(2, -1, -1, -1, -1), queries))


@pytest.mark.parametrize(
    "tracker",
    [LucasKanade((H, W), 11, 2), DISFlow((H, W)), Bidirectional(LucasKanade(None, 11, 2))],
)
def test_the_texture_can_be_followed(tracker):
    """So that the equalities above are not between trackers that see nothing."""
    queries = some_queries(times=(0, 0, 6))
    since = torch.arange(FRAMES)[:, None] - queries[0, :, 0]
    since = since if tracker.both_directions else since.clamp(min=0)
    truth = queries[:, None, :, 1:] + since[..., None] * torch.tensor(STEP)
    inside = ((truth > 3) & (truth < torch.tensor([W - 4, H - 4]))).all(-1)
    error = (tracker(texture(), queries).xy - truth).norm(dim=-1)
    assert error[inside].max() < 1 and inside.float().mean() > 0.8


@pytest.mark.parametrize("tracker", list(TRACKERS)[3:])
@pytest.mark.parametrize("size", [(17, 33), (5, 300)])
def test_odd_sizes_and_queries_at_and_beyond_the_border(tracker, size):
    height, width = size
    video = (255 * torch.rand(1, 6, 3, *size, generator=torch.Generator().manual_seed(0))).byte()
    rows = [
        (0, 0, 0),
        (5, width - 1, height - 1),
        (2, -width / 2, -height / 2),
        (3, 1.5 * width, 1.5 * height),
    ]
    queries = torch.tensor([rows], dtype=torch.float32)
    with pytest.warns(UserWarning, match="2 of 4 points lie outside"):
        tracks = TRACKERS[tracker](video, queries)
    assert tracks.xy.isfinite().all()
    for n in range(4):
        assert torch.equal(tracks.xy[0, int(queries[0, n, 0]), n], queries[0, n, 1:])


@pytest.mark.slow
@every_tracker
def test_a_lazy_video_gives_the_same_and_is_never_held(tracker):
    video = texture(1, 26)
    lazy = Lazy(video)
    assert_same(tracker(lazy, some_queries()), tracker(video, some_queries()), atol=0)
    assert lazy.longest <= MODEL.window and lazy.most_alive <= 2 * MODEL.window
    if not isinstance(tracker, Static):
        assert set(lazy.read) == set(range(26))


def test_wrappers_carry_parameters_and_move_together():
    tracker = TRACKERS["whole_chain"]
    assert {id(p) for p in tracker.parameters()} == {id(p) for p in MODEL.parameters()}
    assert tracker.device == torch.device("cpu") == Static().device
