"""Classical trackers: a rule that moves points from one grayscale frame to the next."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from torch import Tensor

from cotracker import checks
from cotracker.baselines.chain import Chain
from cotracker.baselines.redetect import RedetectingChain
from cotracker.trackers.live import LiveOptions, join_frames
from cotracker.trackers.options import check_resolution
from cotracker.trackers.tracker import Tracker
from cotracker.tracks import Tracks, map_tracks
from cotracker.types import Video


class FrameToFrame(Tracker):
    """Tracks made by `move`, frame after frame from each query's own; before it the query, unseen.

    resolution: (H, W) at which frames are compared; None is the video's own. Frames are resized
        by OpenCV's 8-bit bilinear rule and positions by its plain ratio, as is usual with these
        methods, so they need no Resized.
    redetect: points that no longer look like their query are lost, and may be found again.
    A point is visible while every step since its query found it and it lies within the picture;
    with redetect, also once it is found again.
    """

    def __init__(self, resolution: Sequence[int] | None = (384, 512), redetect: bool = False):
        super().__init__()
        self.resolution = check_resolution(resolution)
        self.redetect = checks.switch("redetect", redetect)

    @abstractmethod
    def move(
        self, before: np.ndarray, after: np.ndarray, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where points (n, 2) of `before` are in `after`, and whether each was found, bool (n,).

        Both frames are uint8 H W.
        """

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        """Tracks of queries B N 3 in a video B T 3 H W; one pass over the frames, on the CPU."""
        clips = [self._track_clip(video, b, queries[b].cpu()) for b in range(len(queries))]
        return map_tracks(lambda *values: torch.cat(values).to(queries.device), *clips)

    def _track_clip(self, video: Video, item: int, queries: Tensor) -> Tracks:
        """The Tracks 1 T N of queries N 3."""
        chain = self.start_live(tuple(video.shape[-2:]))
        chain.add(queries)
        item = min(item, video.shape[0] - 1)  # one video may serve all
        frames = range(video.shape[1])
        parts = [chain.push(video[:, t : t + 1][item : item + 1]) for t in frames]
        return join_frames([part.tracks for part in parts])

    def start_live(self, size: tuple[int, int], options: LiveOptions | None = None) -> Chain:
        """The Chain of `move`."""
        working = self.resolution or size

        def read(frame: Tensor) -> np.ndarray:
            with _single_thread():
                return gray(frame[0], working)

        def follow(before: np.ndarray, after: np.ndarray, points: Tensor) -> tuple[Tensor, Tensor]:
            with _single_thread():
                moved, found = self.move(before, after, points.numpy())
            return torch.from_numpy(moved), torch.from_numpy(found)

        kind = RedetectingChain if self.redetect else Chain
        return kind(size, read, follow, (working[1] / size[1], working[0] / size[0]))

    def describe(self) -> dict:
        """Name, resolution, and redetect where it is on."""
        resolution = None if self.resolution is None else list(self.resolution)
        redetect = {"redetect": True} if self.redetect else {}
        return super().describe() | {"resolution": resolution} | redetect


def gray(frame: Tensor, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H', W'), the brightness of one frame 1 3 H W in 0..255."""
    pixels = frame[0].float().round().clamp(0, 255).byte()
    image = pixels.permute(1, 2, 0).contiguous().cpu().numpy()
    resized = cv2.resize(image, tuple(size[::-1]), interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY)


@contextmanager
def _single_thread():
    """OpenCV on one thread: its DIS flow depends on their number, and a result must not."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
