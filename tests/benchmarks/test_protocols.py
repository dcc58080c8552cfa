"""Protocols against the reference, plain loops, and trackers that know the target."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from loops import _badja_by_loops, _clip, _tapvid_by_loops, _tracks

from cotracker.baselines.static import Static
from cotracker.benchmarks import results
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.metrics import badja, tapvid, within_pixels
from cotracker.benchmarks.protocols import first, strided
from cotracker.benchmarks.run import evaluate, with_required_direction
from cotracker.model.windowed import WindowedNetwork
from cotracker.trackers.build import build_tracker
from cotracker.trackers.options import TrackerOptions
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.wrappers import Bidirectional
from cotracker.types import Clip, Tracks

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "metrics_reference.npz")


@pytest.mark.parametrize("name, step", [("strided", 5), ("strided3", 3)])
def test_queried_strided_equals_tapnet(name, step):
    visible, xy = ~GOLDEN["queries.occluded"].T, GOLDEN["queries.points_xy"].swapaxes(0, 1)
    targets = strided(_clip(xy, visible, (256, 256)), step)
    reference = GOLDEN[f"queries.{name}.query_points"]
    np.testing.assert_array_equal(targets.queries, reference[..., [0, 2, 1]])
    group = GOLDEN[f"queries.{name}.trackgroup"][0]
    np.testing.assert_array_equal(targets.target.xy[0], xy[:, group])
    np.testing.assert_array_equal(targets.target.visible[0], visible[:, group])
    np.testing.assert_array_equal(
        targets.eval_mask[0], np.arange(len(xy))[:, None] != reference[0, :, 0]
    )
    if name == "strided":
        np.testing.assert_array_equal(
            targets.target.xy[0].swapaxes(0, 1), GOLDEN["queries.strided.target_points"][0]
        )
        np.testing.assert_array_equal(
            targets.target.visible[0].T, ~GOLDEN["queries.strided.occluded"][0]
        )


def _random_clip(rng, frames=12, points=6):
    height, width = int(rng.integers(20, 60)), int(rng.integers(20, 60))
    xy = rng.uniform(0, 20, (frames, points, 2)).astype(np.float32)
    masks = (rng.random((frames, height, width)) < 0.5).astype(np.uint8) * 128
    visible = rng.random((frames, points)) < rng.random()  # now and then nobody is ever seen
    return _clip(xy, visible, (height, width), masks, rng.random((frames, points)) < 0.9)


def _queries_by_loops(clip, protocol):
    """[(frame, point)] in order, and whether a frame counts for a query, by plain Python."""
    frames, points = clip.visible.shape
    shown = [
        [bool(clip.visible[t, n] and clip.valid[t, n]) for n in range(points)]
        for t in range(frames)
    ]
    if protocol is first:
        asked = [
            (next(t for t in range(frames) if shown[t][n]), n)
            for n in range(points)
            if any(r[n] for r in shown)
        ]
        return asked, lambda t, query: t > query
    asked = [(t, n) for t in range(0, frames, 5) for n in range(points) if shown[t][n]]
    return asked, lambda t, query: t != query


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [first, strided])
def test_protocol_and_metrics_equal_plain_loops(protocol):
    """Also of random answers; distances are measured by math.hypot, one by one."""
    rng, nothing = np.random.default_rng(7), 0
    for case in range(40):
        clip = _random_clip(rng)
        targets = protocol(clip)
        asked, counts = _queries_by_loops(clip, protocol)
        assert targets.queries[0].tolist() == [[t, *clip.tracks[t, n].tolist()] for t, n in asked]
        truth = clip.tracks[:, [n for _, n in asked]].numpy()
        answers = _tracks(
            (truth + rng.normal(0, rng.choice([0.1, 0.5, 2]), truth.shape)).astype(np.float32),
            rng.random(truth.shape[:2]) < 0.7,
        )
        rows, height, width = {256: [], 512: []}, *clip.video.shape[-2:]
        for k, (query, n) in enumerate(asked):
            for t in range(len(truth)):
                if counts(t, query) and clip.valid[t, n]:
                    dx, dy = (answers.xy[0, t, k] - clip.tracks[t, n]).tolist()
                    seen, said = bool(clip.visible[t, n]), bool(answers.visible[0, t, k])
                    for to, size in ((256, (256, 256)), (512, (512, 384))):
                        distance = math.hypot(dx * size[0] / width, dy * size[1] / height)
                        rows[to].append((t, distance, seen, said))
        assert tapvid(answers, targets, clip) == pytest.approx(
            _tapvid_by_loops(rows[256]), rel=1e-5, nan_ok=True
        )
        if case % 8 == 0:  # the loops over 384x512 pixels are slow
            expected = _badja_by_loops(rows[512], clip.masks)
            assert badja(answers, targets, clip) == pytest.approx(expected, rel=1e-5, nan_ok=True)
        near, shown = (
            sum(row[1] < 3 for row in rows[512] if row[2]),
            sum(row[2] for row in rows[512]),
        )
        expected = 100 * near / shown if shown else math.nan
        assert within_pixels(answers, targets, clip)["3px"] == pytest.approx(expected, nan_ok=True)
        nothing += not shown
    assert nothing < 20


class Knowing(Tracker):
    """Knows a clip's target, found by the query's position; a causal one only from its frame on.

    No two points share a position. A reversed video is known by its first frame.
    """

    def __init__(self, clip: Clip, causal: bool):
        super().__init__()
        self.clip, self.causal, self.both_directions = clip, causal, not causal

    def forward(self, video, queries):
        reverse = bool(video[:, :1].flatten()[0] != 0)  # the frames' brightness is their number
        xy, visible = (
            (one.flip(0) if reverse else one) for one in (self.clip.tracks, self.clip.visible)
        )
        time = queries[0, :, 0].long()
        point = (xy[time] - queries[0, :, None, 1:]).abs().sum(-1).argmin(1)
        before = torch.arange(len(xy))[:, None] < time
        if not self.causal:
            before = torch.zeros_like(before)
        xy = torch.where(before[..., None], queries[0, None, :, 1:], xy[:, point])[None]
        visible = (visible[:, point] & ~before)[None]
        return Tracks(xy, visible.float(), visible)


def _numbered_clip(seed):
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, 40, (13, 8, 2)).astype(np.float32)
    visible = rng.random((13, 8)) < 0.6
    visible[[0, 5]] = True
    clip = _clip(xy, visible, (48, 64), np.ones((13, 48, 64), np.uint8))
    return replace(
        clip, video=torch.arange(13, dtype=torch.uint8)[:, None, None, None].expand(13, 3, 48, 64)
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("protocol, metric", [(strided, tapvid), (strided, badja), (first, tapvid)])
def test_who_knows_the_truth_has_a_hundred(causal, protocol, metric):
    clip = _numbered_clip(1)
    both = protocol is strided
    benchmark = Benchmark("b", [clip], protocol, metric, both_directions=both)
    (row,) = evaluate(Knowing(clip, causal), benchmark)
    values = [value for key, value in row.items() if key not in ("name", "seconds")]
    assert values == [pytest.approx(100)] * len(values) and values


def test_a_causal_tracker_alone_would_lose():
    """What evaluate saves a tracker from, which the published join by zeros did not save all of."""
    clip = _numbered_clip(2)
    tracker = Knowing(clip, causal=True)
    tracker.both_directions = True  # a lie
    (row,) = evaluate(tracker, Benchmark("b", [clip], strided, tapvid, both_directions=True))
    assert row["aj"] < 80 and row["delta_avg"] < 80


def test_a_truth_at_zero_is_joined_by_time():
    """v1 took an exact 0 for "not tracked"; here the backward answer stays before the query."""
    clip = _numbered_clip(3)
    tracks = clip.tracks.clone()
    tracks[8] = torch.tensor([0.0, 0.0])
    tracks[8, :, 0] = torch.arange(8) * 1e-3  # the first point stands at 0, 0
    clip = replace(clip, tracks=tracks)
    (row,) = evaluate(
        Knowing(clip, True), Benchmark("b", [clip], strided, tapvid, both_directions=True)
    )
    assert row["aj"] == pytest.approx(100)


def test_wrapping_is_said_in_the_protocol():
    def said(tracker, protocol):
        benchmark = Benchmark("b", [], protocol, tapvid, both_directions=protocol is strided)
        return results.make_heading("t", tracker, benchmark)["protocol"]

    assert said(Static(), strided) == {
        "queries": "strided",
        "metric": "tapvid",
        "direction": "both",
    }
    assert said(Static(), first) == {"queries": "first", "metric": "tapvid"}
    assert said(Bidirectional(Static()), strided) == said(Static(), strided)  # once, not twice
    assert said(Knowing(_numbered_clip(0), False), strided) == {
        "queries": "strided",
        "metric": "tapvid",
    }


def test_training_mode_is_given_back_and_taken_inside_the_wrapper():
    clip, modes = _numbered_clip(4), []
    tracker = Knowing(clip, causal=True).train()
    forward = tracker.forward
    tracker.forward = lambda *inputs: modes.append(tracker.training) or forward(*inputs)
    evaluate(tracker, Benchmark("b", [clip], strided, tapvid, both_directions=True))
    assert modes == [False, False] and tracker.training


def _sliding(frames=14):
    """A smooth texture that moves by (1.5, 0.5) pixels a frame, and points on it."""
    t, y, x = np.meshgrid(np.arange(frames), np.arange(64), np.arange(80), indexing="ij")
    x, y = x - 1.5 * t, y - 0.5 * t
    waves = np.stack([np.sin(x / 4 + y / 7), np.sin(y / 5 - x / 9 + 1), np.sin((x + y) / 6 + 2)])
    video = torch.from_numpy((127 + 90 * waves).round().astype(np.uint8)).permute(1, 0, 2, 3)
    start = np.array([[10, 12], [30, 20], [22, 40], [40, 33], [15, 50]], np.float32)
    xy = start + np.arange(frames, dtype=np.float32)[:, None, None] * np.array(
        [1.5, 0.5], np.float32
    )
    visible = np.ones((frames, 5), bool)
    visible[:3, 1], visible[:6, 3] = False, False
    return replace(_clip(xy, visible, (64, 80)), video=video, name="sliding")


def test_single_point_evaluation_encodes_each_frame_once_and_equals_one_query_at_a_time():
    """The real chain of the paper's evaluation, with the checkpoint that ships."""
    clip, encoded = _sliding(), []
    options = TrackerOptions(
        iters=2,
        resolution=(48, 64),
        single_point=True,
        support_grid=2,
        local_support_grid=2,
        device="cpu",
    )
    tracker = build_tracker(None, options)
    seen = Watching(tracker)
    network = next(one for one in tracker.modules() if isinstance(one, WindowedNetwork))
    hook = network.encoder.register_forward_hook(
        lambda module, inputs, output: encoded.append(len(inputs[0]))
    )
    evaluate(seen, Benchmark("b", [clip], first, tapvid))
    hook.remove()
    assert sum(encoded) == len(clip.video)
    (queries, together) = seen.last
    assert queries.shape[1] == 5 and len(queries[0, :, 0].unique()) == 3
    for n in range(5):
        alone = tracker(clip.video[None], queries[:, n : n + 1])
        torch.testing.assert_close(together.xy[:, :, n : n + 1], alone.xy, rtol=0, atol=1e-4)
        torch.testing.assert_close(
            together.visibility[:, :, n : n + 1], alone.visibility, rtol=0, atol=1e-4
        )


class Watching(Tracker):
    """A tracker whose last question and answer can be seen."""

    def __init__(self, tracker):
        super().__init__()
        self.tracker, self.last = tracker, None

    def forward(self, video, queries):
        self.last = queries, self.tracker(video, queries)
        return self.last[1]


def test_strided_joins_what_forward_and_backward_say():
    """From the query on the forward answer, before it that of the reversed video."""
    clip = _sliding(11)
    options = TrackerOptions(iters=2, resolution=(48, 64), support_grid=2, device="cpu")
    tracker = build_tracker(None, options)
    targets = strided(clip)
    whole = with_required_direction(
        tracker, Benchmark("b", [clip], strided, tapvid, both_directions=True)
    )(clip.video[None], targets.queries)
    forward = tracker(clip.video[None], targets.queries)
    turned = targets.queries.clone()
    turned[..., 0] = 10 - turned[..., 0]
    backward = tracker(clip.video.flip(0)[None], turned)
    before = (torch.arange(11)[:, None] < targets.queries[0, :, 0])[None]
    assert before.any() and not before.all()
    expected = torch.where(before[..., None], backward.xy.flip(1), forward.xy)
    torch.testing.assert_close(whole.xy, expected, rtol=0, atol=1e-4)
    assert torch.equal(
        whole.visible, torch.where(before, backward.visible.flip(1), forward.visible)
    )


def test_a_benchmark_that_does_not_name_both_directions_is_refused():
    clip = _numbered_clip(5)
    with pytest.raises(ValueError, match="b counts frames before a query: set both_directions"):
        evaluate(Static(), Benchmark("b", [clip], strided, tapvid))
