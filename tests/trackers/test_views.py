"""Lazy views: the frames of another video, chosen and changed as they are read."""

import torch
from sliding import FRAMES, MODEL, Lazy, predictor, some_queries, texture

from cotracker.trackers.views import (
    FeatureCache,
    MappedVideo,
    crop_view,
    flip_view,
    resize_view,
    reverse_view,
    select_clip,
)


def test_views_are_the_video_changed():
    video = texture(2)
    backwards = reverse_view(video)
    assert torch.equal(backwards[:, 2:5], video.flip(1)[:, 2:5])
    assert torch.equal(backwards[:, 10:99], video.flip(1)[:, 10:])
    assert backwards[:, 5:5].shape[1] == 0
    assert torch.equal(reverse_view(backwards)[:, :], video)
    resized = resize_view(video, (20, 30))
    assert resized.shape == (2, FRAMES, 3, 20, 30) and resized[:, 4:6].shape == (2, 2, 3, 20, 30)
    twice = flip_view(flip_view(video))
    assert twice.shape == tuple(video.shape) and torch.equal(twice[:, 2:5], video[:, 2:5])
    assert torch.equal(flip_view(video)[:, :1][..., 0], video[:, :1, ..., -1])
    assert torch.equal(select_clip(video, 1)[:, 3:4], video[1:, 3:4])
    assert select_clip(video[:1], 0).shape == (1, *video.shape[1:])


def test_frames_can_be_chosen():
    video = texture()
    later = MappedVideo(video, frames=range(3, FRAMES))
    assert later.shape[1] == 9 and torch.equal(later[:, 1:3], video[:, 4:6])
    some = MappedVideo(video[0], frames=[7, 2, 2])  # a Clip's video, without its B
    assert some.shape == (1, 3, *video.shape[2:])
    assert torch.equal(some[:, 1:], video[:, [2, 2]]) and torch.equal(some[:, :1], video[:, 7:8])
    thirds = MappedVideo(video, frames=range(0, FRAMES, 3))
    assert torch.equal(thirds[:, :], video[:, ::3])


def test_neighbours_are_read_at_once():
    lazy = Lazy(texture())
    reverse_view(lazy)[:, 2:5]
    assert lazy.read == [7, 8, 9] and lazy.longest == 3


def test_a_cache_that_drops_frames_changes_no_number():
    video, queries = texture(1, 20), some_queries(times=(0, 3))
    frame = sum(level.numel() * 4 for level in MODEL.encode(video[:, :1]))
    cache = FeatureCache(budget=2.5 * frame)
    for n, time in enumerate((0, 3)):
        query = queries[:, n : n + 1].clone()
        query[..., 0] = 0
        alone = predictor()(video[:, time:], query)
        tracks = predictor()(MappedVideo(video, frames=range(time, 20), cache=cache), query)
        torch.testing.assert_close(tracks.xy, alone.xy, rtol=0, atol=1e-3)
        assert cache.used <= 2.5 * frame and len(cache.values) == 2


def test_what_does_not_fit_the_cache_is_not_kept():
    cache = FeatureCache(budget=100)
    for frame in range(5):
        cache.put((frame,), [torch.zeros(10)])  # 40 bytes
    assert list(cache.values) == [(0,), (1,)] and cache.used == 80 and cache.get((3,)) is None


def test_a_frame_has_one_key_whatever_the_view():
    """The same picture through another view is found; another picture never is."""
    video = MappedVideo(texture(), cache=FeatureCache())
    small = resize_view(video, (8, 9))
    assert reverse_view(small).frame_key(1) == small.frame_key(FRAMES - 2)
    assert MappedVideo(small, frames=[7, 2]).frame_key(1) == small.frame_key(2)
    moved = MappedVideo(small, change=lambda frames: frames, key=())
    assert moved.frame_key(3) == small.frame_key(3) and moved.cache is video.cache
    box = (1, 2, 30, 31)
    views = [video, small, flip_view(small), crop_view(video, box), resize_view(video, (8, 10))]
    assert len({view.frame_key(4) for view in views}) == 5
    assert all(view.cache is video.cache for view in views)
    assert MappedVideo(small, change=lambda frames: 255 - frames).cache is None
