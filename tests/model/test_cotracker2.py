"""CoTracker2 against the numbers of its published code, with the faults of that code rebuilt here.

Tolerances as in test_parity.py: about 30 times the rounding noise of other convolution kernels.
"""

import numpy as np
import pytest
import torch
from parity import close, published, queries, stitch, stitched, stored, video

from cotracker.model.correlation import correlate
from cotracker.model.transformer import VirtualExchange
from cotracker.model.windows import split_windows
from cotracker.queries import grid
from cotracker.trackers.cotracker import CoTrackerPredictor
from cotracker.trackers.resized import Resized
from cotracker.trackers.visible import VisibleRule
from cotracker.trackers.wrappers import Bidirectional, Supported

PIXELS, PROBABILITY = 3e-4, 6e-5
FEW = [0, 2, 5, 4]


def mask_rows(patch):
    """The published attention: a point that is not queried yet reads all virtual tracks evenly.

    With as many points as virtual tracks, the mask of the points read is taken for one of the
    virtual tracks that read: those are masked as above, and every point is seen.
    """

    def exchange(self, points, virtual, bias):
        by_row = bias.transpose(-1, -2)  # K 1 N 1
        fault = points.shape[1] == virtual.shape[1]
        virtual = self.virtual_from_points(virtual, points, by_row if fault else bias)
        virtual = self.virtual(virtual, None)
        return torch.cat([self.points_from_virtual(points, virtual, by_row), virtual], dim=1)

    patch.setattr(VirtualExchange, "forward", exchange)


@pytest.fixture
def rows_masked(monkeypatch):
    mask_rows(monkeypatch)


@pytest.fixture(scope="module")
def model():
    return published("cotracker2")


@pytest.fixture(scope="module")
def golden():
    return stored("golden", "cotracker2")


CLIPS = {"T22": (22, None, 4), "T20_iters6": (20, None, 6), "T5": (5, FEW, 4)}
SAME = {"T20": "T22", "stream_T20": "T22", "stream_T22": "T22"}  # windows of the longer clip


@pytest.fixture(scope="module")
def runs(model, request):
    """The Estimates and what each window started from, with the published attention."""
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        mask_rows(patch)
        return {case: _run(model, *CLIPS[case]) for case in CLIPS}


def _run(model, frames, rows, iters):
    maps, estimates, starts = model.encode(video(frames)), [], []

    def watched(maps, track_feat, tracks, flags, *rest):
        starts.append((tracks, flags))
        return model.refine(maps, track_feat, tracks, flags, *rest)

    state = model.begin(queries(rows=rows))
    for window in split_windows(maps, 8):
        state, estimate = model.step(state, window, iters, refine=watched)
        estimates.append(estimate)
    return estimates, starts


@pytest.mark.slow
@pytest.mark.parametrize("case", [*CLIPS, *SAME])
def test_stitched_tracks_from_each_point_s_first_window_on(case, runs, golden):
    """Streams too: the reference's own chunks are its windows."""
    theirs = golden[f"{case}.tracks"]
    frames = theirs.shape[1]
    estimates = [e for e in runs[SAME.get(case, case)][0] if e.start + 4 < frames]
    xy, visibility, _, told = stitch(estimates, frames)
    assert told.any(dim=1).all()
    close(xy[told], theirs[told.numpy()], PIXELS)
    close(visibility[told], golden[f"{case}.vis"][told.numpy()], PROBABILITY)


@pytest.mark.slow
@pytest.mark.parametrize("case, windows", [("T20", 4), ("T22", 5)])
def test_every_iteration_of_every_window_and_point(case, windows, runs, golden):
    for j, estimate in enumerate(runs["T22"][0][:windows]):
        active = golden[f"{case}.w{j}.attention_mask"].astype(bool)
        assert np.array_equal(estimate.active.numpy(), active)
        close(torch.stack(estimate.tracks), golden[f"{case}.w{j}.coords"], PIXELS)
        close(estimate.logits.sigmoid(), golden[f"{case}.w{j}.vis"], PROBABILITY)
    assert f"{case}.w{windows}.coords" not in golden


@pytest.mark.slow
@pytest.mark.parametrize("case, windows", [("T20", 4), ("T22", 5)])
def test_what_each_window_starts_from(case, windows, runs, golden):
    for j, (tracks, flags) in enumerate(runs["T22"][1][:windows]):
        close(tracks / 4, golden[f"{case}.w{j}.coords_init"], PIXELS / 4)
        close(flags[..., 1], golden[f"{case}.w{j}.vis_init"], 1e-4)
        assert np.array_equal(flags[..., 0].numpy(), golden[f"{case}.w{j}.track_mask"])


@pytest.mark.slow
def test_stages_of_the_first_iteration(model, golden, rows_masked):
    seen = []
    hook = model.transformer.register_forward_hook(lambda _, i, o: seen.append((i[0], o)))
    with torch.no_grad():
        maps = model.encode(video(20))
        model.track([level[:, :12] for level in maps], queries(), iters=4)
    hook.remove()
    close(maps[0][0, 0].permute(2, 0, 1), golden["fmap_frame0_f16"], 4e-3)
    active = golden["T20.w0.attention_mask"][0].astype(bool)
    features = model.sample_track_feat(maps, queries())
    close(features[0, active], golden["w0.track_feat"][active], 3e-5)
    feat, cells = (x[:, None].expand(-1, 8, -1, -1) for x in (features, queries()[..., 1:] / 4))
    corr = correlate([level[:, :8] for level in maps], feat, cells, "square", 3, True)
    close(corr[0, :, [1, 2]].transpose(0, 1), golden["w0.it0.corr"], 3e-5)
    close(seen[0][0][0].transpose(0, 1), golden["w0.it0.transformer_in"], 3e-5)
    close(seen[0][1][0].transpose(0, 1), golden["w0.it0.transformer_out"], 3e-5)
    close(seen[4][1][0].transpose(0, 1), golden["w1.it0.transformer_out"], 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("count", [63, 64])
def test_with_as_many_points_as_virtual_tracks_the_published_mask_is_on_the_wrong_side(
    count, model, golden, rows_masked
):
    asked = torch.from_numpy(golden["N64.queries"])[None, :count]
    xy, visibility, _, told = stitched(model, video(20), asked, 2)
    theirs, told = golden[f"N{count}.tracks_f32"], told[..., :9]
    close(xy[:, :, :9][told], theirs[told.numpy()], PIXELS)
    close(visibility[:, :, :9][told], golden[f"N{count}.vis"][told.numpy()], PROBABILITY)


@pytest.mark.slow
def test_ours_has_not_that_fault(model, golden):
    asked = torch.from_numpy(golden["N64.queries"])[None]
    xy, _, _, told = stitched(model, video(8), asked, 2)
    told = told[..., :9]
    told[:, 4:] = False  # the second window tells of those
    apart = np.abs(xy[:, :, :9][told].numpy() - golden["N64.tracks_f32"][:, :8][told.numpy()])
    assert 0.05 < apart.max() < 0.5  # 0.39 px in the whole clip


@pytest.mark.slow
def test_a_window_of_16(golden):
    model = published("cotracker2", "spec_window16.json")
    xy, visibility, _, told = stitched(model, video(20), queries(), 4)
    assert told.all()
    close(xy, golden["window16_T20.tracks"], PIXELS)
    close(visibility, golden["window16_T20.vis"], PROBABILITY)


@pytest.mark.slow
def test_short_clips_are_tracked_where_the_published_code_gives_zeros(model, golden):
    assert not golden["T4.tracks"].any()
    xy, _, _, told = stitched(model, video(4), queries(rows=FEW), 4)
    assert told.all() and (xy - queries(rows=FEW)[:, None, :, 1:]).abs().max() < 20


SMALL = (80, 112)  # the predictors' video; they work at 96 x 128


@pytest.mark.slow
def test_predictor_of_queries_in_one_direction_and_in_both(model):
    tracker = CoTrackerPredictor(model, 6, VisibleRule(0.9))
    tracker, asked = Supported(Bidirectional(tracker), 6, 0), queries(*SMALL)
    tracks = Resized(tracker, (96, 128)).forward(video(20, *SMALL), asked)
    golden = stored("predictors", "cotracker2")
    check_predictor(tracks, asked, golden, "pred_queries_back", torch.ones(20, 9) > 0)
    forward = torch.arange(20)[:, None] >= asked[0, :, 0]
    check_predictor(tracks, asked, golden, "pred_queries", forward)


@pytest.mark.slow
def test_predictor_of_a_grid(model):
    asked = grid(3, (96, 128))
    asked[..., 1:] *= torch.tensor([111 / 127, 79 / 95])
    tracker = CoTrackerPredictor(model, 6, VisibleRule(0.9))
    tracks = Resized(tracker, (96, 128)).forward(video(20, *SMALL), asked)
    golden = stored("predictors", "cotracker2")
    check_predictor(tracks, asked, golden, "pred_grid3", torch.ones(20, 9) > 0)


def check_predictor(tracks, asked, golden, case, told):
    time = torch.arange(20)[:, None]
    here = (time == asked[0, :, 0])[None]  # where the published predictor writes the query
    xy = torch.where(here[..., None], asked[:, None, :, 1:], tracks.xy)
    close(xy[0, told], golden[f"{case}.tracks"][0, told.numpy()], PIXELS)
    sure = ((tracks.visibility - 0.9).abs() > 1e-3) & ~here & told
    assert sure.sum() > 100
    assert np.array_equal(tracks.visible[sure].numpy(), golden[f"{case}.vis"][sure.numpy()])
