"""For the tests of trackers: a sliding texture, queries in it, every tracker, a lazy video."""

import weakref

import torch
from small_networks import tiny
from torch import Tensor

from cotracker.baselines.dis_flow import DISFlow
from cotracker.baselines.lucas_kanade import LucasKanade
from cotracker.baselines.static import Static
from cotracker.trackers.build import build_chain
from cotracker.trackers.cotracker import CoTrackerPredictor
from cotracker.trackers.flip_tta import HorizontalFlipTTA
from cotracker.trackers.options import TrackerOptions
from cotracker.trackers.resized import Resized
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.wrappers import Bidirectional, Chunked, OneByOne, Supported
from cotracker.types import Tracks

FRAMES, H, W = 12, 40, 56
STEP = (1.5, -0.5)
MODEL = tiny()


def texture(batch=1, frames=FRAMES, height=H, width=W, seed=0):
    """uint8 B T 3 H W: waves that slide by STEP a frame, each clip with its own."""
    rng = torch.Generator().manual_seed(seed)
    sides = (torch.arange(float(n)) for n in (frames, height, width))
    t, y, x = torch.meshgrid(*sides, indexing="ij")
    x, y, clips = x - STEP[0] * t, y - STEP[1] * t, []
    for _ in range(batch):
        a, b, c = torch.rand(3, 3, 8, generator=rng)  # 3 colours of 8 waves
        phase = (a - 0.5)[..., None, None, None] * x + (b - 0.5)[..., None, None, None] * y
        clips.append((phase + 6 * c[..., None, None, None]).sin().mean(1).transpose(0, 1))
    return ((torch.stack(clips) + 1) * 127).round().byte()


def some_queries(batch=1, times=(0, 3, 11, 0, 5), seed=1):
    """Queries B N 3 at these frames, at fractional positions well within the picture."""
    xy = torch.rand(batch, len(times), 2, generator=torch.Generator().manual_seed(seed))
    time = torch.tensor(times, dtype=torch.float32)[None, :, None].expand(batch, -1, -1)
    return torch.cat([time, xy * torch.tensor([W - 21.0, H - 21]) + 10.3], dim=-1)


def predictor(**settings):
    return CoTrackerPredictor(MODEL, iters=2, **settings)


def chain(resolution, **settings):
    return build_chain(MODEL, TrackerOptions(iters=2, resolution=resolution, **settings))


def assert_same(ours: Tracks, theirs: Tracks, points=slice(None), atol=1e-3):
    """Equal but for rounding; `visible` may differ where the visibility is at the threshold."""
    torch.testing.assert_close(ours.xy, theirs.xy[:, :, points], rtol=0, atol=atol)
    visibility = theirs.visibility[:, :, points]
    torch.testing.assert_close(ours.visibility, visibility, rtol=0, atol=atol)
    clear = (visibility - 0.5).abs() > 0.01
    assert torch.equal(ours.visible[clear], theirs.visible[:, :, points][clear])


ALONE = {"single_point": True, "support_grid": 2, "local_support_grid": 2}
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
    "flip_tta": HorizontalFlipTTA(predictor()),
    "joint_chain": chain((32, 48)),
    "evaluation_chain": chain((32, 48), **ALONE),
    "whole_chain": Bidirectional(Chunked(chain((48, 64), **ALONE), 3)),
    "flip_chain": chain((32, 48), flip_tta=True, **ALONE),
    "resized_classical": Bidirectional(Resized(LucasKanade(None, window=11, levels=2), (60, 84))),
}


class Lazy:
    """A video read by slices only, which notes what is read and how many frames are alive."""

    def __init__(self, video: Tensor):
        self.video, self.shape = video, tuple(video.shape)
        self.read, self.longest, self.most_alive, self.alive = [], 0, 0, []

    def __getitem__(self, index):
        everything, frames = index
        assert everything == slice(None) and isinstance(frames, slice) and frames.step is None
        part = self.video[:, frames].clone()
        self.read += range(*frames.indices(self.shape[1]))
        self.longest = max(self.longest, part.shape[1])
        self.alive = [(ref, count) for ref, count in self.alive if ref() is not None]
        self.alive.append((weakref.ref(part), part.shape[1]))
        self.most_alive = max(self.most_alive, sum(count for _, count in self.alive))
        return part


class Drift(Tracker):
    """Moves points by STEP pixels of the video it is given, and notes its queries."""

    def __init__(self):
        super().__init__()
        self.calls, self.shape, self.queries = [], None, None

    def forward(self, video, queries):
        self.shape, self.queries = tuple(video.shape), queries
        self.calls.append(tuple(queries.shape))
        since = (torch.arange(video.shape[1])[:, None] - queries[:, None, :, 0])[..., None]
        xy = queries[:, None, :, 1:] + since.clamp(min=0) * torch.tensor(STEP)
        shown = since[..., 0] >= 0
        visibility = shown * (0.5 + queries[:, None, :, 1] / 1000)
        return Tracks(xy, visibility, shown, confidence=visibility / 2)
