"""Every tracker, one promise; and each wrapper undoes exactly what it did."""

import json
import weakref

import pytest
import torch
from networks import tiny
from torch import Tensor

from cotracker.baselines.dis_flow import DISFlow
from cotracker.baselines.lucas_kanade import LucasKanade
from cotracker.baselines.static import Static
from cotracker.geometry import rescale_points, time_reversed
from cotracker.queries import around, grid
from cotracker.trackers.cotracker import CoTrackerPredictor, build_chain
from cotracker.trackers.flip_tta import Mirrored
from cotracker.trackers.tracker import Tracker, check_queries
from cotracker.trackers.views import Memory, MirroredVideo, ResizedVideo, ReversedVideo, SharedVideo
from cotracker.trackers.wrappers import (
    Bidirectional,
    Chunked,
    OneByOne,
    Resized,
    Reversed,
    Supported,
)
from cotracker.types import Tracks

FRAMES, H, W, STEP = 12, 40, 56, (1.5, -0.5)
MODEL = tiny()


def texture(batch=1, frames=FRAMES, height=H, width=W, seed=0):
    """uint8 B T 3 H W: waves that slide by STEP a frame, each clip with its own."""
    rng = torch.Generator().manual_seed(seed)
    t, y, x = torch.meshgrid(
        *(torch.arange(float(n)) for n in (frames, height, width)), indexing="ij"
    )
    x, y, clips = x - STEP[0] * t, y - STEP[1] * t, []
    for _ in range(batch):
        a, b, c = torch.rand(3, 3, 8, generator=rng)  # 3 colours of 8 waves
        phase = (a - 0.5)[..., None, None, None] * x + (b - 0.5)[..., None, None, None] * y
        clips.append((phase + 6 * c[..., None, None, None]).sin().mean(1).transpose(0, 1))
    return ((torch.stack(clips) + 1) * 127).round().byte()


def asked(batch=1, times=(0, 3, 11, 0, 5), seed=1):
    """Queries B N 3 at these frames, at fractional places well within the picture."""
    xy = torch.rand(batch, len(times), 2, generator=torch.Generator().manual_seed(seed))
    time = torch.tensor(times, dtype=torch.float32)[None, :, None].expand(batch, -1, -1)
    return torch.cat([time, xy * torch.tensor([W - 21.0, H - 21]) + 10.3], dim=-1)


def predictor(**options):
    return CoTrackerPredictor(MODEL, iters=2, **options)


def same(ours: Tracks, theirs: Tracks, points=slice(None), atol=1e-3):
    torch.testing.assert_close(ours.xy, theirs.xy[:, :, points], rtol=0, atol=atol)
    torch.testing.assert_close(ours.visibility, theirs.visibility[:, :, points], rtol=0, atol=atol)
    sure = (theirs.visibility[:, :, points] - 0.5).abs() > 0.01
    assert torch.equal(ours.visible[sure], theirs.visible[:, :, points][sure])


TRACKERS = {
    "static": Static(),
    "lucas_kanade": LucasKanade((H, W), window=11, levels=2),
    "dis_flow": DISFlow((H, W)),
    "cotracker": predictor(),
    "supported": Supported(predictor(), 3, 0),
    "one_by_one": OneByOne(predictor()),
    "resized": Resized(predictor(), (32, 48)),
    "chunked": Chunked(OneByOne(predictor()), 2),
    "both_directions": Bidirectional(predictor()),
    "mirrored": Mirrored(predictor()),
    "joint_chain": build_chain(MODEL, 2, (32, 48)),
    "evaluation_chain": build_chain(MODEL, 2, (32, 48), single_point=True, support=(2, 2)),
    "whole_chain": Bidirectional(
        Chunked(build_chain(MODEL, 2, (48, 64), single_point=True, support=(2, 2)), 3)
    ),
    "mirrored_chain": build_chain(
        MODEL, 2, (32, 48), single_point=True, support=(2, 2), mirrored=True
    ),
    "resized_classical": Bidirectional(Resized(LucasKanade(None, window=11, levels=2), (60, 84))),
}
every_tracker = pytest.mark.parametrize("tracker", TRACKERS.values(), ids=TRACKERS)


@every_tracker
def test_what_every_tracker_promises(tracker):
    video, queries = texture(), asked()
    kept = video.clone(), queries.clone()
    tracks = tracker(video, queries)
    assert torch.equal(video, kept[0]) and torch.equal(queries, kept[1])
    assert tracks.xy.shape == (1, FRAMES, 5, 2) and tracks.xy.dtype == torch.float32
    assert tracks.visibility.shape == tracks.visible.shape == (1, FRAMES, 5)
    assert tracks.visibility.dtype == torch.float32 and tracks.visible.dtype == torch.bool
    assert tracks.xy.isfinite().all() and not tracks.xy.requires_grad
    assert ((tracks.visibility >= 0) & (tracks.visibility <= 1)).all()
    for n, time in enumerate(queries[0, :, 0].long()):
        assert torch.equal(tracks.xy[0, time, n], queries[0, n, 1:])  # to the bit
        assert tracks.visibility[0, time, n] == 1 and tracks.visible[0, time, n]
        if not tracker.both_directions:
            assert torch.equal(tracks.xy[0, :time, n], queries[0, n, 1:].expand(time, 2))
            assert (
                not tracks.visibility[0, :time, n].any() and not tracks.visible[0, :time, n].any()
            )


@every_tracker
def test_permuting_queries_permutes_tracks(tracker):
    video, queries, order = texture(), asked(), [3, 1, 4, 0, 2]
    same(tracker(video, queries[:, order]), tracker(video, queries), order)


@every_tracker
def test_a_batch_of_two_equals_two_of_one(tracker):
    video, queries = texture(2), asked(2)
    both = tracker(video, queries)
    for b in (0, 1):
        one = tracker(video[b : b + 1], queries[b : b + 1])
        same(one, Tracks(both.xy[b : b + 1], both.visibility[b : b + 1], both.visible[b : b + 1]))
    shared = tracker(video[:1], queries)  # and one video serves both sets
    same(shared, tracker(video[:1].expand(2, -1, -1, -1, -1), queries))


@every_tracker
def test_no_points_are_tracked_to_nothing(tracker):
    tracks = tracker(texture(), torch.zeros(1, 0, 3))
    assert tracks.xy.shape == (1, FRAMES, 0, 2) and tracks.visible.shape == (1, FRAMES, 0)


@every_tracker
def test_describe_is_json(tracker):
    assert "tracker" in json.loads(json.dumps(tracker.describe()))


@pytest.mark.parametrize(
    "tracker",
    [LucasKanade((H, W), 11, 2), DISFlow((H, W)), Bidirectional(LucasKanade(None, 11, 2))],
)
def test_the_texture_can_be_followed(tracker):
    """So that the equalities above are not between trackers that see nothing; both ways through Bidirectional."""
    queries = asked(times=(0, 0, 6))
    since = torch.arange(FRAMES)[:, None] - queries[0, :, 0]
    truth = queries[:, None, :, 1:] + (since if tracker.both_directions else since.clamp(min=0))[
        ..., None
    ] * torch.tensor(STEP)
    near = (
        (truth[..., 0] > 3)
        & (truth[..., 0] < W - 4)
        & (truth[..., 1] > 3)
        & (truth[..., 1] < H - 4)
    )
    assert (tracker(texture(), queries).xy - truth).norm(dim=-1)[
        near
    ].max() < 1 and near.float().mean() > 0.8


@pytest.mark.parametrize("tracker", list(TRACKERS)[3:])
@pytest.mark.parametrize("size", [(17, 33), (40, 56), (5, 300)])
def test_odd_sizes_and_queries_at_and_beyond_the_border(tracker, size):
    height, width = size
    video = (255 * torch.rand(1, 6, 3, *size, generator=torch.Generator().manual_seed(0))).byte()
    places = [
        (0, 0),
        (width - 1, height - 1),
        (-width / 2, -height / 2),
        (1.5 * width, 1.5 * height),
    ]
    queries = torch.tensor(
        [[(t, *place) for t, place in zip((0, 5, 2, 3), places)]], dtype=torch.float32
    )
    tracks = TRACKERS[tracker](video, queries)
    assert tracks.xy.isfinite().all()
    for n in range(4):
        assert torch.equal(tracks.xy[0, int(queries[0, n, 0]), n], queries[0, n, 1:])


def test_local_support_of_a_query_outside_a_small_picture_is_held_near_it():
    seen = Drift()
    Supported(seen, 0, 6)(texture(1, 3, 9, 15), torch.tensor([[[0.0, -7.5, 13.5]]]))
    assert seen.queries[0, 1:, 1].min() == -7.5 and seen.queries[0, 1:, 2].max() == 13.5


@pytest.mark.parametrize("frames", range(1, 21))
@pytest.mark.parametrize("published", [False, True], ids=["ours", "published"])
def test_any_length_is_tracked(frames, published):
    """Also clips of at most half a window, for which the published code returns zeros (docs/differences.md)."""
    queries = asked(times=(0, min(2, frames - 1), frames - 1))
    tracks = predictor(published=published)(texture(1, frames), queries)
    assert tracks.xy.shape == (1, frames, 3, 2) and tracks.xy.isfinite().all()
    for n, time in enumerate(queries[0, :, 0].long()):
        after = tracks.xy[0, time:, n]
        assert (after - queries[0, n, 1:]).norm(dim=-1).max() < 30 and (after != 0).all()
        if published or time < frames - 1:  # the network answered: the point is not just repeated
            assert (after != queries[0, n, 1:]).any() and (
                tracks.visibility[0, time:, n] != 0.5
            ).all()


def test_frames_before_the_query_and_the_published_way():
    """Ours: the query repeated, unseen. Published: zeros before the first window, whatever the network says within."""
    queries = asked(times=(0, 9))
    ours, theirs = (predictor(published=p)(texture(), queries) for p in (False, True))
    assert not theirs.xy[0, :4, 1].any() and (theirs.visibility[0, :4, 1] == 0.5).all()
    assert (theirs.xy[0, 4:9, 1] != queries[0, 1, 1:]).all() and (
        theirs.visibility[0, 4:9, 1] > 0
    ).all()
    assert torch.equal(ours.xy[0, :10, 1], queries[0, 1, 1:].expand(10, 2))
    assert (theirs.xy[0, 9, 1] != queries[0, 1, 1:]).any()  # nor is its query frame pinned
    for n, time in enumerate((0, 9)):
        assert torch.equal(ours.xy[0, time + 1 :, n], theirs.xy[0, time + 1 :, n])


def test_windows_are_stitched_by_the_later_one():
    video, queries = texture(), asked(times=(0, 0, 2))
    with torch.no_grad():
        first, second = MODEL(video, queries, 2)
    tracks = predictor(published=True)(video, queries)
    torch.testing.assert_close(tracks.xy[:, :4], first.tracks[-1][:, :4], rtol=0, atol=1e-3)
    torch.testing.assert_close(tracks.xy[:, 4:], second.tracks[-1], rtol=0, atol=1e-3)
    torch.testing.assert_close(tracks.visibility[:, 4:], second.logits.sigmoid(), rtol=0, atol=1e-3)
    assert (first.tracks[-1][:, 4:] - second.tracks[-1][:, :4]).abs().max() > 1e-2


@pytest.mark.parametrize("threshold", [0.1, 0.6, 0.95])
def test_visible_is_a_score_above_the_threshold(threshold):
    tracks = predictor(threshold=threshold)(texture(), asked())
    assert torch.equal(tracks.visible, tracks.visibility > threshold)
    same_scores = predictor()(texture(), asked())
    assert (
        torch.equal(tracks.visibility, same_scores.visibility)
        and 0.1 < same_scores.visibility.median() < 0.95
    )


class Lazy:
    """A video read by slices only, which notes what is asked and how many frames of it are alive at once."""

    def __init__(self, video: Tensor):
        self.video, self.shape = video, tuple(video.shape)
        self.read, self.longest, self.most_alive, self.alive = [], 0, 0, []

    def __getitem__(self, index):
        everything, frames = index
        assert everything == slice(None) and isinstance(frames, slice) and frames.step is None
        part = self.video[:, frames].clone()
        self.read += range(*frames.indices(self.shape[1]))
        self.longest = max(self.longest, part.shape[1])
        self.alive = [(ref, count) for ref, count in self.alive if ref() is not None] + [
            (weakref.ref(part), part.shape[1])
        ]
        self.most_alive = max(self.most_alive, sum(count for _, count in self.alive))
        return part


@every_tracker
def test_a_lazy_video_gives_the_same_and_is_never_held(tracker):
    video = texture(1, 26)
    lazy = Lazy(video)
    same(tracker(lazy, asked()), tracker(video, asked()), atol=0)
    assert lazy.longest <= MODEL.window and lazy.most_alive <= 2 * MODEL.window
    if not isinstance(tracker, Static):
        assert set(lazy.read) == set(range(26))


def test_the_predictor_reads_each_frame_once():
    lazy = Lazy(texture(1, 26))
    predictor()(lazy, asked())
    assert lazy.read == list(range(26)) and lazy.most_alive <= MODEL.window


BAD = [
    (lambda q: q.long(), "queries must be floating point, not torch.int64: use queries.float()"),
    (
        lambda q: q[0],
        r"queries must have shape \(B, N, 3\) with rows \(frame, x, y\), not \(5, 3\)",
    ),
    (lambda q: q[..., :2], r"queries must have shape .* not \(1, 5, 2\)"),
    (lambda q: torch.where(q == q[0, 1, 2], float("nan"), q), "queries hold NaN or infinity"),
    (lambda q: torch.where(q == q[0, 1, 2], float("inf"), q), "queries hold NaN or infinity"),
    (lambda q: q + torch.tensor([1.0, 0, 0]), "frames 0 to 11, queries ask 1 to 12"),
    (lambda q: q - torch.tensor([1.0, 0, 0]), "frames 0 to 11, queries ask -1 to 10"),
    (lambda q: q / torch.tensor([2.0, 1, 1]), "a query's frame must be a whole number"),
    (lambda q: q + torch.tensor([0, 1000.0, 0]), "a query lies far outside the 56x40 picture"),
    (lambda q: q - torch.tensor([0, 0, 1000.0]), "a query lies far outside the 56x40 picture"),
]


@pytest.mark.parametrize("spoil, message", BAD)
@pytest.mark.parametrize("tracker", ["static", "cotracker", "whole_chain"])
def test_bad_queries_are_refused_in_one_sentence(tracker, spoil, message):
    with pytest.raises(ValueError, match=message) as caught:
        TRACKERS[tracker](texture(), spoil(asked()))
    assert "\n" not in str(caught.value)


class Shaped:
    """A lazy video of a shape, which must never be read."""

    def __init__(self, *shape):
        self.shape = shape


BAD_VIDEOS = [
    (
        lambda v: v.numpy(),
        "video must be a tensor B T 3 H W, or a lazy video with shape and slices, not ndarray",
    ),
    (lambda v: list(v), "or a lazy video with shape and slices, not list"),
    (lambda v: None, "not NoneType"),
    (lambda v: v[0], "video must have shape B T 3 H W, not 12 3 40 56"),
    (lambda v: v.movedim(2, -1), "video must have shape B T 3 H W, not 1 12 40 56 3"),
    (lambda v: v[:, :, :1], "video must have shape B T 3 H W, not 1 12 1 40 56"),
    (lambda v: v[:, :0], "at least one frame and one pixel, and not be 1 0 3 40 56"),
    (lambda v: v[..., :0], "at least one frame and one pixel"),
    (lambda v: Shaped(1, 12, 4, 40, 56), "video must have shape B T 3 H W, not 1 12 4 40 56"),
    (lambda v: Shaped(12, 40, 56), "video must have shape B T 3 H W, not 12 40 56"),
    (lambda v: v / 255, "video looks like 0..1, and must be 0..255: multiply by 255"),
    (lambda v: v.double() / 127.5 - 1, "video looks like 0..1"),
    (lambda v: torch.cat([0.0 * v[:, :4], v[:, 4:] / 255], dim=1), "video looks like 0..1"),
]


@pytest.mark.parametrize("spoil, message", BAD_VIDEOS)
@pytest.mark.parametrize("tracker", ["static", "cotracker", "whole_chain"])
def test_bad_videos_are_refused_in_one_sentence(tracker, spoil, message):
    with pytest.raises(ValueError, match=message) as caught:
        TRACKERS[tracker](spoil(texture()), asked())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tracker", ["cotracker", "evaluation_chain", "whole_chain"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_frame_of_no_number_is_refused(tracker, value):
    video = texture().float()
    video[0, 9, 1, 3, 7] = value
    with pytest.raises(ValueError, match="video holds NaN or infinity"):
        TRACKERS[tracker](video, asked())
    with pytest.raises(ValueError, match="video holds NaN or infinity"):
        TRACKERS[tracker](Lazy(video), asked())


@pytest.mark.parametrize("tracker", ["cotracker", "joint_chain", "evaluation_chain"])
def test_slices_that_are_no_tensor_are_refused(tracker):
    class OfNumpy(Shaped):
        def __getitem__(self, index):
            return texture().numpy()[index]

    with pytest.raises(
        ValueError, match="a slice of video must be a tensor B n 3 H W, not ndarray"
    ):
        TRACKERS[tracker](OfNumpy(1, FRAMES, 3, H, W), asked())


def test_dark_videos_are_tracked():
    """A film may begin in the dark, and be dark: bytes and lazy readers are 0..255, and floats if any is above 1."""
    dark = texture() // 128
    fading = texture().float()
    fading[:, :3] /= 255
    for video in (dark, Lazy(dark.float()), fading, torch.zeros(1, FRAMES, 3, H, W)):
        assert TRACKERS["joint_chain"](video, asked()).xy.isfinite().all()
    same(predictor()(texture().float(), asked()), predictor()(texture(), asked()), atol=0)


@pytest.mark.parametrize("queries", [asked().numpy(), asked().tolist(), None])
@pytest.mark.parametrize("tracker", ["static", "cotracker", "whole_chain"])
def test_queries_that_are_no_tensor_are_refused(tracker, queries):
    kind = type(queries).__name__
    with pytest.raises(
        ValueError, match=rf"queries must be a tensor \(B, N, 3\) .*, not {kind}: use torch.tensor"
    ):
        TRACKERS[tracker](texture(), queries)


BAD_SETTINGS = [
    (
        {"resolution": size},
        r"resolution must be \(height, width\), each a whole number from 32 to 4096, or None",
    )
    for size in (
        [0, 0],
        "abc",
        "35",
        384,
        (384,),
        (384, 512, 3),
        (384.0, 512),
        (True, 512),
        (31, 512),
        (32, 4097),
    )
]
BAD_SETTINGS += [
    ({"iters": iters}, f"iters must be a whole number of at least 1, not {iters}")
    for iters in (0, -1, 2.5, "six", True, None)
]
BAD_SETTINGS += [
    (
        {"threshold": threshold},
        f"threshold must be a number from 0 to below 1, or None for the default, not {threshold}",
    )
    for threshold in ("abc", -0.1, 1, 1.5, float("nan"), True)
]
BAD_SETTINGS += [
    (
        {"support": support},
        r"support must be the sides of two grids \(global, local\), each .* from 0 to 64, or None",
    )
    for support in (6, (6,), (6, -1), (65, 0), (6, 6.0), "66", (6, None), (True, 0))
]


@pytest.mark.parametrize("settings, message", BAD_SETTINGS)
def test_bad_settings_are_refused_in_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        build_chain(MODEL, **settings)
    assert "\n" not in str(caught.value)


def test_settings_at_their_limits_are_taken():
    chain = build_chain(MODEL, 1, [32, 4096], support=[0, 64], threshold=0)
    assert (
        isinstance(chain, Resized) and chain.size == (32, 4096) and chain.tracker.local_grid == 64
    )
    assert isinstance(build_chain(MODEL, resolution=None, support=(0, 0)), CoTrackerPredictor)
    for tracker in (LucasKanade, DISFlow):
        with pytest.raises(ValueError, match="resolution must be"):
            tracker((0, 0))


@pytest.mark.parametrize("threshold", [0.9999, 1 - 1e-12])  # the second is 1 as float32
def test_the_query_itself_is_seen_whatever_the_threshold(threshold):
    queries = asked()
    visible = predictor(threshold=threshold)(texture(), queries).visible
    assert (
        visible[0, queries[0, :, 0].long(), torch.arange(5)].all() and visible.float().mean() < 0.5
    )


def test_queries_for_another_number_of_videos_are_refused():
    with pytest.raises(ValueError, match="queries are for 3 videos, but the video holds 2"):
        predictor()(texture(2), asked(3))


def test_half_precision_queries_are_taken_and_nothing_else_changes():
    queries = asked().double()
    assert check_queries(queries, texture()).dtype == torch.float32
    same(predictor()(texture(), queries), predictor()(texture(), queries.float()), atol=0)


class Drift(Tracker):
    """An oracle that moves points by STEP pixels of the video it is given, and notes what it was asked."""

    def __init__(self):
        super().__init__()
        self.calls, self.shape, self.queries = [], None, None

    def forward(self, video, queries):
        queries = check_queries(queries, video)
        self.shape, self.queries = tuple(video.shape), queries
        self.calls.append(tuple(queries.shape))
        since = (torch.arange(video.shape[1])[:, None] - queries[:, None, :, 0])[..., None]
        xy = queries[:, None, :, 1:] + since.clamp(min=0) * torch.tensor(STEP)
        shown = since[..., 0] >= 0
        return Tracks(xy, shown * (0.5 + queries[:, None, :, 1] / 1000), shown)


def test_resized_rescales_there_and_back():
    drift, queries = Drift(), asked()
    tracks = Resized(drift, (80, 29))(texture(), queries)
    assert drift.shape == (1, FRAMES, 3, 80, 29)
    torch.testing.assert_close(
        drift.queries[..., 1:], rescale_points(queries[..., 1:], (H, W), (80, 29))
    )
    assert torch.equal(drift.queries[..., 0], queries[..., 0])
    since = (torch.arange(FRAMES)[:, None] - queries[0, :, 0]).clamp(min=0)[..., None]
    step = rescale_points(torch.tensor(STEP), (80, 29), (H, W))
    torch.testing.assert_close(tracks.xy, queries[:, None, :, 1:] + since * step, rtol=0, atol=1e-4)
    published = Resized(drift, (80, 29), published=True)(texture(), queries)
    torch.testing.assert_close(
        drift.queries[..., 1:], queries[..., 1:] * torch.tensor([29 / W, 80 / H])
    )
    step = torch.tensor(STEP) * torch.tensor([W / 29, H / 80])
    torch.testing.assert_close(
        published.xy, queries[:, None, :, 1:] + since * step, rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("size", [(384, 512), (23, 31), (97, 101)])
def test_resized_repeats_a_query_to_the_bit_whatever_the_size(size):
    queries = asked(
        1, torch.randint(0, FRAMES, (200,), generator=torch.Generator().manual_seed(4)).tolist()
    )
    queries[0, 0, 1:] = torch.tensor([-W / 2, 1.5 * H])
    xy = Resized(Static(), size)(texture(), queries).xy
    assert torch.equal(xy, queries[:, None, :, 1:].expand_as(xy))


def test_supported_adds_points_and_takes_them_out():
    drift, queries = Drift(), asked(2)
    tracks = Supported(drift, 6, 4, box=12)(texture(2), queries)
    same(tracks, Drift()(texture(2), queries), atol=0)
    assert drift.calls == [(2, 5 + 5 * 16 + 36, 3)]
    own, local, everywhere = drift.queries.split([5, 80, 36], dim=1)
    assert torch.equal(own, queries)
    local = local.unflatten(1, (5, 16))
    torch.testing.assert_close(local[..., 1:], around(queries[..., 1:], 4, 12))
    assert torch.equal(
        local[..., 0], queries[..., :1].expand(-1, -1, 16)
    )  # in the query's own frame
    torch.testing.assert_close(local[..., 1:].mean(2), queries[..., 1:])  # centred
    assert torch.equal(everywhere, grid(6, (H, W)).expand(2, -1, -1))


def test_the_published_local_grid_is_off_its_centre():
    drift, queries = Drift(), torch.tensor([[[0.0, 60, 50]]])
    for published, first, last in ((False, -25, 25), (True, -30, 20)):
        Supported(drift, 0, 6, published=published)(texture(1, 2, 90, 110), queries)
        offsets = drift.queries[0, 1:, 1:] - queries[0, :, 1:]
        assert (offsets.amin(0).tolist(), offsets.amax(0).tolist()) == ([first] * 2, [last] * 2)


def test_support_helps_the_network_see():
    queries = asked()
    with_support = Supported(predictor(), 3, 0)(texture(), queries)
    assert (with_support.xy - predictor()(texture(), queries).xy).abs().max() > 1e-3


@pytest.mark.parametrize("at_once", [1, 2, 24])
def test_one_by_one_is_each_query_alone_from_its_frame_on(at_once):
    video, queries = texture(), asked(times=(0, 3, 9, 0, 3, 0))
    tracks = OneByOne(predictor(), at_once)(video, queries)
    for n, time in enumerate(queries[0, :, 0].long().tolist()):
        alone = predictor()(
            video[:, time:], torch.cat([torch.zeros(1, 1, 1), queries[:, n : n + 1, 1:]], dim=-1)
        )
        later = Tracks(
            *(x[:, time:, n : n + 1] for x in (tracks.xy, tracks.visibility, tracks.visible))
        )
        same(later, alone)


@pytest.mark.parametrize(
    "chain", [lambda t: t, lambda t: Supported(t, 2, 2), lambda t: Chunked(t, 2)]
)
def test_one_by_one_encodes_each_frame_once(chain):
    encoded = []
    hook = MODEL.encoder.register_forward_hook(
        lambda module, inputs, output: encoded.append(len(inputs[0]))
    )
    lazy = Lazy(texture(1, 26))
    OneByOne(chain(predictor()), at_once=2)(lazy, asked(times=(0, 3, 11, 25, 5, 3, 3, 3)))
    hook.remove()
    assert sum(encoded) == 26 and sorted(lazy.read) == list(range(26))


def test_a_memory_that_forgets_changes_no_number():
    video, queries = texture(1, 20), asked(times=(0, 3))
    alone = OneByOne(predictor())(video, queries)
    frame = sum(level.numel() * 4 for level in MODEL.encode(video[:, :1]))
    shared = SharedVideo(video, budget=2.5 * frame)
    for n, time in enumerate((0, 3)):
        query = torch.cat([torch.zeros(1, 1, 1), queries[:, n : n + 1, 1:]], dim=-1)
        tracks = predictor()(shared.starting(time), query)
        torch.testing.assert_close(tracks.xy, alone.xy[:, time:, n : n + 1], rtol=0, atol=1e-3)
        assert shared.memory.used <= 2.5 * frame and len(shared.memory.values) == 2


def test_memory_forgets_the_oldest():
    memory = Memory(budget=100)
    for frame in range(5):
        memory.put(frame, [torch.zeros(10)])  # 40 bytes
    assert list(memory.values) == [3, 4] and memory.used == 80 and memory.get(0) is None
    memory.put(9, [torch.zeros(1000)])  # larger than all: kept, alone
    assert list(memory.values) == [9] and memory.used == 4000


@pytest.mark.parametrize("name", ["cotracker", "evaluation_chain", "lucas_kanade"])
def test_backward_of_a_video_is_forward_of_its_reverse(name):
    tracker, video, queries = TRACKERS[name], texture(), asked()
    forward = tracker(video.flip(1), time_reversed(queries, FRAMES))
    backward = Reversed(tracker)(video, queries)
    same(
        backward,
        Tracks(forward.xy.flip(1), forward.visibility.flip(1), forward.visible.flip(1)),
        atol=0,
    )
    both = Bidirectional(tracker)(video, queries)
    time = torch.arange(FRAMES)[:, None] < queries[:, None, :, 0]
    assert torch.equal(both.xy[time], backward.xy[time]) and torch.equal(
        both.visible[time], backward.visible[time]
    )
    ahead = tracker(video, queries)
    assert torch.equal(both.xy[~time], ahead.xy[~time]) and torch.equal(
        both.visibility[~time], ahead.visibility[~time]
    )
    again = Bidirectional(tracker)(video.flip(1), time_reversed(queries, FRAMES))
    same(both, Tracks(again.xy.flip(1), again.visibility.flip(1), again.visible.flip(1)), atol=0)


def test_the_published_join_keeps_forward_output_before_the_query():
    """v1 fills in backward numbers where forward ones are exactly 0: not within the query's first window."""
    video, queries = texture(), asked(times=(0, 9))
    forward = predictor(published=True)(video, queries)
    both = Bidirectional(predictor(published=True), published=True)(video, queries)
    assert torch.equal(both.xy[0, 4:, 1], forward.xy[0, 4:, 1]) and (both.xy[0, :4, 1] != 0).all()


def test_chunked_is_its_turns():
    drift = Drift()
    same(Chunked(drift, 2)(texture(), asked()), Drift()(texture(), asked()), atol=0)
    assert drift.calls == [(1, 2, 3), (1, 2, 3), (1, 1, 3)]
    video, queries = texture(), asked()
    tracks = Chunked(predictor(), 2)(video, queries)
    for some in ([0, 1], [2, 3], [4]):
        same(predictor()(video, queries[:, some]), tracks, some, atol=0)
    same(Chunked(predictor(), 5)(video, queries), predictor()(video, queries), atol=0)
    with pytest.raises(ValueError, match="at least 1 point at a time, not 0"):
        Chunked(drift, 0)


def test_views_are_the_video_seen_another_way():
    video = texture(2)
    reversed_, resized, shared = (
        ReversedVideo(video),
        ResizedVideo(video, (20, 30)),
        SharedVideo(video, 3),
    )
    assert torch.equal(reversed_[:, 2:5], video.flip(1)[:, 2:5]) and torch.equal(
        reversed_[:, 10:99], video.flip(1)[:, 10:]
    )
    assert resized.shape == (2, FRAMES, 3, 20, 30) and resized[:, 4:6].shape == (2, 2, 3, 20, 30)
    assert shared.shape[1] == 9 and torch.equal(shared[:, 1:3], video[:, 4:6])
    assert (
        torch.equal(shared.starting(5)[:, :2], video[:, 5:7])
        and shared.starting(5).memory is shared.memory
    )


def test_wrappers_carry_parameters_and_move_together():
    chain = TRACKERS["whole_chain"]
    assert {id(p) for p in chain.parameters()} == {id(p) for p in MODEL.parameters()}


def test_the_chain_says_all_that_a_result_must_record():
    said = Bidirectional(
        build_chain(MODEL, 6, (384, 512), True, (6, 6), 0.7, identity={"name": "x", "hash": "y"})
    ).describe()
    assert said == {
        "tracker": "cotracker", "iters": 6, "window": 8, "stride": 4, "threshold": 0.7, "points": "single",
        "direction": "both", "published": False, "checkpoint": {"name": "x", "hash": "y"},
        "support": {"global_grid": 6, "local_grid": 6, "local_box": 50, "local_grid_centred": True},
        "resolution": [384, 512], "published_resize": False,
    }  # fmt: skip
    with pytest.raises(ValueError, match="iters must be a whole number of at least 1, not 0"):
        CoTrackerPredictor(MODEL, iters=0)


class Sided(Tracker):
    """Says what it was told for a video whose left half is the brighter one, and for one whose right half is.

    xy T N 2 and visibility T N each; in their query's frame points are where they were asked for, seen.
    """

    def __init__(self, left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]):
        super().__init__()
        self.left, self.right = left, right

    def forward(self, video, queries: Tensor) -> Tracks:
        queries = check_queries(queries, video)
        frames = video[:, :].float()
        middle = frames.shape[-1] // 2
        xy, visibility = (
            self.left if frames[..., :middle].mean() > frames[..., middle:].mean() else self.right
        )
        asked_at = torch.arange(frames.shape[1])[:, None] == queries[:, None, :, 0]
        xy = torch.where(asked_at[..., None], queries[:, None, :, 1:], xy[None])
        visibility = torch.where(asked_at, 1.0, visibility[None])
        return Tracks(xy, visibility, visibility > 0.5)


def test_a_second_look_in_the_mirror_is_joined_where_near_and_chosen_where_not():
    width = 128
    video = torch.zeros(1, 3, 3, 16, width, dtype=torch.uint8)
    video[..., : width // 2] = 255
    queries = torch.tensor([[[0, 20.0, 5.0], [0, 30.0, 6.0], [0, 40.0, 7.0]]])
    plain = torch.tensor([[20.0, 5], [30, 6], [40, 7]]).repeat(3, 1, 1)
    other = plain + torch.tensor(
        [[1.0, 1], [9, 0], [9, 0]]
    )  # the first within 128 / 64 pixels, the others not
    seen, seen_other = torch.tensor([[0.9, 0.9, 0.2]] * 3), torch.tensor([[0.5, 0.3, 0.6]] * 3)
    swapped = torch.stack([width - 1 - other[..., 0], other[..., 1]], dim=-1)
    tracks = Mirrored(Sided((plain, seen), (swapped, seen_other)), threshold=0.55)(video, queries)
    expected = plain.clone()
    expected[1:, 0] += 0.5  # the mean of both
    expected[1:, 2] += torch.tensor([9.0, 0])  # that of the one who sees it
    assert torch.allclose(tracks.xy[0], expected) and torch.equal(
        tracks.xy[0, 0], queries[0, :, 1:]
    )
    assert torch.allclose(tracks.visibility[0, 1:], torch.tensor([0.7, 0.6, 0.4]))
    assert tracks.visible[0].tolist() == [
        [True, True, True],
        [True, True, False],
        [True, True, False],
    ]
    assert Mirrored(Static()).describe()["mirrored"]


def test_mirroring_a_video_twice_is_the_video():
    video = texture()
    twice = MirroredVideo(MirroredVideo(video))
    assert twice.shape == tuple(video.shape) and torch.equal(twice[:, 2:5], video[:, 2:5])
    assert torch.equal(MirroredVideo(video)[:, :1][..., 0], video[:, :1, ..., -1])
