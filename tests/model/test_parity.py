"""The network, its losses and the evaluation chain against the numbers of the published v1 code.

Tolerances: about 30 times the rounding noise that a change of convolution kernel makes
(../shared/parity/README.md);
each wrong detail listed there moves the tracks by far more.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity import published_model, published_state, queries, stored, video

from cotracker.model.correlation import correlate
from cotracker.model.cotracker import CoTracker
from cotracker.model.published import open_published
from cotracker.model.published_names import our_name
from cotracker.queries import grid, inside_mask
from cotracker.trackers.build import build_chain
from cotracker.trackers.cotracker import CoTrackerPredictor
from cotracker.trackers.options import TrackerOptions
from cotracker.trackers.resized import Resized
from cotracker.trackers.visible import VisibleRule
from cotracker.trackers.wrappers import Bidirectional, Supported
from cotracker.training.losses import track_loss
from cotracker.types import Clip

PIXELS, PROBABILITY = 3e-4, 6e-5
CLIPS = {  # case: frames, rows of the queries, iters
    "T20": (20, None, 4),
    "T20_iters6": (20, None, 6),
    "T22": (22, None, 4),
    "T20_late_only": (20, [3, 6], 4),
    "T8": (8, [0, 2, 5, 4], 4),
    "T5": (5, [0, 2, 5, 4], 4),
}


def close(ours, theirs, tolerance):
    ours = ours.detach().numpy() if isinstance(ours, torch.Tensor) else ours
    np.testing.assert_allclose(ours, np.asarray(theirs, dtype=np.float32), rtol=0, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("case", CLIPS)
def test_stitched_tracks_and_visibilities(case):
    frames, rows, iters = CLIPS[case]
    golden = stored("golden")
    tracker = CoTrackerPredictor(published_model(), iters, v1_compat=True)
    tracks = tracker(video(frames), queries(rows=rows))
    close(tracks.xy, golden[f"{case}.tracks"], PIXELS)
    close(tracks.visibility, golden[f"{case}.vis"], PROBABILITY)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["T20", "T22", "T20_late_only", "T8"])
def test_every_update_of_every_window(case):
    frames, rows, iters = CLIPS[case]
    golden = stored("golden")
    with torch.no_grad():
        estimates = published_model()(video(frames), queries(rows=rows), iters)
    order = torch.from_numpy(golden[f"{case}.sort_inds"])
    estimates = [
        e for e in estimates if e.active.any()
    ]  # the reference leaves out windows without points
    assert [int(e.active.sum()) for e in estimates] == golden[f"{case}.wind_inds"].tolist()
    for j, estimate in enumerate(estimates):
        present = order[: int(estimate.active.sum())]
        close(torch.stack(estimate.tracks)[:, :, :, present], golden[f"{case}.w{j}.coords"], PIXELS)
        close(estimate.logits[:, :, present].sigmoid(), golden[f"{case}.w{j}.vis"], PROBABILITY)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["T20", "T22", "T20_late_only"])
def test_what_each_window_starts_from(case, monkeypatch):
    frames, rows, iters = CLIPS[case]
    golden, model = stored("golden"), published_model()
    starts = []
    refine, flags = CoTracker.refine, CoTracker._flags

    def watched_flags(self, new, logits, time, asked):
        starts.append({"track_mask": new, "vis_init": logits, "asked": asked})
        return flags(self, new, logits, time, asked)

    def watched_refine(self, maps, features, tracks, *rest):
        starts[-1]["coords_init"] = tracks / self.stride
        return refine(self, maps, features, tracks, *rest)

    monkeypatch.setattr(CoTracker, "_flags", watched_flags)
    monkeypatch.setattr(CoTracker, "refine", watched_refine)
    with torch.no_grad():
        model(video(frames), queries(rows=rows), iters)
    order = torch.from_numpy(golden[f"{case}.sort_inds"])
    starts = [s for s in starts if s["asked"].any()]
    for j, start in enumerate(starts):
        present = order[: int(start["asked"].sum())]
        close(start["coords_init"][:, :, present], golden[f"{case}.w{j}.coords_init"], PIXELS / 4)
        close(start["vis_init"][:, :, present], golden[f"{case}.w{j}.vis_init"], 1e-4)
        mask = golden[f"{case}.w{j}.track_mask"]
        assert np.array_equal(
            start["track_mask"][:, : mask.shape[1], present].numpy(), mask.astype(bool)
        )


@pytest.fixture(scope="module")
def stages():
    """Inputs and outputs of the first update's stages in the first two windows."""
    model, seen = published_model(), {"transformer_in": [], "transformer_out": [], "near": []}

    def watch(module, inputs, output):
        seen["transformer_in"].append(inputs[0])
        seen["transformer_out"].append(output)

    hook = model.transformer.register_forward_hook(watch)
    with torch.no_grad():
        maps = model.encode(video(20))
        model.track(maps, queries(), iters=4)
        features = model.sample_track_feat(maps, queries())
        seen["near"] = correlate(
            [level[:, :8] for level in maps],
            features[:, None].expand(-1, 8, -1, -1),
            (queries()[..., 1:] / 4)[:, None].expand(-1, 8, -1, -1),
            "square",
            3,
        )
    hook.remove()
    return {"maps": maps, "features": features} | seen


@pytest.mark.slow
def test_feature_maps_and_track_features(stages):
    golden = stored("golden")
    close(stages["maps"][0][0, 0].permute(2, 0, 1), golden["fmap_frame0_f16"], 4e-3)
    order = torch.from_numpy(golden["T20.sort_inds"])
    close(stages["features"][0, order], golden["track_feat"].reshape(9, 128), 3e-5)


@pytest.mark.slow
def test_correlations(stages):
    golden = stored("golden")
    rows = golden["T20.sort_inds"][golden["w0.it0.corr_points_sorted_index"]]
    close(stages["near"][0][:, rows].transpose(0, 1), golden["w0.it0.corr"], 3e-5)


@pytest.mark.slow
def test_tokens_in_and_out(stages):
    golden = stored("golden")
    order = torch.from_numpy(golden["T20.sort_inds"])
    for window, points, noise in (
        (0, 7, 3e-5),
        (1, 8, 1e-3),
    ):  # the second window starts from four noisy updates
        first_update = 4 * window
        out = stages["transformer_out"][first_update][0][:, order[:points]].transpose(0, 1)
        close(out, golden[f"w{window}.it0.transformer_out"], noise)
    tokens = stages["transformer_in"][0][0][:, order[:7]].transpose(0, 1)
    close(tokens, golden["w0.it0.transformer_in"], 3e-5)


@pytest.mark.parametrize("layout, stride, window", [
    ("spec.json", 4, 8), ("spec_stride4_wind12.json", 4, 12), ("spec_stride8_wind16.json", 8, 16),
])  # fmt: skip
def test_published_layouts_convert_strictly(layout, stride, window):
    state = published_state(layout)
    model = open_published(state, f"cotracker_stride_{stride}_wind_{window}.pth").model
    assert (model.stride, model.window) == (stride, window)
    ours = model.state_dict()
    assert {our_name(name) for name in state} == set(ours)
    assert all(torch.equal(ours[our_name(name)], value) for name, value in state.items())


def _published_visibility_loss(estimate, clip):
    """v1's loss, rebuilt here only: a balanced entropy made for logits in -1..1 labels, but fed
    with probabilities.
    """
    frames = slice(estimate.start, estimate.start + estimate.logits.shape[1])
    asked = estimate.active[0]
    probability = estimate.logits[:, :, asked].sigmoid()
    seen, valid = clip.visible[:, frames][:, :, asked], clip.valid[:, frames][:, :, asked]
    entropy = F.softplus(torch.where(seen, -probability, probability))
    return (
        sum((entropy * part).sum() / part.sum() for part in (seen & valid, ~seen & valid))
        / asked.sum()
    )


@pytest.mark.slow
def test_losses_and_gradients():
    train, model = stored("train"), open_published(published_state(), "", 4, 8).model
    truth = [torch.from_numpy(train[key]) for key in ("gt_tracks", "gt_visible", "gt_valid")]
    clip = Clip(video(20), truth[0], truth[1] > 0, truth[2] > 0)
    estimates = model(clip.video, queries(), 4)
    # the published sum over windows also divides by the number of points in the window
    tracks = [track_loss(e, clip, gamma=0.8) / e.active.sum() for e in estimates]
    visibility = [_published_visibility_loss(e, clip) for e in estimates]
    for j in range(4):
        close(tracks[j], train[f"w{j}.sequence_loss"][0], 1e-5)
        close(visibility[j], train[f"w{j}.visibility_loss"][0], 1e-5)
    close(sum(tracks), train["sequence_loss"][0], 3e-5)
    close(sum(visibility), train["visibility_loss"][0], 3e-5)
    total = sum(tracks) + 10 * sum(visibility)
    assert total.item() == pytest.approx(train["total_loss"][0], rel=3e-5)
    parameters = dict(model.named_parameters())
    named = [our_name(str(name)) for name in train["grad_names"]]
    for loss, key in (
        (sum(tracks), "grad_norms_seq_only"),
        (sum(visibility), "grad_norms_vis_only"),
        (total, "grad_norms"),
    ):
        gradients = torch.autograd.grad(
            loss, [parameters[n] for n in named], retain_graph=True, allow_unused=True
        )
        norms = [0.0 if g is None else g.norm().item() for g in gradients]
        np.testing.assert_allclose(norms, train[key], rtol=2e-4, atol=1e-9)
    total.backward()
    whole = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert whole.item() == pytest.approx(train["grad_total_norm"][0], rel=2e-4)
    for key in (k for k in train if k.startswith("grad.")):
        gradient = parameters[our_name(key.removeprefix("grad."))].grad.numpy()
        np.testing.assert_allclose(
            gradient, train[key], rtol=0, atol=3e-4 * np.abs(train[key]).max()
        )


SMALL = (80, 112)  # the predictors' video; they work at 96 x 128


def chain(single_point, support):
    options = TrackerOptions(
        resolution=(96, 128),
        single_point=single_point,
        support_grid=support[0],
        local_support_grid=support[1],
        threshold=0.9,
        v1_compat=True,
    )
    return build_chain(published_model(), options)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["eval_single", "eval_single_late"])
def test_single_point_evaluation(case):
    golden = stored("predictors")
    asked = torch.from_numpy(golden[f"{case}.queries"])
    tracks = chain(True, (6, 6))(video(20, *SMALL), asked)
    for point in range(asked.shape[1]):
        first = int(asked[0, point, 0])
        if (
            20 - first <= 4
        ):  # the reference returns zeros for clips of at most half a window; ours tracks them
            assert not golden[f"{case}.tracks"][0, :, point].any()
            assert tracks.xy[0, first:, point].isfinite().all()
            continue
        close(tracks.xy[0, first:, point], golden[f"{case}.tracks"][0, first:, point], PIXELS)
        close(
            tracks.visibility[0, first:, point],
            golden[f"{case}.vis"][0, first:, point],
            PROBABILITY,
        )


@pytest.mark.slow
def test_joint_evaluation():
    golden = stored("predictors")
    tracks = chain(False, (6, 0))(video(20, *SMALL), queries(*SMALL))
    close(tracks.xy, golden["eval_joint.tracks"], PIXELS)
    close(tracks.visibility, golden["eval_joint.vis"], PROBABILITY)


def user_predictor(support, backward):
    """v1's predictor: support outside of the backward pass, which therefore also reverses the
    support points.
    """
    tracker = CoTrackerPredictor(published_model(), 6, VisibleRule(0.9), v1_compat=True)
    if backward:
        tracker = Bidirectional(tracker, v1_compat=True)
    if support:
        tracker = Supported(tracker, support, 0, v1_compat=True)
    return Resized(tracker, (96, 128), v1_compat=True)


def working_grid(count, frame=0):
    """v1 lays grids out at its working size."""
    points = grid(count, (96, 128), frame)
    points[..., 1:] *= torch.tensor([SMALL[1] / 128, SMALL[0] / 96])
    return points


def check_predictor(case, tracker, asked):
    golden = stored("predictors")
    theirs, seen = golden[f"{case}.tracks"], golden[f"{case}.vis"]
    tracks = tracker(video(20, *SMALL), asked)
    time = torch.arange(20)[:, None]
    here = (time == asked[0, :, 0])[None, ..., None]
    xy = torch.where(
        here, asked[:, None, :, 1:], tracks.xy
    )  # v1's predictor writes the query into its frame
    close(xy, theirs, PIXELS)
    sure = ((tracks.visibility - 0.9).abs() > 1e-3) & ~here[..., 0]
    assert sure.float().mean() > 0.9
    visible = tracks.visibility > 0.9  # where they are outside the frame too
    assert np.array_equal(visible[sure].numpy(), seen[sure.numpy()])


@pytest.mark.slow
@pytest.mark.parametrize("case, backward", [("pred_queries", False), ("pred_queries_back", True)])
def test_predictor_of_queries(case, backward):
    check_predictor(case, user_predictor(6, backward), queries(*SMALL))


@pytest.mark.slow
def test_predictor_of_grids_and_masks():
    check_predictor("pred_grid3", user_predictor(0, False), working_grid(3))
    check_predictor("pred_grid3_from5_back", user_predictor(0, True), working_grid(3, frame=5))
    mask = torch.zeros(*SMALL)
    mask[20:60, 30:90] = 1
    at_work = F.interpolate(mask[None, None], size=(96, 128), mode="nearest")[0, 0]
    chosen = inside_mask(grid(5, (96, 128)), at_work)
    chosen[..., 1:] *= torch.tensor([SMALL[1] / 128, SMALL[0] / 96])
    check_predictor("pred_grid5_mask", user_predictor(6, False), chosen)
