"""The one call that tracks a video: for the command line, the demo and notebooks."""

from collections.abc import Callable

import torch
from torch import Tensor

from cotracker.trackers.inputs import opened
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.views import MappedVideo
from cotracker.types import Tracks


@torch.no_grad()
def track_video(
    video: object,
    queries: object,
    tracker: Tracker,
    progress: Callable[[int], object] | None = None,
) -> Tracks:
    """The Tracks, on the CPU, of queries B N 3 (t, x, y) in a video of 0..255.

    Both are what a tracker takes (Tracker.__call__). Of a path or a lazy video (`open_video`)
    frames are read as the tracker needs them, and moved to its device.
    progress: called with the number of frames just read, or found encoded; a tracker that looks
        twice needs each twice.
    ValueError, one sentence, for a video or queries that cannot be.
    """

    def move(frames: Tensor) -> Tensor:
        if progress is not None:
            progress(frames.shape[1])
        return frames.to(tracker.device)

    with opened(video) as source:
        view = MappedVideo(source, change=move, key=(), skipped=progress)
        return tracker(view, queries).to("cpu")
