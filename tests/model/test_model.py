"""What the network must keep whatever its weights: batches, orders, paddings, sizes, options, and
pure steps.

Tiny networks with the head scaled by 0.01, so that an untrained one moves points by fractions of a
pixel.
"""

import subprocess
import sys

import pytest
import torch
from small_networks import (
    TINY,
    assert_same,
    random_queries,
    random_video,
    select,
    tiny,
)

from cotracker.model import attention
from cotracker.model.config import CoTrackerConfig
from cotracker.model.cotracker import CoTracker
from cotracker.model.embeddings import wave_frequencies
from cotracker.model.transformer import Transformer
from cotracker.model.v1_compat import V1_COMPAT, linear_frequencies
from cotracker.model.windows import window_starts


@torch.no_grad()
def test_the_tiny_network_moves_points():
    """So that the equalities below are not between standing points."""
    queries = random_queries()
    estimates = tiny()(random_video(), queries)
    moved = (estimates[1].tracks[-1] - queries[:, None, :, 1:]).norm(dim=-1)[
        :, :, estimates[1].active[0]
    ]
    assert 0.1 < moved.mean() < 20
    assert (estimates[0].tracks[0] - estimates[0].tracks[1]).abs().max() > 0.01


@torch.no_grad()
def test_three_clips_at_once_equal_three_singles():
    model, video, queries = tiny(), random_video(3), random_queries(3)
    together = model(video, queries)
    for b in range(3):
        assert_same(select(together, slice(b, b + 1)), model(video[b : b + 1], queries[b : b + 1]))


def test_gradients_of_three_clips_are_the_sum_of_singles():
    model, video, queries = tiny(), random_video(3, 10, 24, 32), random_queries(3, 10, 4, 24, 32)

    def gradient(items):
        model.zero_grad()
        estimates = model(video[items], queries[items])
        sum((e.tracks[-1].sin() + e.logits[..., None]).sum() for e in estimates).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    together, singles = gradient(slice(None)), sum(gradient(slice(b, b + 1)) for b in range(3))
    assert together.norm() > 1
    assert (together - singles).norm() < 1e-4 * together.norm()


@torch.no_grad()
def test_permuting_queries_permutes_tracks():
    model, order = tiny(), [4, 0, 5, 2, 1, 3]
    queries = random_queries()
    assert_same(
        model(random_video(), queries[:, order]),
        select(model(random_video(), queries), points=order),
    )


@torch.no_grad()
def test_published_scramble_does_depend_on_the_order():
    """What scrambled_flags is for, and why it is off: see docs/differences.md."""
    model, order = tiny(scrambled_flags=True), [4, 0, 5, 2, 1, 3]
    queries = random_queries()
    queries[..., 0] = 0
    ours, theirs = (
        model(random_video(), queries[:, order]),
        select(model(random_video(), queries), points=order),
    )
    assert (ours[0].tracks[-1] - theirs[0].tracks[-1]).abs().max() > 1e-2


@torch.no_grad()
def test_points_see_each_other_only_once_asked():
    """A point asked for later changes nothing before its first window, and something from it on."""
    model, queries = tiny(), random_queries(points=4)
    queries[..., 0] = torch.tensor([0.0, 0, 2, 9])  # asked from the second window (frames 4..11) on
    alone, joined = (
        model(random_video(), queries[:, :3]),
        select(model(random_video(), queries), points=slice(3)),
    )
    assert_same(alone[:1], joined[:1])
    assert (alone[1].tracks[-1] - joined[1].tracks[-1]).abs().max() > 1e-4


@pytest.mark.parametrize(
    "options", [{}, V1_COMPAT | {"linear_motion_waves": False}], ids=["paper", "v1_compat"]
)
@torch.no_grad()
def test_padded_points_change_nothing(options):
    model, queries = tiny(**options), random_queries(2)
    rubbish = torch.tensor([[float("nan"), 1e30, -5], [0, float("inf"), 3], [3, 10.0, 10]]).expand(
        2, 3, 3
    )
    real = torch.ones(2, 9, dtype=torch.bool)
    real[:, 6:] = False
    padded = model(random_video(2), torch.cat([queries, rubbish], dim=1), point_mask=real)
    assert not any(e.active[:, 6:].any() for e in padded)
    assert_same(select(padded, points=slice(6)), model(random_video(2), queries))
    shuffled = [8, 0, 1, 6, 2, 3, 7, 4, 5]
    if not options:
        mixed = model(
            random_video(2),
            torch.cat([queries, rubbish], dim=1)[:, shuffled],
            point_mask=real[:, shuffled],
        )
        assert_same(select(mixed, points=[1, 2, 4, 5, 7, 8]), model(random_video(2), queries))


def test_padded_points_leave_gradients_finite():
    model = tiny()
    queries = torch.cat([random_queries(points=3), torch.full((1, 2, 3), float("nan"))], dim=1)
    real = torch.tensor([[True, True, True, False, False]])
    estimates = model(random_video(), queries, point_mask=real)
    sum(
        (e.tracks[-1] * e.active[:, None, :, None]).sum()
        + e.logits[e.active[:, None].expand_as(e.logits)].sum()
        for e in estimates
    ).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("length", [3, 7, 8, 10, 12])
@torch.no_grad()
def test_padded_frames_change_nothing(length):
    model, video = tiny(), random_video(2, 16).float()
    queries = random_queries(2, length)
    lengths = torch.tensor([length, 16])
    for rubbish in (0.0, 1e4, float("nan")):
        video[0, length:] = rubbish
        padded = model(video, queries, lengths=lengths)
        short = model(video[:1, :length], queries[:1])
        for e, s in zip(padded, short):
            frames = s.logits.shape[1]
            assert_same(select([e], slice(0, 1), frames=slice(frames)), [s])
        assert_same(select(padded, slice(1, 2)), model(video[1:], queries[1:]))


@pytest.mark.parametrize("frames", range(1, 21))
@torch.no_grad()
def test_any_number_of_frames(frames):
    queries = random_queries(frames=frames, height=17, width=33)
    estimates = tiny()(random_video(1, frames, 17, 33), queries)
    assert [e.start for e in estimates] == window_starts(frames, 8)
    assert [e.logits.shape[1] for e in estimates] == [min(8, frames - e.start) for e in estimates]
    assert (
        estimates[-1].start + estimates[-1].logits.shape[1] == frames and estimates[-1].active.all()
    )
    for estimate in estimates:
        assert torch.equal(
            estimate.active, queries[..., 0] < estimate.start + estimate.logits.shape[1]
        )
        assert torch.stack(estimate.tracks).isfinite().all() and estimate.logits.isfinite().all()


@torch.no_grad()
def test_a_short_last_window():
    """By default it is a window of fewer frames; repeat_last_frame (published) lets points attend
    to copies.
    """
    queries = random_queries(frames=10)
    for frames, differs in ((12, False), (10, True)):
        short, filled = (
            tiny(repeat_last_frame=r)(random_video(1, frames), queries) for r in (False, True)
        )
        assert (
            [e.logits.shape[1] for e in short]
            == [e.logits.shape[1] for e in filled]
            == [8, frames - 4]
        )
        difference = (short[1].tracks[-1] - filled[1].tracks[-1]).abs().max()
        assert (difference > 1e-4) == differs


def test_motion_frequencies():
    ours, published = wave_frequencies(32), linear_frequencies(32)
    torch.testing.assert_close(ours[[0, -1]], torch.pi / torch.tensor([1.0, 512]))
    torch.testing.assert_close(ours[1:] / ours[:-1], torch.full((31,), 512 ** (-1 / 31)))
    torch.testing.assert_close(published, 31.25 * torch.arange(32))


@pytest.mark.parametrize("size", [(17, 33), (40, 56), (9, 7), (33, 16), (1, 40), (4, 4)])
@pytest.mark.parametrize("stride", [4, 8])
@torch.no_grad()
def test_odd_sizes(size, stride):
    queries = random_queries(frames=5, height=size[0], width=size[1])
    video = (255 * torch.rand(1, 5, 3, *size, generator=torch.Generator().manual_seed(0))).byte()
    model = tiny(stride=stride)
    maps = model.encode(video)
    assert (
        tuple(maps[0].shape) == (1, 5, -(-size[0] // stride), -(-size[1] // stride), 16)
        and len(maps) == 4
    )
    for estimate in model.track(maps, queries):
        assert torch.stack(estimate.tracks).isfinite().all() and estimate.logits.isfinite().all()


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "local"])
@torch.no_grad()
def test_one_video_serves_many_sets_of_queries(whole, monkeypatch):
    monkeypatch.setattr("cotracker.model.runtime.WHOLE_MAP_CELLS", 10**9 if whole else 0)
    model, video, queries = tiny(), random_video(), random_queries(3)
    assert_same(model(video, queries), model(video.expand(3, -1, -1, -1, -1), queries))


@torch.no_grad()
def test_both_ways_to_correlations_give_the_same_tracks(monkeypatch):
    model, found = tiny(), []
    for cells in (0, 10**9):
        monkeypatch.setattr("cotracker.model.runtime.WHOLE_MAP_CELLS", cells)
        found.append(model(random_video(2), random_queries(2)))
    assert_same(*found)


@torch.no_grad()
@pytest.mark.parametrize(
    "asked", [None, torch.rand(2, 9, generator=torch.Generator().manual_seed(1)) < 0.7]
)
def test_sequences_taken_in_turns_give_the_same_answer(asked, monkeypatch):
    """Inference on a CPU takes as many tokens at once as a cache holds; here 28 of 126: 4 sequences
    of 7, or 3 of 9.
    """
    torch.manual_seed(0)
    sizes = CoTrackerConfig(hidden=16, heads=2, time_layers=2, group_layers=2, mlp_ratio=2.0)
    network = Transformer(11, 5, sizes)
    tokens = torch.randn(2, 7, 9, 11)
    frames = torch.ones(2, 7, dtype=torch.bool)
    frames[1, 5:] = False
    with torch.inference_mode():
        whole = network(tokens, asked, frames)
        monkeypatch.setattr("cotracker.model.runtime.CACHED_TOKENS", 28)
        calls = []
        block = attention.Block._answer
        monkeypatch.setattr(
            attention.Block, "_answer", lambda *a: calls.append(len(a[1])) or block(*a)
        )
        turns = network(tokens, asked, frames)
    assert set(calls) == {2, 3, 4}, calls  # 18 = 4 * 4 + 2, 14 = 4 * 3 + 2
    torch.testing.assert_close(turns, whole, atol=1e-6, rtol=1e-5)


def test_a_step_is_pure_and_forward_is_their_loop():
    model, video, queries = tiny(), random_video(2, 14), random_queries(2, 14)
    maps = model.encode(video)
    state, estimates = model.begin(queries), []
    for start in window_starts(14, 8):
        window = [m[:, start : start + 8] for m in maps]
        before = [x.clone() for x in (*state[:5], *window)]
        assert state.start == start
        first, again = model.step(state, window), model.step(state, window)
        for x, y in zip((*state[:5], *window), before):
            assert torch.equal(x, y)
        assert first[0].start == again[0].start == start + 4
        for x, y in zip(
            (*first[0][:5], *first[1].tracks, first[1].logits),
            (*again[0][:5], *again[1].tracks, again[1].logits),
        ):
            assert torch.equal(x, y)
        state, estimate = first
        estimates.append(estimate)
    assert_same(estimates, model(video, queries), atol=0)
    assert_same(
        model(video, queries), model(video, queries), atol=0
    )  # nothing is kept between calls


@torch.no_grad()
def test_windows_hand_on_only_the_last_half():
    """A change before the frames two windows share reaches the next one only through what they
    carry: the tracks.
    """
    model, video = tiny(), random_video(1, 12)
    queries = random_queries()
    queries[..., 0] = torch.tensor([0.0, 0, 1, 6, 7, 2])
    maps = model.encode(video)
    state, _ = model.step(model.begin(queries), [m[:, :8] for m in maps])
    tracks, logits = state.tracks.clone(), state.logits.clone()
    tracks[:, :4], logits[:, :4] = 1e3, -1e3
    second = [m[:, 4:12] for m in maps]
    assert_same(
        [model.step(state, second)[1]],
        [model.step(state._replace(tracks=tracks, logits=logits), second)[1]],
    )


@pytest.mark.parametrize("window", [2, 4, 8, 12, 16])
def test_the_paper_counts_its_windows(window):
    for frames in range(1, 61):
        starts = window_starts(frames, window)
        assert len(starts) == max(
            1, -(-2 * frames // window) - 1
        )  # J = ceil(2 T'/T - 1), and never none
        assert starts == [j * window // 2 for j in range(len(starts))]
        assert starts[-1] < frames <= starts[-1] + window


OPTIONS = [
    {"stride": 8},
    {"stride": 2},
    {"stride": 16},
    {"window": 4},
    {"window": 12},
    {"window": 16},
    {"stride": 8, "window": 16},
    {"neighbourhood": "square"},
    {"neighbourhood": "diamond", "radius": 4},
    {"group_layers": 0, "time_layers": 12},
    {"time_layers": 1, "group_layers": 3},
    {"levels": 1},
    {"normalise_features": True},
    {"motion_waves": 1},
    {"linear_motion_waves": True},
    {"scrambled_flags": True},
    {"repeat_last_frame": True},
    V1_COMPAT,
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda o: "v1_compat" if o is V1_COMPAT else "-".join(map(str, o))
)
def test_every_option_runs_forwards_and_backwards(options):
    model = tiny(**options)
    assert {k: getattr(model.config, k) for k in options} == options
    window = options.get("window", 8)
    estimates = model(random_video(1, 10, 24, 40), random_queries(1, 10, 4, 24, 40))
    assert [e.start for e in estimates] == window_starts(10, window)
    sum(e.tracks[-1].square().mean() + e.logits.mean() for e in estimates).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all(e.tracks[-1].isfinite().all() for e in estimates)
    rebuilt = CoTracker(model.config)
    assert rebuilt.config == model.config
    rebuilt.load_state_dict(model.state_dict())


@torch.no_grad()
def test_without_group_layers_points_do_not_see_each_other():
    model, queries = tiny(group_layers=0, time_layers=12), random_queries()
    assert_same(
        select(model(random_video(), queries), points=[2]),
        model(random_video(), queries[:, [2]]),
    )
    joint = tiny()
    difference = (
        joint(random_video(), queries)[0].tracks[-1][:, :, [0]]
        - joint(random_video(), queries[:, [0]])[0].tracks[-1]
    )
    assert difference.abs().max() > 1e-4


MISUSE = [
    ({"window": 7}, "model.window must be an even number of frames, not 7"),
    ({"window": 0}, "model.window must be a whole number from 2 to 4096, not 0"),
    ({"window": 8.0}, "model.window must be a whole number from 2 to 4096, not 8.0"),
    ({"stride": 3}, "model.stride must be 2, 4, 8 or 16, not 3"),
    ({"hidden": 30, "heads": 4}, "model.hidden = 30 must be a multiple of model.heads = 4"),
    ({"neighbourhood": "round"}, "model.neighbourhood must be diamond or square, not round"),
    ({"iters": 0}, "model.iters must be a whole number from 1 to 1000, not 0"),
    ({"time_layers": 10**6}, "model.time_layers must be a whole number from 1 to 256, not 1000000"),
    ({"widths": (8, 8)}, "model.widths must be the channels of the encoder's four stages"),
    ({"recompute": 3}, "model.recompute must be true or false, not 3"),
]


@pytest.mark.parametrize("options, message", MISUSE)
def test_wrong_settings_are_refused_in_one_sentence(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        CoTracker(**(TINY | options))
    assert "\n" not in str(caught.value)


def test_a_config_says_all_that_a_model_is_built_from():
    fields = {"window": 4, "channels": 16, "hidden": 32, "heads": 2, "widths": [8, 8, 12, 12]}
    config = CoTrackerConfig(**fields)
    assert CoTracker(config).config == CoTracker(**fields).config == config
    assert config.widths == (8, 8, 12, 12) and CoTracker().config == CoTrackerConfig()


def test_a_config_needs_no_torch():
    """So that a wrong word is refused before PyTorch is loaded."""
    script = "import sys, cotracker.model.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_wrong_inputs_are_refused_in_one_sentence():
    model = tiny()
    with pytest.raises(
        ValueError, match=r"video must have shape \(B, T, 3, H, W\), not \(12, 3, 40, 56\)"
    ):
        model(random_video()[0], random_queries())
    with pytest.raises(ValueError, match=r"queries must have shape \(B, N, 3\), not \(1, 6, 2\)"):
        model(random_video(), random_queries()[..., :2])
    with pytest.raises(ValueError, match="queries are for 3 videos, but the video holds 2"):
        model(random_video(2), random_queries(3))
    with pytest.raises(ValueError, match="iters must be at least 1, not 0"):
        model(random_video(), random_queries(), iters=0)


def test_the_default_is_the_papers_model():
    model = CoTracker()
    count = sum(p.numel() for p in model.parameters())
    assert 23.5e6 < count < 24.5e6
    tokens = model.transformer.embed.in_features
    assert (
        tokens == 2 + 4 * 32 + 164 + 128 + 2
    )  # offset and its waves, correlation, Q, mask and visibility
    assert model.transformer.embed.out_features == 384
    assert [len(model.transformer.time), len(model.transformer.group)] == [6, 6]
    assert len([m for stage in model.encoder.stages for m in stage]) == 8
    assert (model.stride, model.window, model.iters, model.config.levels) == (4, 8, 4, 4)
    assert not any(getattr(model.config, k) for k in V1_COMPAT if isinstance(V1_COMPAT[k], bool))
    published = CoTracker(**V1_COMPAT)
    assert published.transformer.embed.in_features == 456


@torch.no_grad()
def test_bfloat16_keeps_coordinates_in_float32():
    model, video, queries = tiny(), random_video(2), random_queries(2)
    with torch.autocast("cpu", torch.bfloat16):
        estimates = model(video, queries)
    exact = model(video, queries)
    for half, full in zip(estimates, exact):
        assert all(t.dtype == torch.float32 and t.isfinite().all() for t in half.tracks)
        assert half.logits.dtype == torch.float32 and half.logits.isfinite().all()
        assert 0 < (half.tracks[-1] - full.tracks[-1]).abs().max() < 1


@torch.no_grad()
def test_a_frames_map_depends_on_no_other_frame():
    model, video = tiny(), random_video(2, 6)
    together = model.encode(video)
    for turn in (1, 4):
        for a, b in zip(together, model.encode(video, frames_at_once=turn)):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    other = video.clone()
    other[:, [0, 1, 2, 4, 5]] = 255 - other[:, [0, 1, 2, 4, 5]]
    for a, b in zip(together, model.encode(other)):
        torch.testing.assert_close(a[:, 3], b[:, 3], rtol=0, atol=1e-5)
        assert (a[:, 2] - b[:, 2]).abs().max() > 0.01
    for a, b in zip(together, model.encode(video.float())):
        assert torch.equal(a, b)


@torch.no_grad()
def test_track_features_are_read_where_and_when_asked():
    model, video = tiny(), random_video(1, 12)
    maps = model.encode(video)
    queries = torch.tensor([[[0.0, 8, 12], [11, 4, 20], [5, 55, 39], [5, -20, 70]]])
    features = model.sample_track_feat(maps, queries)
    for n, (frame, x, y) in enumerate([(0, 2, 3), (11, 1, 5)]):  # whole cells
        assert torch.equal(features[0, n], maps[0][0, frame, y, x])
    last = maps[0][0, 5, 9, 13]  # 55, 39 and beyond are held at the border of the map
    torch.testing.assert_close(features[0, 2], last)
    torch.testing.assert_close(features[0, 3], maps[0][0, 5, 9, 0])
    state, _ = model.step(model.begin(queries), [m[:, :8] for m in maps])
    assert not state.track_feat[0, 1].any()  # its frame is not in the first window
    state, _ = model.step(state, [m[:, 4:] for m in maps])
    torch.testing.assert_close(
        state.track_feat, features
    )  # and every window starts from the one that was asked


def test_no_gradient_flows_through_coordinates_between_updates():
    """The head's bias shifts both updates alike, but only the last shift is followed: stride x,
    once a coordinate.
    """
    model = tiny()
    estimate = model(random_video(1, 8), random_queries(1, 8, 3))[0]
    gradient = torch.autograd.grad(estimate.tracks[-1][..., 0].sum(), model.transformer.head.bias)[
        0
    ]
    torch.testing.assert_close(gradient[:2], torch.tensor([4.0 * 8 * 3, 0.0]))
    assert gradient[2:].abs().sum() > 0  # features do carry gradients from update to update


@torch.no_grad()
def test_a_query_at_any_frame_is_sampled_in_its_first_window():
    """One point for each frame: also those on the first and last frames of windows."""
    model, video = tiny(), random_video(1, 16)
    queries = torch.tensor([[[float(t), 5 + 2 * t, 30 - t] for t in range(16)]])
    maps = model.encode(video)
    features, state = model.sample_track_feat(maps, queries), model.begin(queries)
    for start in window_starts(16, 8):
        state, estimate = model.step(state, [m[:, start : start + 8] for m in maps])
        assert estimate.active[0].tolist() == [t < start + 8 for t in range(16)]
        torch.testing.assert_close(
            state.track_feat[0, : start + 8], features[0, : start + 8], rtol=0, atol=1e-5
        )
        assert not state.track_feat[0, start + 8 :].any()
