"""Classical trackers: a rule that moves points from one grayscale frame to the next, chained forward in time."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from torch import Tensor

from cotracker.geometry import inside_frame
from cotracker.trackers.tracker import Tracker, check_queries, check_size
from cotracker.types import Tracks, Video


class FrameToFrame(Tracker):
    """Tracks made by `move`, frame after frame from each query's own; before it the query is repeated, unseen.

    resolution: (H, W) at which frames are compared, resized by OpenCV's own 8-bit bilinear rule with its plain
    ratio of positions, the usual way with these methods (so they need no Resized); None is the video's own.
    A point is visible while every step since its query found it and it lies within the picture.
    """

    def __init__(self, resolution: Sequence[int] | None = (384, 512)):
        super().__init__()
        self.resolution = check_size(resolution)

    @abstractmethod
    def move(
        self, before: np.ndarray, after: np.ndarray, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where points (n, 2) of the uint8 frame `before` H W are in `after`, and bool (n,), whether each was found."""

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        """Tracks of queries B N 3 in a video B T 3 H W; one pass over the frames, computed on the CPU by OpenCV."""
        queries = check_queries(queries, video)
        frames, size = video.shape[1], tuple(video.shape[-2:])
        xy = queries[:, None, :, 1:].repeat(1, frames, 1, 1)
        followed = torch.zeros(xy.shape[:3], dtype=torch.bool, device=xy.device)
        working = self.resolution or size
        with _one_thread():
            for b, clip in enumerate(queries.cpu().double().numpy()):
                which = min(b, video.shape[0] - 1)  # one video may serve all
                pictures = (gray(video[:, t : t + 1][which], working) for t in range(frames))
                places, found = self._chain(pictures, clip, frames, np.divide(working, size)[::-1])
                places, found = (
                    torch.from_numpy(places).to(xy),
                    torch.from_numpy(found).to(xy.device),
                )
                after = torch.arange(frames, device=xy.device)[:, None] > queries[b, :, 0]
                xy[b] = torch.where(
                    after[..., None], places, xy[b]
                )  # the query itself stays to the bit
                followed[b] = found
        visible = followed & inside_frame(xy, size)
        return Tracks(xy, visible.float(), visible)

    def describe(self) -> dict:
        """Name and resolution."""
        resolution = None if self.resolution is None else list(self.resolution)
        return {**super().describe(), "resolution": resolution}

    def _chain(
        self, pictures: Iterator[np.ndarray], queries: np.ndarray, frames: int, scale: np.ndarray
    ):
        """Positions (T, N, 2) in the video's pixels and found (T, N) of queries (N, 3) of one video."""
        start, points = queries[:, 0], (queries[:, 1:] * scale).astype(np.float32)
        found = np.zeros(len(points), bool)
        places, followed, before = (
            np.zeros((frames, *points.shape)),
            np.zeros((frames, len(points)), bool),
            None,
        )
        for t, picture in enumerate(pictures):
            going = start < t
            if going.any():
                points[going], kept = self.move(before, picture, points[going])
                found[going] &= kept
            found[start == t] = True
            places[t], followed[t], before = points / scale, found, picture
        return places, followed


def gray(frame: Tensor, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H', W'), the brightness of one frame 1 3 H W in 0..255."""
    image = (
        frame[0].float().round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().cpu().numpy()
    )
    resized = cv2.resize(image, tuple(size[::-1]), interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY)


@contextmanager
def _one_thread():
    """OpenCV on one thread: its DIS flow depends on how many share the work, and a result must not."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
