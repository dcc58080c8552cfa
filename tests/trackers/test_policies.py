"""Wrappers that change answers: what they do frame by frame, in clips and in streams."""

from dataclasses import replace

import pytest
import torch
from sliding import STEP, Drift, predictor, some_queries, texture

from cotracker.trackers.cuts import SplitAtCuts, find_cuts
from cotracker.trackers.policies import Filtered, Hidden, Retired, forward_backward
from cotracker.trackers.stream_result import collect
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.visible import VisibleRule


class Blinking(Drift):
    """Drift that is hidden in these frames, and answers something else there."""

    def __init__(self, hidden=(4, 5, 6, 7)):
        super().__init__()
        self.hidden = list(hidden)

    def forward(self, video, queries):
        answer = super().forward(video, queries)
        visible, xy = answer.visible.clone(), answer.xy.clone()
        visible[:, self.hidden] = False
        xy[:, self.hidden] += 9
        return replace(answer, visible=visible, xy=xy)


QUERIES = torch.tensor([[[0.0, 5, 20], [1.0, 10, 30]]])


@pytest.mark.parametrize("fill", ["hold", "extrapolate", "nan"])
def test_hidden_points_hold_go_on_or_are_nan(fill):
    plain = Blinking()(texture(), QUERIES)
    tracks = Hidden(Blinking(), 2, fill)(texture(), QUERIES)
    same = [*range(6), *range(8, 12)]  # two hidden frames are left as they come
    assert torch.equal(tracks.xy[:, same], plain.xy[:, same])
    last = plain.xy[:, 3]
    for ahead, frame in ((3, 6), (4, 7)):
        expected = {"hold": last, "extrapolate": last + ahead * torch.tensor(STEP),
                    "nan": torch.full_like(last, float("nan"))}[fill]  # fmt: skip
        torch.testing.assert_close(tracks.xy[:, frame], expected, equal_nan=True)


def test_a_point_is_retired_after_long_hiding():
    tracks = Retired(Blinking(), 3)(texture(), QUERIES)
    assert tracks.xy[:, 6:].isnan().all() and not tracks.visible[:, 6:].any()
    assert tracks.xy[:, :6].isfinite().all() and tracks.visible[:, 1:4].all()
    assert Retired(Blinking(), 5)(texture(), QUERIES).visible[:, 8:].any()


def test_a_filter_halves_jitter_and_keeps_queries():
    class Jittering(Drift):
        def forward(self, video, queries):
            answer = super().forward(video, queries)
            shake = torch.tensor([1.0, -1]).repeat(6)[None, :, None, None]
            return replace(answer, xy=answer.xy + shake * answer.visible[..., None])

    plain, tracks = (t(texture(), QUERIES).xy for t in (Jittering(), Filtered(Jittering(), 0.5)))
    jitter = [(xy[:, 3:] - xy[:, 2:-1]).diff(dim=1).abs().mean() for xy in (plain, tracks)]
    assert jitter[1] < 0.5 * jitter[0]
    assert torch.equal(
        Filtered(Drift(), 1.0)(texture(), QUERIES).xy, Drift()(texture(), QUERIES).xy
    )


@pytest.mark.parametrize("policy", [Hidden, Retired, Filtered])
def test_a_policy_around_a_stream_is_that_around_the_clip(policy):
    tracker, video = policy(predictor(rule=VisibleRule(0.9))), texture()
    queries = some_queries(times=(0, 3))
    stream = tracker.stream(queries[0])
    results = [stream.push(video[:, k : k + 1]) for k in range(12)]
    _, tracks = collect([*results, stream.flush()])
    torch.testing.assert_close(
        tracks.xy, tracker(video, queries).xy, rtol=0, atol=1e-4, equal_nan=True
    )
    stream.reset()
    stream.push(video[:, :5])
    stream.add([[5, 9.0, 9.0]])
    stream.remove(0)
    assert stream.push(video[:, 5:]).xy.shape[1:] == (2, 2)


def test_a_cut_is_found_and_no_visible_track_crosses_it():
    joined = torch.cat([texture(seed=0), 255 - texture(seed=5) // 3], dim=1)
    assert find_cuts(joined) == [12]
    assert find_cuts(texture()) == find_cuts(texture(seed=5)) == []
    queries = torch.tensor([[[0.0, 20, 20], [14.0, 30, 20]]])
    tracks = SplitAtCuts(predictor())(joined, queries)
    assert not tracks.visible[0, 12:, 0].any() and not tracks.visible[0, :14, 1].any()
    assert torch.equal(tracks.xy[0, 12:, 0], tracks.xy[0, 11, 0].expand(12, 2))
    shot = predictor()(joined[:, 12:], torch.tensor([[[2.0, 30, 20]]]))
    torch.testing.assert_close(tracks.xy[:, 12:, 1:], shot.xy, rtol=0, atol=1e-4)
    assert tracks.xy[0, 5, 1].tolist() == [30, 20]


def test_forward_backward_is_a_score():
    video, queries = texture(), torch.tensor([[[2.0, 20, 25]]])

    class Lost(Drift):  # goes astray from frame 6 on
        def forward(self, video, queries):
            answer = super().forward(video, queries)
            astray = (torch.arange(12) >= 6)[:, None] * torch.tensor([3.0, 0])
            return replace(answer, xy=answer.xy + astray[None, :, None])

    class Oracle(Tracker):  # backward, STEP is subtracted
        def forward(self, video, queries):
            since = torch.arange(12)[:, None] - queries[:, None, :, 0]
            xy = queries[:, None, :, 1:] - since[..., None] * torch.tensor(STEP)
            return replace(Drift().forward(video, queries), xy=xy)

    right, wrong = (one.forward(video, queries) for one in (Drift(), Lost()))
    assert forward_backward(Oracle(), video, right, queries).max() < 1e-3
    score = forward_backward(Oracle(), video, wrong, queries)[0, :, 0]
    assert score[:2].max() == 0
    torch.testing.assert_close(score[2:6], torch.full((4,), 3.0))
