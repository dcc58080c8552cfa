"""Metrics against the reference's stored numbers, plain loops, and cases counted by hand."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from loops import _badja_by_loops, _clip, _tapvid_by_loops, _tracks

from cotracker.baselines.static import Static
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.metrics import badja, pck_segment, tapvid, within_pixels
from cotracker.benchmarks.protocols import first, from_first_frame
from cotracker.benchmarks.run import evaluate, mean, unscored
from cotracker.trackers.tracker import Tracker
from cotracker.types import Clip, EvalTargets, Tracks

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "metrics_reference.npz")
NAMES = {
    "occlusion_accuracy": "oa",
    "average_jaccard": "aj",
    "average_pts_within_thresh": "delta_avg",
}


def _our_name(name):
    return NAMES.get(name) or name.replace("pts_within_", "delta_")


@pytest.mark.parametrize(
    "case, video", [("tapvid_b1", 0), ("tapvid_b3", 0), ("tapvid_b3", 1), ("tapvid_b3", 2)]
)
@pytest.mark.parametrize("mode", ["first", "strided"])
def test_tapvid_equals_tapnet(case, video, mode):
    stored = {
        key: GOLDEN[f"{case}.{key}"][video]
        for key in ("gt_tracks", "gt_occluded", "pred_tracks", "pred_occluded")
    }
    start = GOLDEN[f"{case}.query_points_tyx"][video, :, 0].round()
    frames = np.arange(stored["gt_tracks"].shape[1])[:, None]
    scored = frames > start if mode == "first" else frames != start
    truth = _tracks(stored["gt_tracks"].swapaxes(0, 1), ~stored["gt_occluded"].T)
    answers = _tracks(stored["pred_tracks"].swapaxes(0, 1), ~stored["pred_occluded"].T)
    targets = EvalTargets(torch.zeros(1, len(start), 3), truth, torch.from_numpy(scored)[None])
    values = tapvid(answers, targets, _clip(truth.xy[0], truth.visible[0], (256, 256)))
    names, reference = GOLDEN[f"{case}.{mode}.names"], GOLDEN[f"{case}.{mode}.values"][:, video]
    assert {_our_name(name) for name in names} == set(values)
    for name, expected in zip(names, reference):
        assert values[_our_name(name)] == pytest.approx(100 * expected, rel=1e-6), name


def test_badja_and_fastcapture_equal_the_reference():
    xy, visible = GOLDEN["badja.gt"][0], GOLDEN["badja.visible"][0] > 0
    masks = (GOLDEN["badja.segmentation"][0, :, 0] > 0).astype(np.uint8)
    clip = _clip(xy, visible, masks.shape[1:], masks)
    np.testing.assert_array_equal(clip.masks.sum((1, 2)), GOLDEN["badja.area_per_frame"][0])
    targets = from_first_frame(clip)
    answers = _tracks(GOLDEN["badja.pred"][0], visible)
    seg = pck_segment(answers, targets, clip, size=masks.shape[1:])["seg"]
    near = within_pixels(answers, targets, clip, size=masks.shape[1:])["3px"]
    assert seg == pytest.approx(GOLDEN["badja.pck_seg"][0], rel=1e-6)
    assert near == pytest.approx(GOLDEN["badja.acc_3px"][0], rel=1e-6)
    assert near == pytest.approx(GOLDEN["fastcapture.acc_3px"][0], rel=1e-6)


def test_queried_first_equals_tapnet():
    visible, xy = ~GOLDEN["queries.occluded"].T, GOLDEN["queries.points_xy"].swapaxes(0, 1)
    targets = first(_clip(xy, visible, (256, 256)))
    reference = GOLDEN["queries.first.query_points"]
    np.testing.assert_array_equal(targets.queries, reference[..., [0, 2, 1]])
    np.testing.assert_array_equal(
        targets.target.xy[0].swapaxes(0, 1), GOLDEN["queries.first.target_points"][0]
    )
    np.testing.assert_array_equal(targets.target.visible[0].T, ~GOLDEN["queries.first.occluded"][0])
    after = np.arange(len(xy))[:, None] > reference[0, :, 0]
    np.testing.assert_array_equal(targets.eval_mask[0], after)


def _random_case(rng):
    frames, points, height, width = (
        rng.integers(2, 7),
        rng.integers(1, 5),
        rng.integers(8, 30),
        rng.integers(8, 30),
    )
    xy = rng.uniform(0, 20, (frames, points, 2)).astype(np.float32)
    visible, valid = rng.random((frames, points)) < 0.7, rng.random((frames, points)) < 0.8
    masks = (rng.random((frames, height, width)) < rng.random()).astype(np.uint8) * 128
    answer = (xy + rng.normal(0, rng.choice([0.1, 0.5, 2]), xy.shape)).astype(np.float32)
    return _clip(xy, visible, (int(height), int(width)), masks, valid), _tracks(
        answer, rng.random(visible.shape) < 0.7
    )


def _loops(clip, targets, answers, width, height):
    """The counted (frame, distance at width x height, truth seen, answer seen), by plain Python."""
    rows, (image_height, image_width) = [], clip.video.shape[-2:]
    for t in range(targets.eval_mask.shape[1]):
        for n in range(targets.eval_mask.shape[2]):
            if targets.eval_mask[0, t, n]:
                dx, dy = (answers.xy[0, t, n] - targets.target.xy[0, t, n]).tolist()
                distance = math.hypot(dx * width / image_width, dy * height / image_height)
                rows.append(
                    (
                        t,
                        distance,
                        bool(targets.target.visible[0, t, n]),
                        bool(answers.visible[0, t, n]),
                    )
                )
    return rows


def test_metrics_equal_plain_loops():
    rng = np.random.default_rng(0)
    nothing = 0
    for case in range(50):
        clip, answers = _random_case(rng)
        targets = from_first_frame(clip)
        expected = _tapvid_by_loops(_loops(clip, targets, answers, 256, 256))
        assert tapvid(answers, targets, clip) == pytest.approx(expected, rel=1e-5, nan_ok=True)
        if case % 5 == 0:  # the loops over 384x512 pixels are slow
            expected = _badja_by_loops(_loops(clip, targets, answers, 512, 384), clip.masks)
            assert badja(answers, targets, clip) == pytest.approx(expected, rel=1e-5, nan_ok=True)
        nothing += math.isnan(expected.get("delta_avg", 0))
    assert nothing < 25


def test_thresholds_are_strict():
    xy = np.zeros((2, 2, 2), np.float32)
    clip = _clip(xy, np.ones((2, 2), bool), (384, 512), np.full((2, 384, 512), 255, np.uint8))
    answers = _tracks(xy + np.array([[0, 0], [3, 0]], np.float32)[:, None], np.ones((2, 2), bool))
    targets = from_first_frame(clip)
    assert badja(answers, targets, clip) == {"seg": 100.0, "3px": 0.0}
    assert within_pixels(answers, targets, clip, pixels=3.001) == {"3.001px": 100.0}
    masks = torch.zeros(2, 384, 512, dtype=torch.uint8)
    masks[1, :15, :15] = 1  # the limit is 0.2 * 15, three pixels to the bit
    assert pck_segment(answers, targets, replace(clip, masks=masks))["seg"] == 0.0
    masks[1, 15, 0] = 1
    assert pck_segment(answers, targets, replace(clip, masks=masks))["seg"] == 100.0


def test_only_known_truth_after_the_query_is_scored():
    visible = np.array([[0, 0, 1], [1, 0, 1], [1, 0, 1], [0, 0, 1]], bool)
    valid = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 1, 1]], bool)
    xy = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    clip = _clip(xy, visible, (30, 30), valid=valid)
    every, shown = from_first_frame(clip), first(clip)
    assert every.queries[0].tolist() == [[0, 0, 1], [0, 2, 3], [0, 4, 5]]
    assert every.eval_mask[0].int().tolist() == [[0, 0, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1]]
    assert shown.queries[0].tolist() == [[1, 6, 7], [0, 4, 5]]  # the second point is never seen
    assert shown.eval_mask[0].int().tolist() == [[0, 0], [0, 0], [0, 1], [1, 1]]


class _Oracle(Tracker):
    """Answers with a clip's own truth."""

    def __init__(self, clip):
        super().__init__()
        self.clip = clip

    def forward(self, video, queries):
        visible = self.clip.visible[None]
        return Tracks(self.clip.tracks[None], visible.float(), visible)


def test_a_perfect_tracker_has_a_hundred():
    rng = np.random.default_rng(3)
    xy = rng.uniform(0, 40, (6, 8, 2)).astype(np.float32)
    visible = rng.random((6, 8)) < 0.6
    visible[0] = True
    clip = _clip(xy, visible, (48, 64), np.ones((6, 48, 64), np.uint8))
    for metric, protocol in ((tapvid, first), (badja, from_first_frame)):
        (row,) = evaluate(_Oracle(clip), Benchmark("b", [clip], protocol, metric))
        values = {key: value for key, value in row.items() if key not in ("name", "seconds")}
        assert values and all(value == pytest.approx(100) for value in values.values())


def test_evaluate_deals_videos_and_names_what_is_not_scored():
    rng = np.random.default_rng(4)
    clips = []
    for k in range(5):
        seen = (
            np.ones((3, 2), bool)
            if k != 3
            else np.array([[True, True], [False, False], [False, False]])
        )
        clip = _clip(
            rng.uniform(0, 9, (3, 2, 2)).astype(np.float32),
            seen,
            (10, 10),
            np.ones((3, 10, 10), np.uint8),
        )
        clips.append(
            Clip(clip.video, clip.tracks, clip.visible, clip.valid, clip.masks, f"video{k}")
        )
    benchmark = Benchmark("b", clips, from_first_frame, badja)
    said = []
    rows = evaluate(Static(), benchmark, progress=said.append)
    assert said == rows and [row["name"] for row in rows] == [f"video{k}" for k in range(5)]
    dealt = [evaluate(Static(), benchmark, rank, 2) for rank in range(2)]
    assert [[row["name"] for row in part] for part in dealt] == [
        ["video0", "video2", "video4"],
        ["video1", "video3"],
    ]
    assert unscored(rows) == ["video3"]
    scored = [row["seg"] for row in rows if row["name"] != "video3"]
    assert mean(rows)["seg"] == pytest.approx(sum(scored) / 4)


def test_evaluate_refuses_nan_tracks_and_restores_training_mode():
    clip = _clip(
        np.full((3, 1, 2), np.nan, np.float32),
        np.ones((3, 1), bool),
        (9, 9),
        np.ones((3, 9, 9), np.uint8),
    )
    asked = Clip(clip.video, torch.zeros(3, 1, 2), clip.visible, clip.valid, clip.masks, "spoilt")
    tracker = _Oracle(clip).train()
    with pytest.raises(ValueError, match="NaN.*spoilt"):
        evaluate(tracker, Benchmark("b", [asked], from_first_frame, badja))
    assert tracker.training
