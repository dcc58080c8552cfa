"""scripts/dev/thresholds.py: the same tracks, seen or not by each threshold."""

import torch
from thresholds import THRESHOLDS, error_and_visibility, evaluate, group_by_error, main

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.metrics import tapvid
from cotracker.benchmarks.protocols import first
from cotracker.trackers.tracker import Tracker
from cotracker.types import Clip, EvalTargets, Tracks


class Doubting(Tracker):
    """Stands still, which is right here; the second of two points has visibility 0.33."""

    def forward(self, video, queries):
        xy = queries[:, None, :, 1:].expand(-1, video.shape[1], -1, -1)
        visibility = torch.tensor([1.0, 0.33]).expand(xy.shape[:-1])
        return Tracks(xy, visibility, visibility > 0.5)


def test_a_point_is_seen_where_its_visibility_is_above_the_threshold():
    tracks = torch.tensor([[10.0, 8.0], [20.0, 8.0]]).expand(6, 2, 2)
    seen = torch.ones(6, 2, dtype=torch.bool)
    clip = Clip(torch.zeros(6, 3, 32, 32, dtype=torch.uint8), tracks, seen, seen, name="still")
    rows, shares = evaluate(Doubting(), Benchmark("one", [clip], first, tapvid))
    assert tuple(rows) == THRESHOLDS
    assert all(rows[t]["oa"] == (100 if t < 0.33 else 50) for t in THRESHOLDS)
    assert shares[0] == [100, 50] and shares[4][0] == shares[16][0] == 0


def test_pairs_are_grouped_by_their_error_at_256():
    xy = torch.tensor([[[[0.0, 0], [7.9, 0], [8, 0], [0, 63]]]])
    shown = torch.ones(1, 1, 4, dtype=torch.bool)
    targets = EvalTargets(None, Tracks(torch.zeros_like(xy), shown.float(), shown), shown)
    seen = torch.tensor([[[True, False, False, True]]])
    clip = Clip(torch.zeros(1, 3, 512, 512, dtype=torch.uint8), xy[0], seen[0], seen[0])
    pairs = error_and_visibility(targets, Tracks(xy, seen.float(), seen), clip)
    assert group_by_error(pairs) == {0: [50, 50], 4: [25, 0], 16: [25, 100]}


def test_settings_that_cannot_be_are_said(capsys):
    assert main(["benchmark=badja", "benchmark.root=nowhere", "tracker=static"]) == 2
    assert "nowhere" in capsys.readouterr().err
