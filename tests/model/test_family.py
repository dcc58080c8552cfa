"""What CoTracker2 and 3 must keep whatever their weights, in every form of their fields."""

import weakref

import pytest
import torch
from networks3 import FORMS, TINY3, tiny3
from small_networks import (
    assert_same,
    random_queries,
    random_video,
    select,
    tiny,
)
from waits import Waits

from cotracker.model.attention import time_bias, time_slopes
from cotracker.model.config import CoTracker3Config, CoTrackerConfig
from cotracker.model.cotracker3 import CoTracker3
from cotracker.model.networks import build_network
from cotracker.model.windows import extrapolate, window_starts
from cotracker.trackers.cotracker import CoTrackerPredictor
from cotracker.trackers.wrappers import Bidirectional

NETWORKS = {"CoTracker2": lambda **options: tiny(virtual_tracks=5, **options)}
NETWORKS |= {
    name: lambda form=form, **options: tiny3(**(form | options)) for name, form in FORMS.items()
}


@pytest.fixture(params=NETWORKS)
def make(request):
    return NETWORKS[request.param]


@torch.no_grad()
def test_points_move(make):
    """So that the equalities below are not between standing points."""
    queries = random_queries()
    estimates = make()(random_video(), queries)
    moved = (estimates[-1].tracks[-1] - queries[:, None, :, 1:]).norm(dim=-1)
    assert 0.05 < moved[:, :, estimates[-1].active[0]].mean() < 20
    assert (estimates[0].tracks[0] - estimates[0].tracks[1]).abs().max() > 0.01


@torch.no_grad()
def test_three_clips_at_once_equal_three_singles(make):
    model, video, queries = make(), random_video(3), random_queries(3)
    together = model(video, queries)
    for b in range(3):
        assert_same(select(together, slice(b, b + 1)), model(video[b : b + 1], queries[b : b + 1]))


@torch.no_grad()
def test_permuting_queries_permutes_tracks(make):
    model, order, queries = make(), [4, 0, 5, 2, 1, 3], random_queries()
    assert_same(
        model(random_video(), queries[:, order]),
        select(model(random_video(), queries), points=order),
    )


@torch.no_grad()
def test_padded_points_change_nothing(make):
    model, queries = make(), random_queries(2)
    rubbish = torch.tensor([[float("nan"), 1e30, -5], [0, float("inf"), 3], [3, 10.0, 10]])
    point_mask = torch.ones(2, 9, dtype=torch.bool)
    point_mask[:, 6:] = False
    padded = torch.cat([queries, rubbish.expand(2, 3, 3)], dim=1)
    order = [8, 0, 1, 6, 2, 3, 7, 4, 5]
    told = model(random_video(2), padded[:, order], point_mask=point_mask[:, order])
    assert not any(e.active[:, [0, 3, 6]].any() for e in told)
    assert_same(select(told, points=[1, 2, 4, 5, 7, 8]), model(random_video(2), queries))


@pytest.mark.slow
@pytest.mark.parametrize("length", [3, 8, 10])
@torch.no_grad()
def test_padded_frames_change_nothing(make, length):
    model, video, queries = make(), random_video(2, 16).float(), random_queries(2, length)
    lengths = torch.tensor([length, 16])
    video[0, length:] = float("nan")
    padded = model(video, queries, lengths=lengths)
    for e, s in zip(padded, model(video[:1, :length], queries[:1])):
        told = s.logits.shape[1]
        assert_same(select([e], slice(0, 1), frames=slice(told)), [s])
    assert_same(select(padded, slice(1, 2)), model(video[1:], queries[1:]))


@pytest.mark.slow
@torch.no_grad()
def test_any_number_of_frames(make):
    model = make()
    for frames in range(1, 41):
        queries = random_queries(frames=frames, height=17, width=33)
        estimates = model(random_video(1, frames, 17, 33), queries)
        assert [e.start for e in estimates] == window_starts(frames, model.window)
        assert estimates[-1].start + estimates[-1].logits.shape[1] == frames
        assert estimates[-1].active.all()
        for estimate in estimates:
            assert torch.stack(estimate.tracks).isfinite().all()
            assert estimate.logits.isfinite().all()


@pytest.mark.parametrize("size", [(17, 33), (9, 7), (33, 16), (1, 40), (4, 4)])
@torch.no_grad()
def test_odd_sizes(make, size):
    queries = random_queries(frames=5, height=size[0], width=size[1])
    rng = torch.Generator().manual_seed(0)
    video = (255 * torch.rand(1, 5, 3, *size, generator=rng)).byte()
    for stride in (4, 8):
        for estimate in make(stride=stride)(video, queries):
            assert torch.stack(estimate.tracks).isfinite().all()
            assert estimate.logits.isfinite().all()


@torch.no_grad()
def test_one_video_serves_many_sets_of_queries(make):
    model, video, queries = make(), random_video(), random_queries(3)
    assert_same(model(video, queries), model(video.expand(3, -1, -1, -1, -1), queries))


@torch.no_grad()
def test_points_see_each_other_only_once_queried(make):
    """A point queried later changes nothing before its first window, and something from it on."""
    model, queries = make(), random_queries(points=4)
    queries[..., 0] = torch.tensor([0.0, 0, 2, 9])  # the last from the second window of 8 on
    alone = model(random_video(), queries[:, :3])
    joined = select(model(random_video(), queries), points=slice(3))
    if model.window == 8:
        assert_same(alone[:1], joined[:1])
    assert (alone[-1].tracks[-1] - joined[-1].tracks[-1]).abs().max() > 1e-5


def gradients(model, video, queries):
    model.zero_grad()
    estimates = model(video, queries)
    sum((t / 10).sin().sum() for e in estimates for t in e.tracks).backward(retain_graph=True)
    confidence = [e.confidence[-1].sum() for e in estimates if e.confidence]
    sum(e.logits.sum() for e in estimates).backward(retain_graph=bool(confidence))
    if confidence:
        sum(confidence).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.slow
def test_gradients_are_finite_and_the_same_when_recomputed(make):
    video, queries = random_video(2, 10, 24, 40), random_queries(2, 10, 4, 24, 40)
    kept, again = (gradients(make(recompute=r), video, queries) for r in (False, True))
    assert kept.isfinite().all() and (kept != 0).float().mean() > 0.9
    assert (kept - again).norm() < 1e-5 * kept.norm()


@pytest.mark.slow
def test_gradients_of_three_clips_are_the_sum_of_singles(make):
    model, video, queries = make(), random_video(3, 10, 24, 32), random_queries(3, 10, 4, 24, 32)
    together = gradients(model, video, queries)
    singles = sum(gradients(model, video[b : b + 1], queries[b : b + 1]) for b in range(3))
    assert (together - singles).norm() < 1e-4 * together.norm()


def test_a_step_is_pure_and_forward_is_their_loop(make):
    model, video, queries = make(), random_video(2, 14), random_queries(2, 14)
    maps, estimates = model.encode(video), []
    state = model.begin(queries)
    for start in window_starts(14, model.window):
        window = [level[:, start : start + model.window] for level in maps]
        tensors = [x for x in state if isinstance(x, torch.Tensor)]
        before = [x.clone() for x in (*tensors, *window)]
        _, again = model.step(state, window)
        state, estimate = model.step(state, window)
        assert all(torch.equal(x, y) for x, y in zip((*tensors, *window), before))
        assert_same([estimate], [again], atol=0)
        estimates.append(estimate)
    assert_same(estimates, model(video, queries), atol=0)


@torch.no_grad()
def test_backward_of_a_clip_is_forward_of_its_reverse(make):
    """As Bidirectional has it: before each query, the tracks are those of the reversed video."""
    tracker, video, queries = CoTrackerPredictor(make(), iters=2), random_video(), random_queries()
    joined = Bidirectional(tracker)(video, queries)
    flipped = torch.cat([11 - queries[..., :1], queries[..., 1:]], dim=-1)
    back = tracker(video.flip(1), flipped).xy.flip(1)
    before = torch.arange(12)[:, None] < queries[0, :, 0]
    assert torch.equal(joined.xy[0, before], back[0, before])
    here = torch.arange(12)[:, None] == queries[0, :, 0]
    assert torch.equal(joined.xy[0, here], queries[:, None, :, 1:].expand_as(joined.xy)[0, here])


@torch.no_grad()
def test_nothing_in_a_window_waits_for_the_device(make):
    """As a CUDA graph of `refine` needs it."""
    model, queries = make(), random_queries()
    maps = model.encode(random_video(1, 8))
    state, _ = model.step(model.begin(queries), maps)
    with Waits() as waits:
        model.step(state, maps)
    assert waits.found == []


@pytest.mark.parametrize("kind", FORMS)
def test_a_network_is_built_again_from_its_config(kind):
    model = tiny3(**FORMS[kind])
    fields = vars(model.config)
    again = build_network("cotracker3", dict(fields))
    assert again.config == model.config
    again.load_state_dict(model.state_dict())


OPTIONS = [
    {"stride": 8}, {"window": 4}, {"window": 12}, {"iters": 1}, {"levels": 1}, {"query_radius": 0},
    {"query_radius": 3, "search_radius": 1}, {"search_radius": 0}, {"track_feat": "updated"},
    {"track_feat": "fixed"}, {"virtual_tracks": 0}, {"virtual_tracks": 1}, {"virtual_tracks": 256},
    {"time_code": "relative"}, {"time_table": 5}, {"iterate_visibility": False},
    {"motion": "first_frame"}, {"motion_waves": 1}, {"position_code": True}, {"query_flag": True},
    {"velocity_start": True}, {"repeat_last_frame": True}, {"attend_inactive": True},
    {"normalise_levels": True}, {"time_layers": 1, "group_layers": 3}, {"group_layers": 0},
    {"window": None}, {"window": None, "virtual_tracks": 0, "time_code": "relative"},
    {"window": 2, "velocity_start": True, "track_feat": "updated", "iterate_visibility": False},
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda o: "-".join(f"{k}={v}" for k, v in o.items())
)
def test_every_option_runs_forwards_and_backwards(options):
    model = tiny3(**({"window": 8} | options))
    video, queries = random_video(2, 10, 24, 40), random_queries(2, 10, 4, 24, 40)
    if options.get("group_layers") == 0:  # virtual tracks that nobody reads get no gradient
        model.transformer.virtual_tracks.requires_grad_(False)
    estimates = model(video, queries)
    loss = sum(t.square().mean() for e in estimates for t in e.tracks)
    (loss + sum(e.logits.mean() + e.confidence[-1].mean() for e in estimates)).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


MISUSE = [
    ({"window": 7}, "model.window must be an even number"),
    ({"virtual_tracks": -1}, "model.virtual_tracks must be a whole number"),
    ({"track_feat": "moved"}, "model.track_feat must be none, fixed or updated, not moved"),
    ({"window": None, "repeat_last_frame": True}, "model.repeat_last_frame needs windows"),
    ({"time_code": "relative", "heads": 1}, "model.time_code=relative needs an even number"),
    ({"corr_gain": 0}, "model.corr_gain must be a number"),
]


@pytest.mark.parametrize("options, sentence", MISUSE)
def test_settings_that_cannot_be_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        CoTracker3(**(TINY3 | options))
    with pytest.raises(ValueError, match="position_table must be two whole numbers"):
        CoTrackerConfig(position_table=(3,))


def test_the_default_is_the_papers_model():
    model = CoTracker3()
    assert model.config == CoTracker3Config()
    assert sum(p.numel() for p in model.parameters()) == 25385700
    assert model.transformer.embed.in_features == 1110


def test_half_of_the_heads_look_back_and_half_ahead():
    bias = time_bias(time_slopes(4), 5)[0]
    hidden = bias < -1e8
    ahead = torch.ones(5, 5).triu(1).bool()  # j after i
    assert torch.equal(hidden[0], ahead) and torch.equal(hidden[1], ahead)
    assert torch.equal(hidden[2], ahead.T) and torch.equal(hidden[3], ahead.T)
    assert bias[0, 3, 1] == -1.0 and bias[3, 1, 3] == -2 / 256


def test_extrapolation_goes_on_at_the_last_velocity():
    steps = torch.arange(8.0)[None, :, None, None]
    tracks = torch.cat([steps * 2, -steps], dim=-1)
    ahead = torch.arange(8.0, 12)[None, :, None, None]
    torch.testing.assert_close(extrapolate(tracks, 4), torch.cat([ahead * 2, -ahead], dim=-1))


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_correlations_are_not_held_beside_the_tokens_made_of_them(form, monkeypatch):
    """4,096 points in 24 frames have 0.4 GB of them, and as many bytes of query patches."""
    model, made, held = tiny3(**FORMS[form]), [], []
    look_up, forward = model.correlation.forward, model.transformer.forward

    def watched(*arguments):
        corr = look_up(*arguments)
        made.append(weakref.ref(corr))
        return corr

    def transform(*arguments):
        held.append(made[-1]() is not None)
        return forward(*arguments)

    monkeypatch.setattr(model.correlation, "forward", watched)
    monkeypatch.setattr(model.transformer, "forward", transform)
    model(random_video(), random_queries())
    assert held and not any(held)
    assert model.begin(random_queries()).track_feat.untyped_storage().nbytes() == 4
