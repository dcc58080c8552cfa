"""Each wrapper undoes in the answer what it does to the video and the queries."""

import pytest
import torch
from sliding import (
    FRAMES,
    MODEL,
    STEP,
    TRACKERS,
    Drift,
    H,
    Lazy,
    W,
    assert_same,
    predictor,
    some_queries,
    texture,
)

from cotracker.baselines.static import Static
from cotracker.geometry import rescale_points, reverse_time
from cotracker.queries import around, grid
from cotracker.trackers.resized import Resized
from cotracker.trackers.wrappers import Bidirectional, Chunked, OneByOne, Reversed, Supported
from cotracker.tracks import Tracks, map_tracks


def test_resized_rescales_there_and_back():
    drift, queries = Drift(), some_queries()
    tracks = Resized(drift, (80, 29))(texture(), queries)
    assert drift.shape == (1, FRAMES, 3, 80, 29)
    there = rescale_points(queries[..., 1:], (H, W), (80, 29))
    torch.testing.assert_close(drift.queries[..., 1:], there)
    assert torch.equal(drift.queries[..., 0], queries[..., 0])
    since = (torch.arange(FRAMES)[:, None] - queries[0, :, 0]).clamp(min=0)[..., None]
    step = rescale_points(torch.tensor(STEP), (80, 29), (H, W))
    expected = queries[:, None, :, 1:] + since * step
    torch.testing.assert_close(tracks.xy, expected, rtol=0, atol=1e-4)
    tracks = Resized(drift, (80, 29), v1_compat=True)(texture(), queries)
    there = queries[..., 1:] * torch.tensor([29 / W, 80 / H])
    torch.testing.assert_close(drift.queries[..., 1:], there)
    step = torch.tensor(STEP) * torch.tensor([W / 29, H / 80])
    expected = queries[:, None, :, 1:] + since * step
    torch.testing.assert_close(tracks.xy, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(384, 512), (23, 31), (97, 101)])
def test_resized_repeats_a_query_to_the_bit_whatever_the_size(size):
    rng = torch.Generator().manual_seed(4)
    queries = some_queries(1, torch.randint(0, FRAMES, (200,), generator=rng).tolist())
    queries[0, 0, 1:] = torch.tensor([-W / 2, 1.5 * H])
    xy = Resized(Static(), size).forward(texture(), queries).xy
    assert torch.equal(xy, queries[:, None, :, 1:].expand_as(xy))


def test_supported_adds_points_and_takes_them_out():
    drift, queries = Drift(), some_queries(2)
    tracks = Supported(drift, 6, 4, box=12)(texture(2), queries)
    assert_same(tracks, Drift()(texture(2), queries), atol=0)
    assert drift.calls == [(2, 5 + 5 * 16 + 36, 3)]
    own, local, everywhere = drift.queries.split([5, 80, 36], dim=1)
    assert torch.equal(own, queries)
    local = local.unflatten(1, (5, 16))
    torch.testing.assert_close(local[..., 1:], around(queries[..., 1:], 4, 12))
    assert torch.equal(local[..., 0], queries[..., :1].expand(-1, -1, 16))  # the query's frame
    torch.testing.assert_close(local[..., 1:].mean(2), queries[..., 1:])  # centred
    assert torch.equal(everywhere, grid(6, (H, W)).expand(2, -1, -1))


def test_the_local_grid_of_v1_is_off_its_centre():
    drift, queries = Drift(), torch.tensor([[[0.0, 60, 50]]])
    for v1_compat, first, last in ((False, -25, 25), (True, -30, 20)):
        Supported(drift, 0, 6, v1_compat=v1_compat)(texture(1, 2, 90, 110), queries)
        offsets = drift.queries[0, 1:, 1:] - queries[0, :, 1:]
        assert (offsets.amin(0).tolist(), offsets.amax(0).tolist()) == ([first] * 2, [last] * 2)


def test_support_points_change_the_network_s_answer():
    queries = some_queries()
    with_support = Supported(predictor(), 3, 0)(texture(), queries)
    assert (with_support.xy - predictor()(texture(), queries).xy).abs().max() > 1e-3


@pytest.mark.parametrize("at_once", [1, 2, 24])
def test_one_by_one_is_each_query_alone_from_its_frame_on(at_once):
    video, queries = texture(), some_queries(times=(0, 3, 9, 0, 3, 0))
    tracks = OneByOne(predictor(), at_once)(video, queries)
    for n, time in enumerate(queries[0, :, 0].long().tolist()):
        alone = queries[:, n : n + 1].clone()
        alone[..., 0] = 0
        later = map_tracks(lambda x, t=time, k=n: x[:, t:, k : k + 1], tracks)
        assert_same(later, predictor()(video[:, time:], alone))


@pytest.mark.parametrize(
    "chain", [lambda t: t, lambda t: Supported(t, 2, 2), lambda t: Chunked(t, 2)]
)
def test_one_by_one_encodes_each_frame_once(chain):
    encoded = []
    hook = MODEL.encoder.register_forward_hook(
        lambda module, inputs, output: encoded.append(len(inputs[0]))
    )
    lazy = Lazy(texture(1, 26))
    queries = some_queries(times=(0, 3, 11, 25, 5, 3, 3, 3))
    OneByOne(chain(predictor()), at_once=2)(lazy, queries)
    hook.remove()
    assert sum(encoded) == 26 and sorted(lazy.read) == list(range(26))


@pytest.mark.parametrize("name", ["cotracker", "evaluation_chain", "lucas_kanade"])
def test_backward_of_a_video_is_forward_of_its_reverse(name):
    tracker, video, queries = TRACKERS[name], texture(), some_queries()
    ahead = tracker(video, queries)
    forward = tracker(video.flip(1), reverse_time(queries, FRAMES))
    backward = Reversed(tracker)(video, queries)
    assert_same(backward, map_tracks(lambda x: x.flip(1), forward), atol=0)
    both = Bidirectional(tracker)(video, queries)
    before = torch.arange(FRAMES)[:, None] < queries[:, None, :, 0]
    for field in ("xy", "visibility", "visible"):
        joined, back, forth = (getattr(one, field) for one in (both, backward, ahead))
        assert torch.equal(joined[before], back[before])
        assert torch.equal(joined[~before], forth[~before])
    again = Bidirectional(tracker)(video.flip(1), reverse_time(queries, FRAMES))
    assert_same(both, map_tracks(lambda x: x.flip(1), again), atol=0)


def test_the_join_of_v1_keeps_forward_output_before_the_query():
    """v1 fills in backward values where forward ones are 0: not within the first window."""
    video, queries = texture(), some_queries(times=(0, 9))
    forward = predictor(v1_compat=True)(video, queries)
    both = Bidirectional(predictor(v1_compat=True), v1_compat=True)(video, queries)
    assert torch.equal(both.xy[0, 4:, 1], forward.xy[0, 4:, 1])
    assert (both.xy[0, :4, 1] != 0).all()


def test_chunked_joins_its_chunks():
    drift = Drift()
    video, queries = texture(), some_queries()
    assert_same(Chunked(drift, 2)(video, queries), Drift()(video, queries), atol=0)
    assert drift.calls == [(1, 2, 3), (1, 2, 3), (1, 1, 3)]
    tracks = Chunked(predictor(), 2)(video, queries)
    for some in ([0, 1], [2, 3], [4]):
        assert_same(predictor()(video, queries[:, some]), tracks, some, atol=0)
    assert_same(Chunked(predictor(), 5)(video, queries), predictor()(video, queries), atol=0)
    with pytest.raises(ValueError, match="points_at_once must be a whole number of at least 1"):
        Chunked(drift, 0)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: Resized(t, (80, 112)),
        lambda t: Supported(t, 2, 2),
        lambda t: OneByOne(t),
        lambda t: Reversed(t),
        lambda t: Bidirectional(t),
        lambda t: Chunked(t, 2),
    ],
)
def test_confidence_goes_the_way_of_visibility(wrap):
    """Drift's is half its visibility; Static has none, and none comes out."""
    tracks = wrap(Drift())(texture(), some_queries())
    assert torch.equal(tracks.confidence, tracks.visibility / 2) and tracks.confidence.any()
    assert wrap(Static())(texture(), some_queries()).confidence is None


def test_map_tracks_changes_every_tensor():
    tracks = Drift()(texture(), some_queries())
    longer = map_tracks(lambda a, b: torch.cat([a, b], dim=1), tracks, tracks)
    assert longer.xy.shape[1] == longer.confidence.shape[1] == 2 * FRAMES
    bare = Tracks(tracks.xy, tracks.visibility, tracks.visible)
    assert map_tracks(lambda a, b: a, tracks, bare).confidence is None
