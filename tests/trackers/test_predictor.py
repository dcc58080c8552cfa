"""The windowed network over videos of any length: windows stitched, queries pinned, frames once."""

import pytest
import torch
from networks3 import FORMS, tiny3
from sliding import FRAMES, MODEL, Lazy, predictor, some_queries, texture

from cotracker.trackers.cotracker import CoTrackerPredictor
from cotracker.trackers.visible import VisibleRule
from cotracker.trackers.wrappers import OneByOne


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 8, 9, 12, 13, 20])
@pytest.mark.parametrize("v1_compat", [False, True], ids=["ours", "v1"])
def test_any_length_is_tracked(frames, v1_compat):
    """Also clips of at most half a window, for which v1 returns zeros (docs/differences.md)."""
    queries = some_queries(times=(0, min(2, frames - 1), frames - 1))
    tracks = predictor(v1_compat=v1_compat)(texture(1, frames), queries)
    assert tracks.xy.shape == (1, frames, 3, 2) and tracks.xy.isfinite().all()
    for n, time in enumerate(queries[0, :, 0].long()):
        after = tracks.xy[0, time:, n]
        assert (after - queries[0, n, 1:]).norm(dim=-1).max() < 30 and (after != 0).all()
        if v1_compat or time < frames - 1:  # the network's output: not just the query repeated
            assert (after != queries[0, n, 1:]).any()
            assert (tracks.visibility[0, time:, n] != 0.5).all()


def test_frames_before_the_query_in_ours_and_in_v1():
    """Ours: the query, unseen. v1: zeros before the first window, the network's output within."""
    queries = some_queries(times=(0, 9))
    ours, theirs = (predictor(v1_compat=v1)(texture(), queries) for v1 in (False, True))
    assert not theirs.xy[0, :4, 1].any() and (theirs.visibility[0, :4, 1] == 0.5).all()
    assert (theirs.xy[0, 4:9, 1] != queries[0, 1, 1:]).all()
    assert (theirs.visibility[0, 4:9, 1] > 0).all()
    assert torch.equal(ours.xy[0, :10, 1], queries[0, 1, 1:].expand(10, 2))
    assert (theirs.xy[0, 9, 1] != queries[0, 1, 1:]).any()  # nor is its query frame pinned
    for n, time in enumerate((0, 9)):
        assert torch.equal(ours.xy[0, time + 1 :, n], theirs.xy[0, time + 1 :, n])


def test_windows_are_stitched_by_the_later_one():
    video, queries = texture(), some_queries(times=(0, 0, 2))
    with torch.no_grad():
        first, second = MODEL(video, queries, 2)
    tracks = predictor(v1_compat=True)(video, queries)
    torch.testing.assert_close(tracks.xy[:, :4], first.tracks[-1][:, :4], rtol=0, atol=1e-3)
    torch.testing.assert_close(tracks.xy[:, 4:], second.tracks[-1], rtol=0, atol=1e-3)
    torch.testing.assert_close(tracks.visibility[:, 4:], second.logits.sigmoid(), rtol=0, atol=1e-3)
    assert (first.tracks[-1][:, 4:] - second.tracks[-1][:, :4]).abs().max() > 1e-2


@pytest.mark.parametrize("threshold", [0.1, 0.95])
def test_visible_is_a_visibility_above_the_threshold(threshold):
    tracks = predictor(rule=VisibleRule(threshold))(texture(), some_queries())
    assert torch.equal(tracks.visible, tracks.visibility > threshold)
    default = predictor()(texture(), some_queries())
    assert torch.equal(tracks.visibility, default.visibility)
    assert 0.1 < default.visibility.median() < 0.95


@pytest.mark.parametrize("threshold", [0.9999, 1 - 1e-12])  # the second is 1 as float32
def test_the_query_itself_is_visible_whatever_the_threshold(threshold):
    queries = some_queries()
    visible = predictor(rule=VisibleRule(threshold))(texture(), queries).visible
    assert visible[0, queries[0, :, 0].long(), torch.arange(5)].all()
    assert visible.float().mean() < 0.5


def test_the_predictor_reads_each_frame_once():
    lazy = Lazy(texture(1, 26))
    predictor()(lazy, some_queries())
    assert lazy.read == list(range(26)) and lazy.most_alive <= MODEL.window


def test_tracks_can_be_written_to():
    tracks = predictor()(texture(), some_queries())
    tracks.xy[:] = 0  # tensors of inference_mode would refuse
    assert tracks.xy.shape[1] == FRAMES


def whole(window, frames=20, **options):
    """A predictor of a network that sees clips as a whole, so many frames at once."""
    model = tiny3(**FORMS["offline"])
    model.window = window
    queries = some_queries(times=(0, 3, 9, frames - 1))
    return CoTrackerPredictor(model, 2, confidence_px=12, **options), queries


def test_a_network_of_whole_clips_sees_the_frames_before_the_query_too():
    tracker, queries = whole(2**20)
    tracks = tracker(texture(1, 20), queries)
    assert tracker.both_directions and tracker.describe()["direction"] == "both"
    before = torch.arange(20)[:, None] < queries[0, :, 0]
    moved = (tracks.xy[0] - queries[0, :, 1:])[before]
    assert (moved.norm(dim=-1) > 0).all() and (tracks.visibility[0][before] > 0).all()
    here = torch.arange(20)[:, None] == queries[0, :, 0]
    assert torch.equal(tracks.xy[0][here], queries[0, :, 1:])
    assert (tracks.confidence[0][here] == 1).all() and tracks.confidence[0].max() <= 1
    alone = OneByOne(tracker)(texture(1, 20), queries)
    assert (alone.xy[0, 0] != queries[0, :, 1:])[1:].any(dim=-1).all()


def test_long_clips_are_seen_in_chunks_of_frames():
    """Of a window each, from the query on; what is before the first of them, from the end."""
    tracker, queries = whole(12)
    seen, encode = [], tracker.model.encode

    def watched(frames, at_once=None):
        seen.append(frames.shape[1])
        return encode(frames, at_once)

    tracker.model.encode = watched
    tracks = tracker(texture(1, 20), queries)
    assert max(seen) <= 12 and sum(seen) == 40  # there and back
    one = whole(12)[0](texture(1, 12), queries[:, :3])
    assert torch.equal(one.xy, whole(2**20)[0](texture(1, 12), queries[:, :3]).xy)
    first = whole(12)[0](texture(1, 20), queries[:, :3])
    assert torch.allclose(first.xy[:, :6], one.xy[:, :6], atol=1e-3)
    flipped = torch.cat([19 - queries[:, 3:, :1], queries[:, 3:, 1:]], dim=-1)
    back = whole(12)[0](texture(1, 20).flip(1), flipped).xy.flip(1)
    assert torch.allclose(
        whole(12)[0](texture(1, 20), queries[:, 3:]).xy[:, :8], back[:, :8], atol=1e-3
    )
    assert tracks.xy.isfinite().all() and (tracks.visibility > 0).all()


def test_confidence_decides_what_is_visible_where_the_rule_says_so():
    rules = (
        VisibleRule(0.4),
        VisibleRule(0.4, "visibility_x_confidence"),
        VisibleRule(0.4, min_confidence=0.6),
    )
    alone, product, gated = (
        whole(2**20, rule=rule)[0](texture(1, 20), some_queries()) for rule in rules
    )
    seen, sure = alone.visibility, alone.confidence
    inside = alone.in_frame
    assert torch.equal(product.visible, (seen * sure > 0.4) & inside)
    assert torch.equal(gated.visible, (seen > 0.4) & (sure >= 0.6) & inside)
    assert 5 == product.visible.sum() == gated.visible.sum() < alone.visible.sum()  # the queries
    with pytest.raises(ValueError, match="need a checkpoint with confidence, which this one"):
        predictor(rule=rules[1])
    assert predictor()(texture(1, 20), some_queries()).confidence is None
