"""A person's session: points added, corrected, ended; what can change is computed, no more."""

import pytest
import torch
from sliding import STEP, predictor, some_queries, texture

from cotracker.baselines.lucas_kanade import LucasKanade
from cotracker.trackers.feature_file import SpillingCache
from cotracker.trackers.resized import Resized
from cotracker.trackers.session import Session
from cotracker.trackers.wrappers import Bidirectional, Reversed

FRAMES = 21


@pytest.fixture
def counted(monkeypatch):
    """A tracker whose encoded frames are counted in its list `counted`."""
    tracker = predictor()
    tracker.counted, encode = [], tracker.model.encode

    def counting(video, at_once=None):
        tracker.counted.append(video.shape[1])
        return encode(video, at_once)

    monkeypatch.setattr(tracker.model, "encode", counting)
    return tracker


def make(tracker=None, **settings):
    return Session(tracker or predictor(), texture(frames=FRAMES), **settings)


def test_points_added_together_are_those_of_the_tracker():
    queries = some_queries(times=(0, 3, 11, 0, 20))
    session = make()
    assert session.add(queries, names=tuple("abcde"), groups=(1, 1, 2, 0, 3)) == (0, 1, 2, 3, 4)
    offline = Bidirectional(predictor())(texture(frames=FRAMES), queries)
    tracks = session.tracks()
    torch.testing.assert_close(tracks.xy, offline.xy, rtol=0, atol=1e-4)
    assert torch.equal(tracks.visible, offline.visible)
    assert tracks.names == tuple("abcde") and tracks.ids.tolist() == [[1, 1, 2, 0, 3]]
    forward = make(direction="forward")
    forward.add(queries)
    torch.testing.assert_close(
        forward.tracks().xy, predictor()(texture(frames=FRAMES), queries).xy, rtol=0, atol=1e-4
    )


def test_a_correction_encodes_nothing_and_touches_only_what_it_can_change(counted):
    session = make(counted)
    session.add(some_queries(times=(2, 0, 5)))
    session.correct(0, 15, 30.0, 20.0)
    assert sum(counted.counted) == FRAMES
    before = session.tracks()
    session.correct(0, 8, 22.5, 17.25)
    after = session.tracks()
    assert sum(counted.counted) == FRAMES
    changed = (before.xy != after.xy).any(-1)[0]
    assert not changed[:, 1:].any()
    assert changed[:, 0].nonzero()[:, 0].tolist() == list(range(3, 15))
    for frame, place in ((2, some_queries(times=(2,))[0, 0, 1:].tolist()), (8, [22.5, 17.25]),
                         (15, [30, 20])):  # fmt: skip
        assert after.xy[0, frame, 0].tolist() == pytest.approx(place, abs=1e-6)
        assert after.visible[0, frame, 0]
    session.correct(1, 4, 20.0, 20.0, joint=True)
    assert (session.tracks().xy[0, :, 2] != after.xy[0, :, 2]).any()
    assert sum(counted.counted) == FRAMES


def test_anchors_are_blended_between():
    """Of a tracker that is right, any anchors on the path give the path."""
    session = make(Resized(LucasKanade(None, window=11, levels=2), (80, 112)))
    session.add([[2, 20.0, 30.0]])
    session.correct(0, 12, 20 + 10 * STEP[0], 30 + 10 * STEP[1])
    time = torch.arange(2, 13)[:, None] - 2.0
    path = torch.tensor([20.0, 30.0]) + time * torch.tensor(STEP)
    torch.testing.assert_close(session.tracks().xy[0, 2:13, 0], path, rtol=0, atol=0.3)


def test_undo_retire_and_remove():
    session = make(direction="forward")
    session.add(some_queries(times=(0, 0)))
    first = session.tracks()
    session.retire(0, 7)
    ended = session.tracks()
    assert ended.xy[0, 7:, 0].isnan().all() and not ended.visible[0, 7:, 0].any()
    assert torch.equal(ended.xy[0, :7], first.xy[0, :7])
    assert torch.equal(ended.xy[0, :, 1], first.xy[0, :, 1])
    session.correct(1, 10, 5.0, 5.0)
    assert session.undo() and session.undo()
    assert torch.equal(session.tracks().xy, first.xy)
    session.remove(0)
    assert session.ids == (1,) and torch.equal(session.tracks().xy[..., 0, :], first.xy[..., 1, :])
    assert session.add([[3, 9.0, 9.0]]) == (2,)
    while session.undo():
        pass
    assert session.ids == ()


def test_a_callback_stops_it_within_a_window():
    told = []

    def stop(done, total):
        told.append((done, total))
        return len(told) < 4

    queries = some_queries(times=(0, 0))
    session = make(direction="forward", progress=stop)
    session.add(queries)
    assert told == [(4 * k, FRAMES) for k in (1, 2, 3, 4)]
    assert session.unfinished == (0, 1)
    whole = predictor()(texture(frames=16), queries)
    tracks = session.tracks()
    torch.testing.assert_close(tracks.xy[:, :16], whole.xy, rtol=0, atol=1e-4)
    assert not tracks.visible[:, 16:].any()
    session.progress = None
    session.update(session.unfinished)
    assert session.unfinished == ()
    whole = predictor()(texture(frames=FRAMES), queries)
    torch.testing.assert_close(session.tracks().xy, whole.xy, rtol=0, atol=1e-4)


def test_saved_and_loaded_sessions_are_equal(tmp_path):
    session = make()
    session.add(some_queries(times=(0, 3)), names=("left", "right"), groups=(0, 4))
    session.correct(1, 9, 20.25, 20.5)
    session.retire(0, 17)
    path = session.save(tmp_path / "work.npz")
    again = Session.load(path, predictor(), texture(frames=FRAMES))
    assert again.points == session.points and again.unfinished == ()
    for name, value in session.tracks().numpy().items():
        assert (again.tracks().numpy()[name] == value).all() or name == "xy"
    assert torch.equal(again.tracks().xy.nan_to_num(-1), session.tracks().xy.nan_to_num(-1))
    for one in (session, again):
        one.correct(0, 5, 12.0, 12.0)
    torch.testing.assert_close(
        again.tracks().xy, session.tracks().xy, rtol=0, atol=1e-5, equal_nan=True
    )
    assert again.add([[0, 1.0, 1.0]]) == (2,)
    with pytest.raises(ValueError, match="21 frames of 56x40, not of 12"):
        Session.load(path, predictor(), texture(frames=12))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="work.npz cannot be read"):
        Session.load(path, predictor(), texture(frames=FRAMES))


def test_bad_input_is_refused_in_a_sentence():
    session = make()
    with pytest.raises(ValueError, match="no points"):
        session.tracks()
    with pytest.raises(ValueError, match="there is no point 3"):
        session.correct(3, 0, 1, 1)
    with pytest.raises(ValueError, match="2 names"):
        session.add(some_queries(times=(0, 0)), names=("one",))
    with pytest.raises(ValueError, match="cannot follow a stream"):
        make(Reversed(predictor()))
    with pytest.raises(ValueError, match="direction must be"):
        make(direction="back")


def test_a_full_memory_spills_into_a_file():
    maps = [[torch.randn(1, 1, 4, 5, 3, generator=torch.Generator().manual_seed(k)),
             torch.ones(2, dtype=torch.bfloat16) * k] for k in range(4)]  # fmt: skip
    cache = SpillingCache(budget=300, disk=500)
    for k, value in enumerate(maps):
        cache.put((k,), value)
    assert cache.used <= 300
    for k in range(3):
        for ours, theirs in zip(cache.get((k,)), maps[k], strict=True):
            assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype
    assert cache.get((3,)) is None
