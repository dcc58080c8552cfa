"""The losses by hand, what a batch is trained on, and what the objective makes of it."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks3 import FORMS, tiny3
from waits import Waits

from cotracker.data.loader import make_loader
from cotracker.data.stream import Mixture, TrainingStream
from cotracker.data.synthetic.sprites import Sprites
from cotracker.model.cotracker import CoTracker
from cotracker.model.cuda_graphs import tensors_of
from cotracker.model.windows import Estimate
from cotracker.queries import sample_queries
from cotracker.training.config import ObjectiveConfig, TrainConfig
from cotracker.training.distributed import Group
from cotracker.training.group_attention import group_attention
from cotracker.training.late_window import drift_tracks, sample_late_window, track_late_window
from cotracker.training.losses import (
    confidence_loss,
    matching_loss,
    track_loss,
    visibility_loss,
)
from cotracker.training.objective import Objective
from cotracker.training.parts import build_parts
from cotracker.training.targets import (
    TargetSampler,
    TrainingBatch,
    padded,
    sample_matching,
    select_frames,
)
from cotracker.types import Clip

GOLDEN = Path(__file__).parents[1] / "golden" / "losses_head.npz"  # of parity/metrics/golden.npz
TINY = dict(
    iters=2,
    channels=16,
    widths=(8, 8, 12, 12),
    fuse_width=16,
    hidden=32,
    heads=2,
    time_layers=1,
    group_layers=1,
    levels=2,
)


def tiny_model() -> CoTracker:
    torch.manual_seed(0)
    return CoTracker(**TINY)


def loss_of(model: CoTracker, example: Clip, **settings) -> tuple[torch.Tensor, dict]:
    objective = Objective(ObjectiveConfig(**settings))
    return objective(model, objective.sample_targets(example, model.window))


def clip(batch=2, frames=6, points=8, seed=0):
    rng = np.random.default_rng(seed)
    tracks = torch.from_numpy(rng.uniform(4, 28, (batch, frames, points, 2)).astype(np.float32))
    visible = torch.from_numpy(rng.random((batch, frames, points)) < 0.6)
    visible[:, :, 0] = False
    valid = torch.ones_like(visible)
    video = torch.from_numpy(rng.integers(0, 256, (batch, frames, 3, 32, 32)).astype(np.float32))
    return Clip(video, tracks, visible, valid, seed=[(seed, b) for b in range(batch)])


def test_training_queries_are_at_the_first_or_a_later_visible_frame():
    example = clip(points=400)
    queries, point_mask = sample_queries(example, late=0.25)
    assert not point_mask[:, 0].any() and point_mask[:, 1:].float().mean() > 0.9
    for b, n in point_mask.nonzero().tolist():
        t = int(queries[b, n, 0])
        assert example.visible[b, t, n] and torch.equal(queries[b, n, 1:], example.tracks[b, t, n])
    first = example.visible.int().argmax(dim=1)
    assert torch.equal(
        queries[:, 100:, 0][point_mask[:, 100:]], first[:, 100:][point_mask[:, 100:]].float()
    )
    assert (queries[:, :100, 0] > first[:, :100]).float().mean() > 0.3
    assert torch.equal(sample_queries(example, late=0.25)[0], queries)


def estimate(example, tracks, logits):
    active = torch.ones(example.tracks.shape[0], example.tracks.shape[2], dtype=torch.bool)
    return Estimate(0, tracks, logits, active)


def test_losses_by_hand():
    example = clip()
    off = [example.tracks + 3.0, example.tracks + torch.tensor([1.0, -2.0])]
    expected = (0.8 * 3.0 + 1.5) / 2
    sure = torch.where(example.visible, 20.0, -20.0)
    assert track_loss(estimate(example, off, sure), example, gamma=0.8).item() == pytest.approx(
        expected, rel=1e-5
    )
    assert visibility_loss(estimate(example, off, sure), example).item() < 1e-6
    logits = torch.zeros_like(sure)
    assert visibility_loss(estimate(example, off, logits), example).item() == pytest.approx(
        np.log(2)
    )
    unknown = Clip(example.video, example.tracks, example.visible, torch.zeros_like(example.valid))
    assert track_loss(estimate(unknown, off, sure), unknown, gamma=0.8).item() == 0.0


def test_the_log_loss_by_hand():
    example = clip()
    for error in (0.5, 8.0):
        off = [example.tracks + error]
        plain, sharp = (
            track_loss(estimate(example, off, example.tracks[..., 0]), example, 0.8, w).item()
            for w in (0.0, 4.0)
        )
        assert plain == pytest.approx(error, rel=1e-4)
        assert sharp == pytest.approx(error + 4 * np.log1p(error), rel=1e-4)


@pytest.fixture(scope="module")
def published():
    """Two windows of three iterations, and the losses of CoTracker3's published code on them."""
    with np.load(GOLDEN) as file:
        names = [key for key in file.files if key.startswith("losses_head.")]
        return {key.partition(".")[2]: torch.from_numpy(file[key]) for key in names}


def windows_of(published):
    for j in range(2):
        truth = Clip(
            torch.zeros(1, 6, 3, 8, 8),
            published["gt"][j],
            published["visible"][j].bool(),
            published["valid"][j].bool(),
        )
        told = [[p.logit() for p in published[f"{name}_pred"][j]] for name in ("vis", "conf")]
        active = torch.ones(1, 5, dtype=torch.bool)
        yield Estimate(0, list(published["pred"][j]), told[0][-1], active, *told), truth


def test_the_losses_of_cotracker3_are_the_published_ones(published):
    """Theirs of positions are the mean of two windows; of visibility, wherever truth is stored."""
    pairs = list(windows_of(published))
    for huber, only in ((None, 0), (None, 1), (6.0, 1)):
        ours = [track_loss(e, c, 0.8, 0.0, huber, 0.0 if only else None) for e, c in pairs]
        theirs = published[f"sequence_huber{int(huber is not None)}_visible_only{only}"]
        assert (sum(ours) / 2).item() == pytest.approx(theirs.item(), rel=1e-5)
    every = [(e, replace(c, valid=torch.ones_like(c.valid))) for e, c in pairs]
    ours = sum(visibility_loss(e, c) for e, c in every) / 2
    assert ours.item() == pytest.approx(published["visibility_bce"].item(), rel=1e-5)
    # theirs divides by all places, not by the visible ones, whose share is known
    shares = [c.visible.float().mean() for _, c in every]
    ours = sum(s * confidence_loss(e, c, 12.0) for s, (e, c) in zip(shares, every)) / 2
    assert ours.item() == pytest.approx(published["confidence"].item(), rel=1e-5)


def test_hidden_frames_weigh_their_share(published):
    found, truth = next(windows_of(published))

    def loss(share, clip=truth):
        return track_loss(found, clip, 0.8, 4.0, None, share).item()

    only_hidden = replace(truth, valid=truth.valid & ~truth.visible)
    hidden = loss(None, only_hidden)
    assert hidden > 1 and loss(0.0, only_hidden) == 0
    for share in (0.0, 0.2, 1.0):
        assert loss(share) == pytest.approx(loss(0.0) + share * hidden, rel=1e-5)


def test_confidence_is_trained_in_networks_that_have_it():
    with pytest.raises(ValueError, match="needs a network with confidence: set it to 0"):
        build_parts(
            tiny_model(),
            ObjectiveConfig(confidence_weight=1.0),
            TrainConfig(),
            Group(0, 1, torch.device("cpu")),
        )
    for form in ("online", "offline", "like v1"):
        model = tiny3(**FORMS[form])
        loss, scalars = loss_of(
            model, clip(frames=12), confidence_weight=1.0, huber_px=6.0, hidden_share=0.2
        )
        loss.backward()
        assert scalars["confidence"].item() > 0.1
        head = model.visibility or model.transformer.head
        row = 1 if model.visibility else 3
        assert head.weight.grad[row].norm() > 0


def test_a_late_window_is_initialised_as_the_windows_before_it_would():
    example, model = clip(frames=24), tiny_model()
    config = ObjectiveConfig(init_noise_px=(0.5, 0.5))
    frames, initial = sample_late_window(example, 8, config, np.random.default_rng(5))
    query_frame, start = frames[:2]
    assert query_frame < start and 4 <= start <= 16 and frames[1:] == list(range(start, start + 8))
    part = select_frames(example, frames)
    maps = model.encode(part.video)
    found, state = track_late_window(model, part, maps, initial)
    assert found.start == state.start == 1 and not state.queries[..., 0].any()
    state = state._replace(
        start=start, queries=state.queries + torch.tensor([float(query_frame), 0.0, 0.0])
    )
    mask = state.point_mask
    visible = example.visible[:, query_frame] & example.valid[:, query_frame]
    assert torch.equal(mask, visible) and mask.any()
    assert torch.equal(state.queries[mask][:, 1:], example.tracks[:, query_frame][mask])
    # the window's own maps and features are those of the whole video; the noise has its size
    whole = model.encode(example.video)
    assert torch.allclose(maps[0], whole[0][:, frames], atol=1e-5)
    expected = model.sample_track_feat(whole, state.queries, mask)
    assert torch.allclose(state.track_feat[mask], expected[mask], atol=1e-5)
    before = slice(start - 4, start + 4)
    errors = (state.tracks - example.tracks[:, before]).norm(dim=-1)[example.valid[:, before]]
    assert 0.1 < errors.median() / (0.5 * example.video.shape[-1] / 512) < 2
    agree = ((state.logits > 0) == example.visible[:, before]).float().mean()
    assert 0.75 < agree < 0.98
    # the estimate is that of the unrolled model with the same state
    alone = model.step(state, [level[:, start : start + 8] for level in whole])[1]
    assert torch.allclose(alone.tracks[-1], found.tracks[-1], atol=1e-3)


def test_drifting_tracks_follow_a_point_nearby_from_some_frame_on():
    example, rng = clip(frames=24), np.random.default_rng(3)
    frames, points = example.tracks.shape[1:3]
    row = torch.arange(points)[:, None] * torch.tensor([7.0, 0.0])
    example.tracks[0] = torch.tensor([20.0, 20.0]) + row
    example.tracks[0, :, ::2, 1] += torch.arange(frames)[:, None]  # every second one moves down
    example.tracks[0, :, -1] += 500  # the last is far from all
    example.visible[:], example.valid[:] = True, True
    example.visible[0, 3:, 1] = example.visible[0, 9, 3] = False  # none follows what is hidden
    example.valid[0, :, 3] = False  # nor what is not valid
    window = slice(6, 14)
    tracks, visible = drift_tracks(example, window, 60.0, 1.0, rng)
    drifted = (tracks - example.tracks[:, window]).norm(dim=-1)[0] > 0
    assert drifted[:, 5].any() and drifted[:, ::2].any()
    assert not drifted[:, -1].any() and not drifted[:, 3].any()
    assert (drifted.int().diff(dim=0) >= 0).all()  # none comes back
    steps = tracks[0].diff(dim=0)
    assert set(steps[..., 1].unique().tolist()) == {0.0, 1.0} and (steps[..., 0] == 0).all()
    assert visible[0][drifted].all()
    assert torch.equal(visible[0, :, [3, -1]], example.visible[0, window][:, [3, -1]])
    same = drift_tracks(example, window, 60.0, 0.0, rng)
    assert torch.equal(same[0], example.tracks[:, window])
    assert torch.equal(same[1], example.visible[:, window])


def test_late_windows_alone_train_every_part_of_the_network():
    example, model = clip(frames=24), tiny_model()
    terms = {"matching_weight": 1.0, "log_loss_weight": 4.0}
    objective = Objective(ObjectiveConfig(late_window_prob=1.0, **terms))
    loss, scalars = objective(model, objective.sample_targets(example, 8))
    again, _ = objective(model, objective.sample_targets(example, 8))
    assert loss.item() == again.item() and scalars["matching"] > 0
    loss.backward()
    parameters = [*model.parameters(), objective.log_temperature]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters)
    short = clip(frames=8)  # too short for a late window
    with_late = loss_of(model, short, late_window_prob=1.0, **terms)[0].item()
    assert with_late == loss_of(model, short, **terms)[0].item()
    drifted = loss_of(model, example, late_window_prob=1.0, drift_prob=0.5, **terms)[0]
    assert drifted.item() != loss.item()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{}, {"late_window_prob": 1.0, "drift_prob": 0.5}, {"unrolled": False}]
)
def test_a_loss_waits_for_no_device_and_padding_changes_nothing(settings):
    example, model = clip(frames=24), CoTracker(**TINY)
    terms = {"log_loss_weight": 4.0, "matching_weight": 1.0} | settings
    objective = Objective(ObjectiveConfig(points=6, **terms))
    targets = objective.sample_targets(example, 8)
    with Waits() as waits:
        loss, _ = objective.loss(model, targets)
        loss.backward()
    assert waits.found == [] and loss.item() == loss_of(model, example, points=6, **terms)[0].item()
    more = padded(example)
    assert more.tracks.shape[2] == 512 and not more.valid[:, :, 8:].any()
    if "late_window_prob" not in settings:  # whose noise is sampled for padding too
        expected = loss_of(model, example, **terms)[0].item()
        assert loss_of(model, more, **terms)[0].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_workers_sample_the_targets_also_of_scenes_without_pixels(prob):
    """Of scenes that the device renders, all but the video is the same as of rendered clips."""
    config = ObjectiveConfig(late_window_prob=prob, matching_weight=1.0)
    film = Sprites(frames=16, height=32, width=48, points=8)
    sampler = TargetSampler(config, window=8)
    found = []
    workers = Mixture([film], [1.0])
    for source in (workers, workers.with_deferred_rendering()):
        stream = TrainingStream(source, 3, prepare=pickle.loads(pickle.dumps(sampler)))
        batch = next(iter(make_loader(stream, 2)))
        assert isinstance(batch, TrainingBatch) and batch.seed == [(3, 0), (3, 1)]
        assert batch.length == 16
        found.append(batch.targets_on(torch.device("cpu")))
    rendered, later = found
    assert rendered.video.shape == later.video.shape == (2, 9 if prob else 16, 3, 32, 48)
    assert (rendered.video.int() - later.video.int()).abs().float().mean() < 2
    same = [tensors_of(targets._replace(video=None)) for targets in found]
    assert len(same[0]) == len(same[1]) > 5
    assert all(torch.equal(a, b) for a, b in zip(*same))


def test_windows_that_are_not_unrolled_are_clips_of_their_own():
    example, model = clip(frames=10), tiny_model()
    apart = loss_of(model, example, unrolled=False)[0].item()
    alone = [
        loss_of(model, select_frames(example, slice(start, start + 8)))[0].item()
        for start in (0, 4)
    ]
    assert apart == pytest.approx(sum(alone), rel=1e-5)
    assert apart != pytest.approx(loss_of(model, example)[0].item(), rel=1e-3)


def test_every_clip_of_a_batch_has_the_same_weight():
    example = clip(batch=2)
    visible = example.visible.clone()
    visible[1, :, 1:] = False
    visible[1, 0, 0] = True  # the second clip has one point, with its query in one frame
    example, model = replace(example, visible=visible), tiny_model()
    singles = []
    for b in range(2):
        names = ("video", "tracks", "visible", "valid", "seed")
        one = replace(example, **{name: getattr(example, name)[b : b + 1] for name in names})
        singles.append(loss_of(model, one, matching_weight=1.0)[0].item())
    whole = loss_of(model, example, matching_weight=1.0)[0].item()
    assert whole == pytest.approx(np.mean(singles), rel=1e-5)


def test_attention_is_shared_among_the_points_that_are_not_padding():
    example, model = clip(), tiny_model()
    queries, mask = sample_queries(example, late=0.0)
    weights = group_attention(model, example.video, queries, mask)
    assert weights.shape == (2, 8, 8)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 8), atol=1e-5)
    assert (weights[:, :, 0] == 0).all() and (weights[mask[:, None].expand_as(weights)] > 0).all()
    assert group_attention(CoTracker(**TINY | {"group_layers": 0}), example.video, queries) is None


def test_some_points_are_tracked_and_all_are_matched():
    example, model = clip(frames=8, points=12), tiny_model()
    settings = dict(matching_weight=1.0, late_queries=0.0)
    few = loss_of(model, example, points=4, **settings)[1]
    whole = loss_of(model, example, **settings)[1]
    assert few["matching"] == whole["matching"] and few["tracks"] != whole["tracks"]
    spread = [0, 3, 6, 9]
    part = replace(
        example,
        tracks=example.tracks[:, :, spread],
        visible=example.visible[:, :, spread],
        valid=example.valid[:, :, spread],
    )
    assert loss_of(model, part, **settings)[1]["tracks"] == few["tracks"]


def test_the_query_of_matching_is_the_first_matching_frame_that_shows_the_point():
    example, model = clip(frames=24), tiny_model()
    config = ObjectiveConfig(matching_weight=1.0, matching_frames=3)
    frames = [2, 5, 9]
    maps = model.encode(example.video[:, frames])
    targets = sample_matching(example, frames, config)
    found = Objective(config)._matching(model, maps, targets)
    losses = [[], []]
    for b in range(2):
        for n in range(8):
            shown = [k for k, t in enumerate(frames) if example.visible[b, t, n]]
            if shown:
                xy = example.tracks[b, frames[shown[0]], n].tolist()
                query = torch.tensor([[[shown[0], *xy]]])
                feat = model.sample_track_feat([level[b : b + 1] for level in maps], query)
                for k in shown:
                    true_xy = example.tracks[b, frames[k], n][None, None, None]
                    one = torch.ones(1, 1, 1, dtype=torch.bool)
                    base = maps[0][b : b + 1, k : k + 1]
                    loss = matching_loss(feat, base, true_xy, one, 4, torch.tensor(2.0))
                    losses[b].append(loss.item())
    assert found.item() == pytest.approx(np.mean([np.mean(part) for part in losses]), rel=1e-4)


def test_the_encoder_can_be_trained_alone():
    model = tiny_model()
    loss, scalars = loss_of(model, clip(frames=8), matching_weight=2.0, points=0)
    loss.backward()
    assert loss.item() == pytest.approx(2 * scalars["matching"].item())
    assert set(scalars) == {"loss", "matching"}
    trained = {
        name
        for name, p in model.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert trained == {name for name, _ in model.named_parameters() if name.startswith("encoder.")}


@pytest.mark.parametrize("settings, sentence", [
    ({"points": 0}, "set objective.matching_weight above 0"),
    ({"late_window_prob": 1.0, "unrolled": False}, "leaves no batch for objective.unrolled=false"),
    ({"init_noise_px": (2.0, 1.0)}, "objective.init_noise_px must be two numbers"),
])  # fmt: skip
def test_an_objective_that_cannot_be_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        ObjectiveConfig(**settings)


def test_a_confident_mistake_about_visibility_has_a_gradient():
    example = clip()
    logits = torch.full(example.visible.shape, -6.0, requires_grad=True)
    visibility_loss(estimate(example, [example.tracks], logits), example).backward()
    assert (logits.grad[example.visible] < -0.9 / example.valid.sum()).all()


def test_matching_loss_is_least_where_the_point_is():
    maps = torch.nn.functional.one_hot(torch.arange(64), 64).float().view(1, 1, 8, 8, 64)
    features = maps[0, 0, 5, 3][None, None]  # cell x 3, y 5
    visible = torch.ones(1, 1, 1, dtype=torch.bool)

    def loss(x, y):
        xy = torch.tensor([[[[4.0 * x, 4.0 * y]]]])
        return matching_loss(features, maps, xy, visible, 4, torch.tensor(80.0)).item()

    assert loss(3, 5) == pytest.approx(np.log(1 + 63 * np.exp(-10.0)), abs=1e-4)
    assert loss(3.5, 5) == pytest.approx(loss(3, 5) + 5, abs=1e-3)
    assert loss(6, 1) == pytest.approx(loss(3, 5) + 10, abs=1e-3)
    assert loss(20, 1) == 0.0  # outside the map: nothing to learn
