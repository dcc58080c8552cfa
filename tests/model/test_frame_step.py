"""One frame at a time: what is kept of the frames before answers as if they were there."""

import pytest
import torch
from networks3 import FORMS, tiny3
from small_networks import random_video, tiny

from cotracker.model.frame_step import add_points, begin_frames, step_frame

NETWORKS = {"cotracker": tiny, "cotracker2": lambda: tiny(virtual_tracks=5), **{
    name: lambda f=form: tiny3(**f) for name, form in FORMS.items() if form.get("window")
}}  # fmt: skip


@pytest.fixture(params=NETWORKS)
def model(request):
    return NETWORKS[request.param]()


@torch.no_grad()
def test_frames_that_follow_answer_as_in_one_pass_that_sees_no_later_ones(model, monkeypatch):
    transformer, points = model.transformer, 4
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randn(1, 6, points, transformer.embed.in_features, generator=rng)
    mask = torch.tensor([[True, True, False, True]])
    past = transformer.make_past(tokens, points, 8)
    transformer.remember(tokens[:, :3], mask, past)
    parts = [
        transformer(tokens[:, k : k + 1], mask, past=past._replace(frames=k)) for k in (3, 4, 5)
    ]
    group = torch.tensor([0, 0, 0, 1, 2, 3])
    later = torch.where(group[:, None] >= group, 0.0, -1e9)[None, None]
    bias = transformer._time_bias(None, 1, 6, points, 0)
    later = later if bias is None else later + bias[:1]
    monkeypatch.setattr(transformer, "_time_bias", lambda *_: later)
    whole = transformer(tokens, mask)
    torch.testing.assert_close(torch.cat(parts, 1), whole[:, 3:], rtol=0, atol=1e-4)


@torch.no_grad()
def test_the_newest_frame_alone_goes_through_iterations(model, monkeypatch):
    seen, remembered = [], []
    forward, remember = model.transformer.forward, model.transformer.remember
    monkeypatch.setattr(
        model.transformer, "forward", lambda t, *a: seen.append(t.shape[1]) or forward(t, *a)
    )
    monkeypatch.setattr(
        model.transformer,
        "remember",
        lambda t, *a: remembered.append(t.shape[1]) or remember(t, *a),
    )
    video = random_video()
    queries = torch.tensor([[[0.0, 20, 20], [5, 30, 12]]])
    state = add_points(model, begin_frames(model), queries)
    for frame in range(12):
        maps = model.encode(video[:, frame : frame + 1])
        state, xy, _ = step_frame(model, state, maps, iters=2, context=4)
        assert state.past.frames == state.tracks.shape[1] == len(state.maps) <= 4
        if frame <= 5:
            assert torch.equal(xy[0, 0, 1], queries[0, 1, 1:])
    assert seen == 24 * [1]
    assert remembered == [2, 2, 2, 2, 2]  # where the window is full, and where a point starts
