"""What `cotracker bench` measures: a setting, and its model, video, queries and tracker."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from cotracker import checkpoint
from cotracker.baselines.registry import LEARNED, build_baseline
from cotracker.baselines.weights import RANDOM
from cotracker.data.video import open_video
from cotracker.model.cotracker import CoTracker
from cotracker.model.cotracker2 import COTRACKER2
from cotracker.model.cotracker3 import OFFLINE, CoTracker3
from cotracker.model.runtime import compile_transformer
from cotracker.model.windowed import WindowedNetwork
from cotracker.trackers.build import build_chain, lower_precision
from cotracker.trackers.options import TrackerOptions
from cotracker.trackers.resized import Resized
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.views import MappedVideo
from cotracker.trackers.wrappers import Chunked
from cotracker.types import Video

KINDS = ("joint", "single", "alone", "stages", "stream")
FULL = "full"
NETWORKS = {  # the papers' models with random weights; other models are checkpoints
    FULL: CoTracker,
    "cotracker2": partial(CoTracker, **COTRACKER2),
    "cotracker3_online": CoTracker3,
    "cotracker3_offline": partial(CoTracker3, **OFFLINE),
}


@dataclass(frozen=True)
class Setting:
    """What is measured.

    kind: joint, all points together; single, the single-point protocol with 6x6 + 6x6 support
    points; alone, the same with an encoding of the video for each query; stages, parts of a run;
    stream, frame by frame.
    model: one of NETWORKS, or a checkpoint.
    tracker: "cotracker", or another system of cotracker.baselines, whose weights FULL makes random.
    cuda_graphs: windows as CUDA graphs.
    video: a file, resized; None renders frames.
    """

    kind: str = "joint"
    model: str = FULL
    tracker: str = "cotracker"
    points: int = 256
    frames: int = 24
    height: int = 384
    width: int = 512
    dtype: str = "float32"
    threads: int = 2
    device: str = "cpu"
    iters: int = 6
    repeats: int = 3
    compiled: bool = False
    cuda_graphs: bool = False
    video: str | None = None
    points_at_once: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.height, self.width


def make_model(setting: Setting) -> WindowedNetwork:
    """The network to measure: a paper's with random weights, or a checkpoint's."""
    torch.manual_seed(0)
    if setting.model in NETWORKS:
        model = NETWORKS[setting.model]()
    else:
        model = checkpoint.load_model(checkpoint.find(setting.model))
    if setting.compiled:
        compile_transformer(model)
    return lower_precision(model.eval().to(setting.device), setting.dtype)


def make_other(setting: Setting) -> Tracker:
    """The other system to measure, all points at once."""
    random = setting.model == FULL and setting.tracker in LEARNED
    source = RANDOM if random else None if setting.model == FULL else setting.model
    tracker = build_baseline(setting.tracker, source, setting.device)
    return tracker if setting.video is None else Resized(tracker, setting.size)


def make_video(setting: Setting) -> Video:
    """The setting's file, or frames that are rendered when they are read."""
    if setting.video is None:
        return MovingNoise(setting.frames, setting.size, setting.device)
    video = open_video(setting.video)
    return MappedVideo(video, change=lambda frames: frames.to(setting.device))


def make_queries(setting: Setting) -> Tensor:
    """Queries 1 N 3 on the first frame, at random positions."""
    rng = torch.Generator().manual_seed(0)
    size = setting.size if setting.video is None else open_video(setting.video).shape[-2:]
    xy = torch.rand(1, setting.points, 2, generator=rng) * torch.tensor(
        [size[1] - 1.0, size[0] - 1.0]
    )
    return torch.cat([torch.zeros(1, setting.points, 1), xy], dim=-1).to(setting.device)


def make_tracker(setting: Setting, model: WindowedNetwork) -> Tracker:
    """The chain of the setting's kind."""
    side = 0 if setting.kind in ("joint", "stream") else 6
    options = TrackerOptions(
        iters=setting.iters,
        resolution=None,
        support_grid=side,
        local_support_grid=side,
        single_point=setting.kind == "single",
        cuda_graphs=setting.cuda_graphs,
    )
    tracker = build_chain(model, options)
    if setting.points_at_once is not None:
        tracker = Chunked(tracker, setting.points_at_once)
    return tracker if setting.video is None else Resized(tracker, setting.size)


class MovingNoise:
    """A Video of smooth noise that moves by two pixels a frame, rendered when it is read."""

    def __init__(self, frames: int, size: tuple[int, int], device: str):
        self.shape = (1, frames, 3, *size)
        rng = torch.Generator().manual_seed(0)
        coarse = torch.rand(1, 3, -(-size[0] // 8), -(-size[1] // 8), generator=rng)
        noise = torch.nn.functional.interpolate(coarse, size, mode="bilinear")[0]
        self._picture = (255 * noise).byte().to(device)

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        frames = range(self.shape[1])[index[1]]
        return torch.stack([self._picture.roll(2 * frame, dims=-1) for frame in frames])[None]
