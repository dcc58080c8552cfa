"""Frames pushed in any portions give the tracks of the whole clip; points come and go."""

import pytest
import torch
from networks3 import FORMS, tiny3
from sliding import Drift, predictor, some_queries, texture
from small_networks import tiny

from cotracker.baselines.dis_flow import DISFlow
from cotracker.baselines.lucas_kanade import LucasKanade
from cotracker.baselines.pips import PIPs
from cotracker.baselines.raft import RAFT
from cotracker.baselines.static import Static
from cotracker.geometry import inside_frame
from cotracker.trackers.cotracker import CoTrackerPredictor
from cotracker.trackers.flip_tta import HorizontalFlipTTA
from cotracker.trackers.resized import Resized
from cotracker.trackers.stream_result import collect
from cotracker.trackers.visible import VisibleRule
from cotracker.trackers.wrappers import Bidirectional, Chunked, OneByOne, Reversed, Supported

WINDOW = 8


def bare(**form):
    return CoTrackerPredictor(tiny3(**form), iters=2)


FORWARD = {
    "cotracker": predictor,
    "cotracker2": lambda: CoTrackerPredictor(tiny(virtual_tracks=5), iters=2),
    **{name: lambda f=form: bare(**f) for name, form in FORMS.items() if form.get("window")},
    "confidence": lambda: CoTrackerPredictor(
        tiny3(window=8), iters=2, rule=VisibleRule(0.2, "visibility_x_confidence"), confidence_px=12
    ),
    "short windows filled": lambda: CoTrackerPredictor(tiny(repeat_last_frame=True), iters=2),
    "v1 compat": lambda: predictor(v1_compat=True),
    "chain": lambda: Resized(Supported(predictor(), 2, 2), (32, 48)),
    "flipped": lambda: HorizontalFlipTTA(predictor()),
    "static": Static,
    "lucas_kanade": lambda: LucasKanade((40, 56), window=11, levels=2),
    "dis_flow": lambda: DISFlow((40, 56)),
}


def run(stream, video, step):
    results = [stream.push(video[:, k : k + step]) for k in range(0, video.shape[1], step)]
    return [*results, stream.flush()]


def assert_equal(ours, theirs, atol=1e-4):
    torch.testing.assert_close(ours.xy, theirs.xy, rtol=0, atol=atol)
    torch.testing.assert_close(ours.visibility, theirs.visibility, rtol=0, atol=atol)
    visible = theirs.visible & inside_frame(theirs.xy, ours.size)
    assert (ours.visible == visible).float().mean() > 0.98
    if theirs.confidence is not None:
        torch.testing.assert_close(ours.confidence, theirs.confidence, rtol=0, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORWARD)
def test_final_tracks_are_those_of_the_clip_however_frames_are_pushed(name):
    tracker, video = FORWARD[name](), texture(frames=21)
    queries = some_queries(times=(0, 3, 11, 0, 20))
    offline = tracker(video, queries)
    assert (offline.xy - queries[:, None, :, 1:]).abs().max() > 0.1 or name == "static"
    for step in (1, 3, 7, 21):
        stream = tracker.stream(queries[0], provisional=step in (3, 21))
        frames, tracks = collect(run(stream, video, step))
        assert frames.tolist() == list(range(21))
        assert_equal(tracks, offline)


@pytest.mark.parametrize("frames", [1, 2, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW + 1])
@pytest.mark.parametrize("provisional", [True, False])
def test_each_frame_is_final_once(frames, provisional):
    tracker, video = predictor(), texture(frames=frames)
    queries = some_queries(times=(0, frames - 1))
    stream = tracker.stream(queries[0], provisional=provisional)
    results = run(stream, video, 1)
    final, tracks = collect(results)
    assert final.tolist() == list(range(frames))
    assert_equal(tracks, tracker(video, queries))
    for number, one in enumerate(results[:-1]):
        assert one.final.tolist() == sorted(one.final.tolist(), reverse=True)
        if provisional:
            assert one.frames[-1] == number  # every push answers its own frame


def test_the_callers_defaults_change_nothing_in_a_stream():
    video, dtype = texture(frames=5), torch.get_default_dtype()
    queries = some_queries(times=(0, 2))[0]
    _, expected = collect(run(predictor().stream(queries), video, 2))
    tracker = predictor()
    with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        torch.set_default_dtype(torch.float64)
        try:
            results = run(tracker.stream(queries), video, 2)
        finally:
            torch.set_default_dtype(dtype)
    assert torch.equal(collect(results)[1].xy, expected.xy)


class Oracle(Drift):
    """Drift as a stream: its answer in frame t is t's, so that a shift by a step is seen."""

    def start_live(self, size, options):
        from cotracker.baselines.chain import Chain

        step = torch.tensor([1.5, -0.5])
        return Chain(size, lambda f: None, lambda a, b, p: (p + step, p[:, 0] == p[:, 0]))


def test_an_oracle_is_not_shifted_by_a_step():
    queries = torch.tensor([[2.0, 10, 30]])
    frames, tracks = collect(run(Resized(Oracle(), (79, 111)).stream(queries), texture(), 5))
    ahead = (frames - 2).clamp(min=0)[:, None]
    expected = queries[0, 1:] + ahead * torch.tensor([1.5 / 2, -0.5 / 2])
    torch.testing.assert_close(tracks.xy[0, :, 0], expected, rtol=0, atol=1e-3)


def test_raft_follows_a_stream():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tracker = RAFT("random", iters=1)
    video, queries = texture(frames=3), some_queries(times=(0, 1))
    _, tracks = collect(run(tracker.stream(queries[0]), video, 2))
    assert_equal(tracks, tracker(video, queries))


@pytest.mark.slow
def test_pips_follow_a_stream():
    tracker = PIPs("random", iters=1, resolution=(64, 80), stride=8)
    video, queries = texture(frames=21), some_queries(times=(0, 3, 11, 20))
    offline = tracker(video, queries)
    for step in (1, 7):
        stream = tracker.stream(queries[0, :3], provisional=step == 7)
        assert stream.push(video[:, :2]).final.sum() == 0
        stream.add(queries[0, 3:])
        frames, tracks = collect(run(stream, video[:, 2:], step))
        assert frames.tolist() == list(range(21))
        assert_equal(tracks, offline)
        assert stream._live.maps.keys() <= set(range(8, 21))


@pytest.mark.parametrize("pushed", [0, 3, 8, 9, 13])
def test_a_point_added_late_is_as_if_declared_at_the_start(pushed):
    tracker, video = predictor(), texture(frames=21)
    queries = some_queries(times=(0, 3, 11, 0, 20))
    stream = tracker.stream(queries[0])
    results = [stream.push(video[:, k : k + 1]) for k in range(pushed)]
    open_from = stream.open_from
    late = torch.tensor([[open_from, 20.0, 20], [max(pushed, 1), 30.0, 10]])
    assert stream.add(late) == (5, 6)
    results += [stream.push(video[:, k : k + 1]) for k in range(pushed, 21)]
    results.append(stream.flush())
    offline = tracker(video, torch.cat([queries, late[None]], dim=1))
    final = [one for one in results if one.final.any()]
    later = [one for one in final if one.frames[0] >= open_from]
    frames, tracks = collect(later)
    assert frames.tolist() == list(range(open_from, 21))
    torch.testing.assert_close(tracks.xy, offline.xy[:, open_from:], rtol=0, atol=1e-4)
    assert all(len(one.ids) == 5 for one in final if one.frames[0] < open_from)


def test_a_removed_point_is_not_seen_by_windows_to_come():
    """Joint attention: what the others' tracks owe to it already stays, as their state holds it."""
    video, queries = texture(frames=24), some_queries(times=(0, 0, 0, 0, 0))
    lone = OneByOneStream(predictor(), queries, video)
    assert lone.with_removed == lone.without
    stream = predictor().stream(queries[0])
    [stream.push(video[:, k : k + 1]) for k in range(10)]
    inner = stream._live
    masked = inner.state._replace(point_mask=torch.tensor([[True, True, False, True, True]]))
    maps = inner.model.encode(video[:, 4:12])
    with torch.no_grad():
        _, expected = inner.model.step(masked, maps, 2)
    stream.remove(2)
    assert stream.ids == (0, 1, 3, 4)
    [stream.push(video[:, k : k + 1]) for k in (10, 11)]
    kept = [0, 1, 3, 4]
    torch.testing.assert_close(
        inner.state.tracks, expected.tracks[-1][:, :, kept], rtol=0, atol=1e-4
    )


class OneByOneStream:
    """The same stream with a point removed midway, and never asked: points that are alone."""

    def __init__(self, tracker, queries, video):
        tracker = LucasKanade((40, 56), window=11, levels=2)
        self.with_removed = self.follow(tracker, queries[0], video, remove=True)
        self.without = self.follow(tracker, queries[0][[0, 1, 3, 4]], video, remove=False)

    def follow(self, tracker, queries, video, remove):
        stream = tracker.stream(queries)
        stream.push(video[:, :10])
        if remove:
            stream.remove([2])
        return stream.push(video[:, 10:]).xy.tolist()


@pytest.mark.parametrize("mode", ["window", "frame"])
def test_state_does_not_grow_while_points_come_and_go(mode):
    tracker, sizes = Resized(Supported(predictor(), 2, 0), (32, 48)), []
    stream = tracker.stream(some_queries(times=(0, 0, 0))[0], mode=mode)
    frame = texture(frames=1)
    for number in range(64):
        stream.push(frame)
        if number % 10 == 9:
            stream.add([[number, 20.0, 20.0]])
            stream.remove(stream.ids[0])
        if number in (23, 63):  # as far in their windows
            sizes.append(stream.describe()["stream"]["state_bytes"])
    assert abs(sizes[1] - sizes[0]) < 0.01 * sizes[0]
    assert stream.ids == (6, 7, 8)
    assert float(stream._live.inner.inner.state.queries[..., 0].abs().max()) < 70


def test_describe_states_latency_and_memory():
    stream = predictor().stream(some_queries()[0][:2], provisional=False)
    assert stream.describe()["stream"]["milliseconds"] is None
    stream.push(texture(frames=1))
    told = stream.describe()["stream"]
    assert (told["answered_after_frames"], told["final_after_frames"]) == (7, 7)
    assert told["milliseconds"]["p50"] > 0 and told["state_bytes"] > 1000
    assert Static().stream([[0, 1, 1]]).describe()["stream"]["final_after_frames"] == 0


NETWORKS = {"cotracker": tiny, "online": lambda: tiny3(**FORMS["online"])}


@pytest.mark.parametrize("name", NETWORKS)
def test_frame_mode_answers_alike_however_frames_come_and_points_are_added(name):
    tracker, video = CoTrackerPredictor(NETWORKS[name]()), texture()
    queries = some_queries(times=(0, 3, 0, 6))[0]
    whole = collect(run(tracker.stream(queries, mode="frame"), video, 12))[1]
    assert torch.equal(whole.xy[0, 6, 3], queries[3, 1:]) and whole.visible[0, 6, 3]
    assert not whole.visible[0, :6, 3].any()
    lone = tracker.stream(queries[3:], mode="frame")
    alone = collect(run(lone, video, 5))[1]
    late = tracker.stream(None, mode="frame")
    late.push(video[:, :6])
    late.add(queries[3:])
    torch.testing.assert_close(late.push(video[:, 6:]).xy, alone.xy[0, 6:], rtol=0, atol=1e-4)


def test_a_stream_of_the_whole_chain_goes_forward_with_all_points():
    whole, video = Bidirectional(Chunked(predictor(), 2)), texture()
    stream = whole.stream(some_queries(times=(0, 3, 5))[0])
    assert stream.describe()["direction"] == "forward"
    _, tracks = collect(run(stream, video, 5))
    assert_equal(tracks, predictor()(video, some_queries(times=(0, 3, 5))))


def test_reset_begins_again():
    tracker, video = predictor(), texture()
    stream = tracker.stream(some_queries(times=(0, 3))[0])
    first = collect(run(stream, video, 5))[1]
    stream.reset()
    torch.testing.assert_close(collect(run(stream, video, 4))[1].xy, first.xy)


@pytest.mark.parametrize("tracker", [
    Reversed(predictor()), OneByOne(predictor()), bare(**FORMS["offline"]),
])  # fmt: skip
def test_what_needs_the_whole_clip_refuses(tracker):
    with pytest.raises(ValueError, match="cannot follow a stream"):
        tracker.stream([[0, 1.0, 1.0]])


def test_bad_input_is_refused_in_a_sentence():
    stream = predictor().stream(some_queries()[0])
    with pytest.raises(ValueError, match="nothing to flush"):
        stream.flush()
    with pytest.raises(ValueError, match="H W 3"):
        stream.push(torch.zeros(4, 4))
    stream.push(texture(frames=13))
    with pytest.raises(ValueError, match="final already: take frame 8"):
        stream.add([[3, 1.0, 1.0]])
    with pytest.raises(ValueError, match="one size"):
        stream.push(texture(frames=1, height=32))
    with pytest.raises(ValueError, match="id 9 is not followed"):
        stream.remove(9)
    with pytest.raises(ValueError, match="far outside"):
        stream.add([[13, 999.0, 1.0]])
    stream.flush()
    with pytest.raises(ValueError, match="reset"):
        stream.push(texture(frames=1))
    with pytest.raises(ValueError, match="mode must be window or frame"):
        predictor().stream([[0, 1, 1]], mode="clip")
