"""track_video, the one call of the command line, the demo and notebooks."""

import pytest
from sliding import FRAMES, TRACKERS, Lazy, assert_same, some_queries, texture

import cotracker
from cotracker.trackers.track import track_video
from cotracker.trackers.wrappers import Bidirectional
from cotracker.types import Tracks


def test_a_lazy_video_is_tracked_and_its_frames_are_counted():
    tracker, read = TRACKERS["cotracker"], []
    lazy = Lazy(texture())
    tracks = track_video(lazy, some_queries(), tracker, read.append)
    assert_same(tracks, tracker(texture(), some_queries()), atol=0)
    assert sum(read) == FRAMES == len(lazy.read)
    track_video(lazy, some_queries(), Bidirectional(tracker), read.append)
    assert sum(read) == 3 * FRAMES


def test_shares_of_one_are_refused_as_by_the_tracker():
    with pytest.raises(ValueError, match="video looks like 0..1"):
        track_video(texture() / 255, some_queries(), TRACKERS["static"])


def test_the_package_has_the_calls_of_a_notebook():
    assert cotracker.track_video is track_video and cotracker.Tracks is Tracks
    assert all(callable(getattr(cotracker, name)) for name in cotracker.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cotracker.nothing
