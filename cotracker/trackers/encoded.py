"""A video whose feature maps are kept, so that any number of questions encodes it once."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from cotracker.trackers.dense import AT_ONCE, DenseTracks, flow, track_pixels
from cotracker.trackers.views import FeatureCache, MappedVideo
from cotracker.types import Video


class EncodedVideo(MappedVideo):
    """A Video that Tracker.encode gives: its tracker finds there what it computed of each frame.

    It stands wherever a video does: `tracker(encoded, queries)`, a part of it by a MappedVideo,
    the wrappers' views. Another tracker's maps are kept beside these.
    tracker: that encoded it.
    memory: bytes of feature maps kept; frames beyond them are encoded anew by each question.
    """

    def __init__(self, video: Video, tracker: Callable, memory: float):
        super().__init__(video, cache=FeatureCache(memory))
        self.tracker = tracker

    def dense(
        self,
        frame: int = 0,
        out: str | Path | None = None,
        at_once: int = AT_ONCE,
        progress: Callable[[int, int], object] | None = None,
    ) -> DenseTracks:
        """The DenseTracks of all pixels of a frame: see dense.track_pixels."""
        return track_pixels(self.tracker, self, frame, out, at_once, progress)

    def flow(self, start: int, stop: int, at_once: int = AT_ONCE) -> tuple[Tensor, Tensor]:
        """The flow H W 2 between two frames, and where it is seen: see dense.flow."""
        return flow(self.tracker, self, start, stop, at_once)
