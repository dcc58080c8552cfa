"""The network as a Tracker: windows over a video of any length, stitched; and the chains that people use."""

from numbers import Real
from pathlib import Path

import torch
from torch import Tensor

from cotracker import checkpoint
from cotracker.model.cotracker import CoTracker
from cotracker.model.cuda_graphs import CudaGraphs
from cotracker.model.runtime import to_bfloat16, warn_if_emulated
from cotracker.model.windows import window_starts
from cotracker.trackers.flip_tta import Mirrored
from cotracker.trackers.tracker import (
    Tracker,
    check_frames,
    check_queries,
    check_size,
    is_whole,
    usable_device,
)
from cotracker.trackers.views import SharedVideo
from cotracker.trackers.wrappers import OneByOne, Resized, Supported
from cotracker.types import Tracks, Video

MOST_SUPPORT = 64  # points on a side of a support grid
PRECISIONS = ("float32", "bfloat16")
THRESHOLD = 0.5  # of visibility, where neither the call nor the checkpoint's card names one


class CoTrackerPredictor(Tracker):
    """The bare windowed network: sees the video as it is, holds the maps of one window.

    A later window's answer replaces an earlier one's in the frames they share (section 3.2). In its query frame a
    point is exactly the query, seen. published=True leaves the stitched numbers as they come: zeros before a
    point's first window, real output within it, nothing pinned.  identity: what describe() says of the weights.
    cuda_graphs: on a GPU a window's iterations run as one CUDA graph a shape; launching kernels one by one is most of a
    small window's time.
    """

    def __init__(
        self,
        model: CoTracker,
        iters: int = 6,
        threshold: float = THRESHOLD,
        published: bool = False,
        identity: dict | None = None,
        cuda_graphs: bool = False,
    ):
        super().__init__()
        if not is_whole(iters) or iters < 1:
            raise ValueError(f"iters must be a whole number of at least 1, not {iters}")
        if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 <= threshold < 1:
            raise ValueError(
                f"threshold must be a number from 0 to below 1, or None for the default, not {threshold}"
            )
        self.model, self.iters, self.threshold, self.published = (
            model,
            iters,
            threshold,
            published,
        )
        self.identity = identity or {}
        self.refine = CudaGraphs(model.refine, model) if cuda_graphs else model.refine

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        """Tracks of queries B N 3 in a video B T 3 H W, or B sets of queries in one video 1 T 3 H W."""
        queries = check_queries(queries, video)
        with torch.inference_mode():
            answer = self._answer(video, queries.to(self.model.frequencies.device))
        return Tracks(
            *(part.clone().to(queries.device) for part in answer)
        )  # of inference_mode: could not be written

    def _answer(self, video: Video, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """xy B T N 2, visibility B T N, visible B T N."""
        xy, logits = self._stitched(video, queries)
        visibility = logits.sigmoid()
        if not self.published:
            xy, visibility = _pinned(xy, visibility, queries)
        return (
            xy,
            visibility,
            (visibility > self.threshold) | (visibility == 1),
        )  # 1 is above any: the query is seen

    def _stitched(self, video: Video, queries: Tensor) -> tuple[Tensor, Tensor]:
        """xy B T N 2 and visibility logits B T N; zeros in frames before a point's first window."""
        model, frames = self.model, video.shape[1]
        xy = queries.new_zeros(queries.shape[0], frames, queries.shape[1], 2)
        logits = xy.new_zeros(xy.shape[:3])
        state, maps = model.begin(queries), None
        for start in window_starts(frames, model.window):
            stop = min(start + model.window, frames)
            have = start if maps is None else start + maps[0].shape[1]
            fresh = self._maps(video, have, stop)
            maps = fresh if maps is None else [torch.cat(pair, dim=1) for pair in zip(maps, fresh)]
            state, estimate = model.step(state, maps, self.iters, refine=self.refine)
            active = estimate.active[:, None]
            xy[:, start:stop] = torch.where(
                active[..., None], estimate.tracks[-1], xy[:, start:stop]
            )
            logits[:, start:stop] = torch.where(active, estimate.logits, logits[:, start:stop])
            maps = [
                level[:, model.window // 2 :].clone() for level in maps
            ]  # a view would hold the frames before
        return xy, logits

    def _maps(self, video: Video, start: int, stop: int) -> list[Tensor]:
        """The pyramid of frames start..stop-1, b n h w C a level; a SharedVideo's frames are encoded once for all."""
        if not isinstance(video, SharedVideo):
            return self._encoded(video, start, stop)
        frames = range(video.start + start, video.start + stop)
        missing = [frame for frame in frames if video.memory.get(frame) is None]
        fresh = {}
        if missing:
            first, last = missing[0], missing[-1] + 1
            levels = self._encoded(video, first - video.start, last - video.start)
            fresh = {
                frame: [level[:, i : i + 1] for level in levels]
                for i, frame in enumerate(range(first, last))
            }
        found = [fresh[frame] if frame in fresh else video.memory.get(frame) for frame in frames]
        for frame, maps in fresh.items():
            video.memory.put(
                frame, [level.clone() for level in maps]
            )  # a copy: a view would hold all its neighbours
        return [torch.cat(level, dim=1) for level in zip(*found)]

    def _encoded(self, video: Video, start: int, stop: int) -> list[Tensor]:
        device = self.model.frequencies.device
        frames_at_once = (
            1 if device.type == "cpu" else None
        )  # one frame's activations fit a CPU's cache
        frames = check_frames(video[:, start:stop]).to(device)
        return self.model.encode(frames, frames_at_once)

    def describe(self) -> dict:
        network = {
            "iters": self.iters,
            "window": self.model.window,
            "stride": self.model.stride,
        }
        rule = {
            "threshold": self.threshold,
            "points": "joint",
            "direction": "forward",
            "published": self.published,
        }
        lower = (
            {}
            if self.model.dtype == torch.float32
            else {"precision": str(self.model.dtype).split(".")[1]}
        )
        return {"tracker": "cotracker"} | network | rule | lower | {"checkpoint": self.identity}


def _pinned(xy: Tensor, visibility: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """The query repeated, unseen, before its frame; the query itself, seen, in its frame; the rest as it is."""
    time = torch.arange(xy.shape[1], device=xy.device)[:, None]
    asked = queries[:, None, :, 0]
    xy = torch.where((time <= asked)[..., None], queries[:, None, :, 1:], xy)
    visibility = torch.where(time < asked, 0.0, torch.where(time == asked, 1.0, visibility))
    return xy, visibility


def build_chain(
    model: CoTracker,
    iters: int = 6,
    resolution: tuple[int, int] | None = (384, 512),
    single_point: bool = False,
    support: tuple[int, int] | None = (6, 0),
    threshold: float = THRESHOLD,
    published: bool = False,
    identity: dict | None = None,
    mirrored: bool = False,
    cuda_graphs: bool = False,
) -> Tracker:
    """Mirrored(Resized(OneByOne(Supported(CoTrackerPredictor(model))))), less what is switched off.

    resolution: (H, W) the network sees, None for the video's own.  single_point: each query by itself.
    support: sides of the global and of the local support grid, None for none.
    mirrored: in the mirrored video as well, and both answers joined.
    cuda_graphs: windows as CUDA graphs, on a GPU.
    """
    resolution, support = check_size(resolution), _check_support(support)
    tracker: Tracker = CoTrackerPredictor(model, iters, threshold, published, identity, cuda_graphs)
    if any(support):
        tracker = Supported(tracker, *support, published=published)
    if single_point:
        tracker = OneByOne(tracker)
    if resolution is not None:
        tracker = Resized(tracker, resolution, published=published)
    return Mirrored(tracker, threshold) if mirrored else tracker


def in_precision(model: CoTracker, precision: str) -> CoTracker:
    """The model, for inference in this precision: "float32" leaves it as it is, "bfloat16" lowers it in place."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be float32 or bfloat16, not {precision!r}")
    if precision == "float32":
        return model
    warn_if_emulated(torch.bfloat16, model.frequencies.device.type)
    return to_bfloat16(model)


def _check_support(support: tuple[int, int] | None) -> tuple[int, int]:
    """The sides of the global and of the local support grid, or a ValueError with one sentence."""
    if support is None:
        return 0, 0
    sides = list(support) if isinstance(support, (tuple, list)) else []
    if len(sides) != 2 or not all(is_whole(side) and 0 <= side <= MOST_SUPPORT for side in sides):
        raise ValueError(
            f"support must be the sides of two grids (global, local), each a whole number from 0 to {MOST_SUPPORT}, "
            f"or None, not {support}"
        )
    return tuple(sides)


def predictor(
    checkpoint: str | Path | None = None,
    iters: int = 6,
    resolution: tuple[int, int] | None = (384, 512),
    single_point: bool = True,
    global_grid: int = 6,
    local_grid: int = 6,
    threshold: float | None = None,
    published: bool = False,
    precision: str = "float32",
    device: str = "auto",
    window: int | None = None,
    cuda_graphs: bool = False,
    mirrored: bool = False,
) -> Tracker:
    """The tracker of a checkpoint (a file, a name, or None for the one that ships), as configs/tracker describes it."""
    support, way = (global_grid, local_grid), (precision, device, cuda_graphs, mirrored, window)
    return load(checkpoint, iters, resolution, single_point, support, threshold, published, *way)


def load(
    name_or_path: str | Path | None,
    iters: int,
    resolution: tuple[int, int] | None,
    single_point: bool,
    support: tuple[int, int] | None,
    threshold: float | None,
    published: bool,
    precision: str,
    device: str,
    cuda_graphs: bool = False,
    mirrored: bool = False,
    window: int | None = None,
) -> Tracker:
    """What load_tracker and predictor share; ValueError where the checkpoint cannot be used."""
    for name, switch in (("cuda_graphs", cuda_graphs), ("mirrored", mirrored)):
        if type(switch) is not bool:
            raise ValueError(f"{name} must be true or false, not {switch}")
    path = checkpoint.find(name_or_path or checkpoint.SHIPPED)
    model, card = checkpoint.load_model(path, window), checkpoint.read_card(path)
    if threshold is None:
        threshold = card.get("threshold", THRESHOLD)
    identity = {"name": path.stem, "hash": card["hash"]}
    model = in_precision(model.to(usable_device(device)), precision)
    chain = build_chain(
        model,
        iters,
        resolution,
        single_point,
        support,
        threshold,
        published,
        identity,
        mirrored,
        cuda_graphs,
    )
    return chain.eval()
