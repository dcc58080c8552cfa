"""The windowed networks as Trackers: windows over a video of any length, stitched."""

from dataclasses import replace

import torch
from torch import Tensor

from cotracker import checks
from cotracker.geometry import reverse_time
from cotracker.model.config import LARGEST
from cotracker.model.cotracker import CoTracker
from cotracker.model.cotracker3 import CoTracker3
from cotracker.model.cuda_graphs import CudaGraphs
from cotracker.model.windowed import WindowedNetwork
from cotracker.model.windows import Estimate, window_starts
from cotracker.trackers.frame_live import FrameLive
from cotracker.trackers.inputs import check_frames
from cotracker.trackers.live import Live, LiveOptions
from cotracker.trackers.stitched import Stitched
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.views import MappedVideo, reverse_view
from cotracker.trackers.visible import VisibleRule
from cotracker.trackers.window_live import WindowLive
from cotracker.tracks import Tracks, map_tracks
from cotracker.types import Video

RULE = VisibleRule()


class CoTrackerPredictor(Tracker):
    """The bare windowed network: it sees the video as it is, and holds the maps of one window.

    A later window's answer replaces an earlier one's in the frames they share (section 3.2). In
    its query frame a point is exactly the query, visible. A network that sees clips as a whole
    tracks before the query too; of a clip longer than its window, it tracks what its windows from
    the query on do not tell in the reversed video.
    iters: refinement iterations of each window.
    rule: which points are visible.
    v1_compat: the stitched values as they come: zeros before a point's first window, the
        network's output within it, the query frame included.
    identity: what describe() records of the weights.
    cuda_graphs: on a GPU a window's iterations run as one CUDA graph a shape; launching kernels
        one by one is most of a small window's time.
    confidence_px: what the network's confidence was trained to mean, an error below so many of
        its pixels; None: the tracks have no confidence.
    confidence_fit: scale and offset of its logit, which make that true on clips not trained on.
    """

    def __init__(
        self,
        model: WindowedNetwork,
        iters: int = 6,
        rule: VisibleRule = RULE,
        v1_compat: bool = False,
        identity: dict | None = None,
        cuda_graphs: bool = False,
        confidence_px: float | None = None,
        confidence_fit: tuple[float, float] = (1.0, 0.0),
    ):
        super().__init__()
        self.model = model
        self.iters = checks.whole("iters", iters, 1, LARGEST["iters"])
        self.confidence_px = confidence_px if model.has_confidence else None
        if rule.needs_confidence and self.confidence_px is None:
            raise ValueError(
                "visible_by and min_confidence need a checkpoint with confidence, "
                "which this one has not: leave them out"
            )
        self.confidence_fit = confidence_fit
        self.rule = rule
        self.v1_compat = v1_compat
        self.identity = identity or {}
        self.both_directions = model.sees_whole_clips
        self.refine = CudaGraphs(model.refine, model) if cuda_graphs else model.refine

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        with torch.inference_mode():
            tracks = self._track(video, queries.to(self.device))
        # outside of inference_mode, whose tensors could not be written to
        return map_tracks(lambda values: values.clone().to(queries.device), tracks)

    def _track(self, video: Video, queries: Tensor) -> Tracks:
        stitched = self._stitch(video, queries)
        if self.both_directions and not stitched.told.all():
            back = self._stitch(reverse_view(video), reverse_time(queries, video.shape[1]))
            stitched = stitched.filled(back.reversed())
        return self._conclude(stitched, queries)

    def _conclude(self, stitched: Stitched, queries: Tensor) -> Tracks:
        """The Tracks of what windows told; queries count from the first frame of that."""
        visibility, confidence = stitched.logits[..., 0].sigmoid(), None
        if self.confidence_px is not None:
            scale, offset = self.confidence_fit
            confidence = (scale * stitched.logits[..., 1] + offset).sigmoid()
        tracks = Tracks(stitched.xy, visibility, visibility > 0, confidence)
        if not self.v1_compat:
            tracks = _pin_queries(tracks, queries, before=not self.both_directions)
        return replace(tracks, visible=self.rule(tracks.visibility, tracks.confidence))

    def _stitch(self, video: Video, queries: Tensor) -> Stitched:
        model = self.model
        frames = video.shape[1]
        stitched = Stitched.empty(queries, frames)
        state = model.begin(queries)
        maps = None
        for start in window_starts(frames, model.window):
            stop = min(start + model.window, frames)
            maps = self._extend_maps(maps, video, start, stop)
            state, estimate = model.step(state, maps, self.iters, refine=self.refine)
            stitched.write(estimate)
            half = model.window // 2
            maps = [
                level[:, half:].clone() for level in maps
            ]  # a view would hold the frames before
        return stitched

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
        stitched = Stitched.empty(queries, estimate.logits.shape[1])
        stitched.write(estimate._replace(start=0))
        return self._conclude(stitched, queries)

    def start_live(self, size: tuple[int, int], options: LiveOptions) -> Live:
        if self.model.config.window is None:
            return super().start_live(size, options)
        if options.mode == "frame":
            if not isinstance(self.model, (CoTracker, CoTracker3)):
                name = type(self.model).__name__
                raise ValueError(f'{name} has no mode="frame": take mode="window"')
            return FrameLive(self, options.iters, options.context)
        return WindowLive(self, options.provisional, options.iters)

    def describe(self) -> dict:
        described = {
            "tracker": "cotracker",
            "iters": self.iters,
            "window": self.model.window,
            "stride": self.model.stride,
            **self.rule.describe(),
            "points": "joint",
            "direction": "both" if self.both_directions else "forward",
            "v1_compat": self.v1_compat,
            "checkpoint": self.identity,
        }
        if self.confidence_px is not None:
            described["confidence_px"] = self.confidence_px
            if self.confidence_fit != (1.0, 0.0):
                described["confidence_fit"] = list(self.confidence_fit)
        if self.model.dtype != torch.float32:
            described["precision"] = str(self.model.dtype).split(".")[1]
        return described


def _pin_queries(tracks: Tracks, queries: Tensor, before: bool) -> Tracks:
    """The query, visible and sure, in its frame; before: and unseen before it; the rest as is."""
    time = torch.arange(tracks.xy.shape[1], device=queries.device)[:, None]
    query_frame = queries[:, None, :, 0]
    here = time == query_frame
    unseen = (time < query_frame) if before else torch.zeros_like(here)
    xy = torch.where((here | unseen)[..., None], queries[:, None, :, 1:], tracks.xy)

    def pin(values: Tensor | None) -> Tensor | None:
        if values is None:
            return None
        return torch.where(unseen, 0.0, torch.where(here, 1.0, values))

    visibility, confidence = pin(tracks.visibility), pin(tracks.confidence)
    return replace(tracks, xy=xy, visibility=visibility, confidence=confidence)
