"""A call of the outermost tracker checks the video and the queries, once, in one sentence."""

import pytest
import torch
from sliding import (
    FRAMES,
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

from cotracker.trackers import named_queries
from cotracker.trackers.inputs import check_queries
from cotracker.trackers.tracker import resolve_device


class Shaped:
    """A lazy video of a shape, which must never be read."""

    def __init__(self, *shape):
        self.shape = shape


BAD_QUERIES = [
    (lambda q: "some", "queries must hold numbers in equally long rows"),
    (lambda q: [[0, 1, 2], [3, 4]], "queries must hold numbers in equally long rows"),
    (lambda q: q > 3, "queries must be numbers, not torch.bool"),
    (lambda q: q[..., 1:], r"not \(2, 5, 2\): rows are .* so put the frame, such as 0, before x"),
    (lambda q: q[0, 0], r"queries must have shape \(B, N, 3\), not \(3,\)"),
    (lambda q: q[0], "queries are for 1 videos, but the video holds 2"),
    (lambda q: q[:1].expand(3, -1, -1), "queries are for 3 videos, but the video holds 2"),
    (lambda q: torch.where(q == q[0, 1, 2], float("nan"), q), "queries hold NaN or infinity"),
    (lambda q: q + torch.tensor([1.0, 0, 0]), "frames 0 to 11, queries have 1 to 12"),
    (lambda q: q - torch.tensor([1.0, 0, 0]), "frames 0 to 11, queries have -1 to 10"),
    (lambda q: q / torch.tensor([2.0, 1, 1]), "a query's frame must be a whole number"),
    (lambda q: q + torch.tensor([0, 1000.0, 0]), "a query lies far outside the 56x40 picture"),
    (lambda q: q - torch.tensor([0, 0, 1000.0]), "a query lies far outside the 56x40 picture"),
]
BAD_VIDEOS = [
    (lambda v: 7, "a path, or a lazy video with shape and slices, not int"),
    (lambda v: v[0], "video must have shape B T 3 H W, not 12 3 40 56"),
    (lambda v: v > 7, "video must be numbers, not torch.bool"),
    (lambda v: v.to(torch.int32) * 16, "video holds numbers from 496 to 3472, and must be 0..255"),
    (lambda v: v[:, :, :1], "video must have shape B T 3 H W, not 2 12 1 40 56"),
    (lambda v: v[:, :0], "at least one frame and one pixel, and not be 2 0 3 40 56"),
    (lambda v: Shaped(1, 12, 4, 40, 56), "video must have shape B T 3 H W, not 1 12 4 40 56"),
    (lambda v: v / 255, "video looks like 0..1, and must be 0..255: multiply by 255"),
    (lambda v: torch.cat([0.0 * v[:, :4], v[:, 4:] / 255], dim=1), "video looks like 0..1"),
]


@pytest.mark.parametrize("spoil, message", BAD_QUERIES)
def test_bad_queries_are_refused_in_one_sentence(spoil, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_queries(spoil(some_queries(2)), texture(2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spoil, message", BAD_VIDEOS)
def test_bad_videos_are_refused_in_one_sentence(spoil, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_queries(some_queries(2), spoil(texture(2)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["static", "cotracker", "whole_chain"])
def test_a_call_checks_once(name, monkeypatch):
    """Refused before anything is read; and wrappers do not check again."""
    calls = []
    monkeypatch.setattr(
        named_queries, "check_queries", lambda queries, video: calls.append(video) or queries
    )
    TRACKERS[name](texture(), some_queries())
    assert len(calls) == 1
    monkeypatch.undo()
    with pytest.raises(ValueError, match="queries must have shape"):
        TRACKERS[name](Shaped(1, FRAMES, 3, H, W), some_queries()[..., 1:])


@pytest.mark.parametrize("tracker", ["cotracker", "evaluation_chain"])
def test_frames_that_hold_no_numbers_are_refused(tracker):
    class OfNumpy(Shaped):
        def __getitem__(self, index):
            return texture().numpy()[index]

    video = texture().float()
    video[0, 9, 1, 3, 7] = float("nan")
    for one in (video, Lazy(video)):
        with pytest.raises(ValueError, match="video holds NaN or infinity"):
            TRACKERS[tracker](one, some_queries())
    with pytest.raises(ValueError, match="a slice of video must be a tensor B n 3 H W, not nd"):
        TRACKERS[tracker](OfNumpy(1, FRAMES, 3, H, W), some_queries())


def test_dark_videos_are_tracked():
    """Bytes and lazy readers are 0..255, and floats if any is above 1: a film may begin dark."""
    dark = texture() // 128
    fading = texture().float()
    fading[:, :3] /= 255
    for video in (dark, Lazy(dark.float()), fading, torch.zeros(1, FRAMES, 3, H, W)):
        assert TRACKERS["joint_chain"](video, some_queries()).xy.isfinite().all()
    as_floats = predictor()(texture().float(), some_queries())
    assert_same(as_floats, predictor()(texture(), some_queries()), atol=0)


def test_double_precision_queries_become_single():
    drift, queries = Drift(), some_queries().double()
    drift(texture(), queries)
    assert torch.equal(drift.queries, queries.float()) and drift.queries.dtype == torch.float32


def test_a_device_that_is_not_there_is_refused():
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="device nonsense cannot be used on this machine"):
        resolve_device("nonsense")
