"""The windowed network as a Tracker: windows over a video of any length, stitched."""

import torch
from torch import Tensor

from cotracker import checks
from cotracker.model.cotracker import CoTracker
from cotracker.model.cuda_graphs import CudaGraphs
from cotracker.model.windows import Estimate, window_starts
from cotracker.trackers.frame_live import FrameLive
from cotracker.trackers.inputs import check_frames
from cotracker.trackers.live import Live, LiveOptions
from cotracker.trackers.options import check_threshold
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.views import MappedVideo
from cotracker.trackers.window_live import WindowLive
from cotracker.tracks import Tracks, map_tracks
from cotracker.types import Video

THRESHOLD = 0.5  # of visibility, where neither the options nor the checkpoint's card have one


class CoTrackerPredictor(Tracker):
    """The bare windowed network: it sees the video as it is, and holds the maps of one window.

    A later window's answer replaces an earlier one's in the frames they share (section 3.2). In
    its query frame a point is exactly the query, visible.
    iters: refinement iterations of each window.
    threshold: points are visible above this visibility.
    v1_compat: the stitched values as they come: zeros before a point's first window, the
        network's output within it, the query frame included.
    identity: what describe() records of the weights.
    cuda_graphs: on a GPU a window's iterations run as one CUDA graph a shape; launching kernels
        one by one is most of a small window's time.
    """

    def __init__(
        self,
        model: CoTracker,
        iters: int = 6,
        threshold: float = THRESHOLD,
        v1_compat: bool = False,
        identity: dict | None = None,
        cuda_graphs: bool = False,
    ):
        super().__init__()
        self.model = model
        self.iters = checks.whole("iters", iters, 1)
        self.threshold = check_threshold(threshold)
        self.v1_compat = v1_compat
        self.identity = identity or {}
        self.refine = CudaGraphs(model.refine, model) if cuda_graphs else model.refine

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        with torch.inference_mode():
            tracks = self._track(video, queries.to(self.device))
        # outside of inference_mode, whose tensors could not be written to
        return map_tracks(lambda values: values.clone().to(queries.device), tracks)

    def _track(self, video: Video, queries: Tensor) -> Tracks:
        return self._conclude(*self._stitch(video, queries), queries)

    def _conclude(self, xy: Tensor, logits: Tensor, queries: Tensor) -> Tracks:
        """The Tracks of stitched xy B T N 2 and logits B T N; queries count from the first T."""
        visibility = logits.sigmoid()
        if not self.v1_compat:
            xy, visibility = _pin_queries(xy, visibility, queries)
        visible = (visibility > self.threshold) | (visibility == 1)  # 1: a query, always visible
        return Tracks(xy, visibility, visible)

    def _stitch(self, video: Video, queries: Tensor) -> tuple[Tensor, Tensor]:
        """xy B T N 2 and visibility logits B T N; zeros before a point's first window."""
        model = self.model
        frames = video.shape[1]
        xy = queries.new_zeros(queries.shape[0], frames, queries.shape[1], 2)
        logits = xy.new_zeros(xy.shape[:3])
        state = model.begin(queries)
        maps = None
        for start in window_starts(frames, model.window):
            stop = min(start + model.window, frames)
            maps = self._extend_maps(maps, video, start, stop)
            state, estimate = model.step(state, maps, self.iters, refine=self.refine)
            active = estimate.active[:, None]
            shared = xy[:, start:stop]
            xy[:, start:stop] = torch.where(active[..., None], estimate.tracks[-1], shared)
            shared = logits[:, start:stop]
            logits[:, start:stop] = torch.where(active, estimate.logits, shared)
            half = model.window // 2
            maps = [
                level[:, half:].clone() for level in maps
            ]  # a view would hold the frames before
        return xy, logits

    def _extend_maps(
        self, maps: list[Tensor] | None, video: Video, start: int, stop: int
    ) -> list[Tensor]:
        """The pyramid of frames start..stop-1; `maps` are those of its first frames, or None."""
        if maps is None:
            return self.encode_slice(video, start, stop)
        fresh = self.encode_slice(video, start + maps[0].shape[1], stop)
        return [torch.cat(pair, dim=1) for pair in zip(maps, fresh)]

    def encode_slice(self, video: Video, start: int, stop: int) -> list[Tensor]:
        """The pyramid of frames start..stop-1, b n h w C a level; from the video's cache if any."""
        if not isinstance(video, MappedVideo) or video.cache is None:
            return self._encode_frames(video[:, start:stop])
        keys = [(self.model, *video.frame_key(number)) for number in range(start, stop)]
        found = [video.cache.get(key) for key in keys]
        missing = [i for i, maps in enumerate(found) if maps is None]
        video.skip(len(keys) - (missing[-1] - missing[0] + 1 if missing else 0))
        if missing:
            first, last = missing[0], missing[-1]
            levels = self._encode_frames(video[:, start + first : start + last + 1])
            for i, key in enumerate(keys[first : last + 1]):
                found[first + i] = [level[:, i : i + 1] for level in levels]
                video.cache.put(key, found[first + i])
        return [torch.cat(level, dim=1) for level in zip(*found)]

    def _encode_frames(self, frames: Tensor) -> list[Tensor]:
        frames = check_frames(frames).to(self.device)
        at_once = 1 if self.device.type == "cpu" else None  # one frame's activations fit a cache
        return self.model.encode(frames, at_once)

    def fill(self, video: MappedVideo) -> None:
        with torch.inference_mode():
            for start in range(0, video.shape[1], self.model.window):
                self.encode_slice(video, start, min(start + self.model.window, video.shape[1]))

    def read_window(self, estimate: Estimate, queries: Tensor) -> Tracks:
        """The Tracks of one window alone; queries B N 3 count from its first frame."""
        active = estimate.active[:, None]
        xy = torch.where(active[..., None], estimate.tracks[-1], 0.0)
        return self._conclude(xy, torch.where(active, estimate.logits, 0.0), queries)

    def start_live(self, size: tuple[int, int], options: LiveOptions) -> Live:
        if self.model.config.window is None:
            return super().start_live(size, options)
        if options.mode == "frame":
            return FrameLive(self, options.iters, options.context)
        return WindowLive(self, options.provisional, options.iters)

    def describe(self) -> dict:
        described = {
            "tracker": "cotracker",
            "iters": self.iters,
            "window": self.model.window,
            "stride": self.model.stride,
            "threshold": self.threshold,
            "points": "joint",
            "direction": "forward",
            "v1_compat": self.v1_compat,
            "checkpoint": self.identity,
        }
        if self.model.dtype != torch.float32:
            described["precision"] = str(self.model.dtype).split(".")[1]
        return described


def _pin_queries(xy: Tensor, visibility: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """The query, unseen, before its frame; the query, visible, in it; the rest as it is."""
    time = torch.arange(xy.shape[1], device=xy.device)[:, None]
    query_frame = queries[:, None, :, 0]
    xy = torch.where((time <= query_frame)[..., None], queries[:, None, :, 1:], xy)
    visibility = torch.where(time == query_frame, 1.0, visibility)
    visibility = torch.where(time < query_frame, 0.0, visibility)
    return xy, visibility
