"""scripts/dev/thresholds.py: the same tracks, seen or not by each threshold."""

import torch
from thresholds import THRESHOLDS, by_error, main, measured, places_of

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
    rows, shares = measured(Doubting(), Benchmark("made", [clip], first, tapvid, (), {}))
    assert tuple(rows) == THRESHOLDS
    assert all(rows[t]["oa"] == (100 if t < 0.33 else 50) for t in THRESHOLDS)
    assert shares[0] == [100, 50] and shares[4][0] == shares[16][0] == 0


def test_places_are_told_apart_by_their_error_at_256():
    xy = torch.tensor([[[[0.0, 0], [7.9, 0], [8, 0], [0, 63]]]])
    truth = Tracks(torch.zeros_like(xy), torch.ones(1, 1, 4), torch.ones(1, 1, 4, dtype=torch.bool))
    seen = torch.tensor([[[True, False, False, True]]])
    places = places_of(
        EvalTargets(None, truth, torch.ones_like(seen)), Tracks(xy, seen.float(), seen), (512, 512)
    )
    assert by_error(places) == {0: [50, 50], 4: [25, 0], 16: [25, 100]}


def test_settings_that_cannot_be_are_said(capsys):
    assert main(["benchmark=badja", "benchmark.root=nowhere", "tracker=static"]) == 2
    assert "nowhere" in capsys.readouterr().err
