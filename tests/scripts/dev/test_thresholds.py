"""scripts/dev/thresholds.py: the same tracks, seen or not by each threshold."""

import torch
from thresholds import (
    THRESHOLDS,
    Measured,
    confidence_and_truth,
    describe_confidence,
    error_and_visibility,
    fit,
    group_by_error,
    main,
)

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
    found = Measured()
    found.add(Doubting(), Benchmark("one", [clip], first, tapvid))
    assert [rule.threshold for rule in found.means] == list(THRESHOLDS)
    assert all(
        row[0]["oa"] == (100 if of.threshold < 0.33 else 50) for of, row in found.means.items()
    )
    shares = group_by_error(torch.cat(found.pairs))
    assert shares[0] == [100, 50] and shares[4][0] == shares[16][0] == 0
    assert not found.confidences


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


def test_the_fit_makes_a_confidence_a_probability():
    """Logits that are twice too large and one too high: the fit halves and lowers them."""
    generator = torch.Generator().manual_seed(0)
    true = 2 * torch.randn(200_000, generator=generator)
    right = torch.rand(len(true), generator=generator) < true.sigmoid()
    pairs = torch.stack([(2 * true + 1).sigmoid(), right.float()], dim=-1)
    scale, offset = fit(pairs)
    assert abs(scale - 0.5) < 0.02 and abs(offset + 0.5) < 0.02
    before, after = (describe_confidence(of) for of in (pairs, refit(pairs, scale, offset)))
    assert abs(before["sure"][4] - before["sure"][3]) > 0.05
    assert all(abs(row[4] - row[3]) < 0.02 for row in after["table"])
    assert abs(sum(row[2] for row in after["table"]) - 1) < 1e-3


def refit(pairs, scale, offset):
    confidence = (scale * pairs[:, 0].logit() + offset).sigmoid()
    return torch.stack([confidence, pairs[:, 1]], dim=-1)


def test_an_error_counts_in_the_pixels_of_the_tracker():
    """Four pixels of 33 are eight of 65: no more than 8.5, more than 7.5."""
    seen = torch.tensor([[[True, True, False]]])
    xy = torch.zeros(1, 1, 3, 2)
    clip = Clip(torch.zeros(1, 3, 33, 33, dtype=torch.uint8), xy[0], seen[0], seen[0])
    targets = EvalTargets(None, Tracks(xy, seen.float(), seen), torch.ones_like(seen))
    moved = xy + torch.tensor([[4.0, 0], [0, 0], [0, 0]])
    tracks = Tracks(moved, seen.float(), seen, torch.tensor([[[0.9, 0.8, 0.7]]]))
    for most, first_right in ((8.5, 1), (7.5, 0)):
        told = {"resolution": [65, 65], "confidence_px": most}
        pairs = confidence_and_truth(targets, tracks, clip, told)
        assert torch.allclose(pairs, torch.tensor([[0.9, first_right], [0.8, 1]]))
