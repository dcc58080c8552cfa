"""What every tracker promises, whatever its method, in a short clip and with random weights."""

import json

import pytest
import torch

from cotracker.baselines import tapnext
from cotracker.baselines.registry import LEARNED, NAMES, build_baseline
from cotracker.baselines.tapnext import TAPNextNetwork
from cotracker.baselines.weights import RANDOM
from cotracker.trackers.wrappers import Bidirectional

FRAMES, H, W = 5, 24, 40
QUICK = {  # smaller than by default
    "raft": {"iters": 1},
    "pips": {"iters": 1, "resolution": (64, 64)},
    "tapnet": {"size": (32, 32)},
    "tapir": {"size": (32, 32)},
    "mft": {"iters": 1, "resolution": (40, 48)},
    "locotrack": {"size": (32, 32)},
    "tapnext": {"size": (32, 32)},
    "dinov2": {"resolution": (42, 56)},
    "omnimotion": {"iters": 2, "pairs": 1, "points": 4, "width": 16},
}


@pytest.fixture(autouse=True)
def small_tapnext(monkeypatch):
    """TAPNext's network has 194 million numbers."""
    monkeypatch.setattr(tapnext, "TAPNextNetwork", lambda: TAPNextNetwork((32, 32), 48, 3, 1))


def build(name):
    if name == "dinov2":
        pytest.importorskip("timm")
    tracker = build_baseline(name, RANDOM if name in LEARNED else None, "cpu")
    for setting, value in QUICK.get(name, {}).items():
        setattr(tracker, setting, value)
    return tracker


def some_video(seed=0):
    rng = torch.Generator().manual_seed(seed)
    coarse = 255 * torch.rand(FRAMES, 3, 4, 6, generator=rng)
    return torch.nn.functional.interpolate(coarse, (H, W), mode="bicubic").clamp(0, 255)[None]


def some_queries():
    return torch.tensor([[[0, 3.25, 20], [2, 30.5, 7.75], [4, 18, 11.5], [0, W - 1, 0]]])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_tracker_keeps_the_promises_of_the_door(name):
    tracker, video, queries = build(name), some_video(), some_queries()
    tracks = tracker(video, queries)
    assert tracks.xy.shape == (1, FRAMES, 4, 2) and tracks.xy.dtype == torch.float32
    assert tracks.visibility.shape == tracks.visible.shape == (1, FRAMES, 4)
    assert tracks.visible.dtype == torch.bool and not tracks.xy.requires_grad
    assert tracks.xy.isfinite().all()
    assert ((tracks.visibility >= 0) & (tracks.visibility <= 1)).all()
    for n, time in enumerate(queries[0, :, 0].long()):
        assert torch.equal(tracks.xy[0, time, n], queries[0, n, 1:])  # to the bit
        assert tracks.visibility[0, time, n] == 1 and tracks.visible[0, time, n]
        if not tracker.both_directions:
            assert torch.equal(tracks.xy[0, :time, n], queries[0, n, 1:].expand(time, 2))
            assert not tracks.visible[0, :time, n].any()
    order = [2, 0, 3, 1]  # points do not see each other; a second clip changes nothing
    both = tracker(torch.cat([some_video(1), video]), queries[:, order].expand(2, -1, -1))
    torch.testing.assert_close(both.xy[1], tracks.xy[0, :, order], rtol=0, atol=2e-3)
    assert (both.visible[1] == tracks.visible[0, :, order]).float().mean() > 0.9
    assert getattr(tracker, "joint", False) == (name == "tapnext")
    shared = tracker(video, torch.cat([queries, queries[:, order]]))  # one video serves both
    torch.testing.assert_close(shared.xy[1], tracks.xy[0, :, order], rtol=0, atol=2e-3)
    assert tracker(video, queries[:, :0]).xy.shape == (1, FRAMES, 0, 2)
    described = json.loads(json.dumps(tracker.describe()))
    assert "tracker" in described and ("checkpoint" in described) == (name in LEARNED)
    back = tracker if tracker.both_directions else Bidirectional(tracker)
    assert back(video[:, :3], queries[:, 1:2]).xy.isfinite().all()


@pytest.mark.parametrize("name", LEARNED)
def test_a_wrong_file_is_refused_with_what_differs(name, tmp_path):
    with pytest.raises(ValueError, match="needs checkpoint=FILE, "):
        build_baseline(name)
    with pytest.raises(ValueError, match="nothing.pth does not exist"):
        build_baseline(name, tmp_path / "nothing.pth")
    path = tmp_path / "other.pth"
    torch.save({"module.extra.weight": torch.zeros(3, 4)}, path)
    listed = "" if name == "dinov2" else r"(.|\n)*  missing  "
    with pytest.raises(ValueError, match=f"other.pth does not hold the weights {listed}"):
        build_baseline(name, path)
