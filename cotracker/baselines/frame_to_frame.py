"""Classical trackers: a rule that moves points from one grayscale frame to the next."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from torch import Tensor

from cotracker.geometry import inside_frame
from cotracker.trackers.options import check_resolution
from cotracker.trackers.tracker import Tracker
from cotracker.types import Tracks, Video


class FrameToFrame(Tracker):
    """Tracks made by `move`, frame after frame from each query's own; before it the query, unseen.

    resolution: (H, W) at which frames are compared; None is the video's own. Frames are resized
        by OpenCV's 8-bit bilinear rule and positions by its plain ratio, as is usual with these
        methods, so they need no Resized.
    A point is visible while every step since its query found it and it lies within the picture.
    """

    def __init__(self, resolution: Sequence[int] | None = (384, 512)):
        super().__init__()
        self.resolution = check_resolution(resolution)

    @abstractmethod
    def move(
        self, before: np.ndarray, after: np.ndarray, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where points (n, 2) of `before` are in `after`, and whether each was found, bool (n,).

        Both frames are uint8 H W.
        """

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        """Tracks of queries B N 3 in a video B T 3 H W; one pass over the frames, on the CPU."""
        xy = queries[:, None, :, 1:].repeat(1, video.shape[1], 1, 1)
        found = torch.zeros(xy.shape[:3], dtype=torch.bool, device=xy.device)
        with _single_thread():
            for b in range(len(queries)):
                xy[b], found[b] = self._track_clip(video, b, queries[b], xy[b])
        visible = found & inside_frame(xy, tuple(video.shape[-2:]))
        return Tracks(xy, visible.float(), visible)

    def _track_clip(
        self, video: Video, item: int, queries: Tensor, still: Tensor
    ) -> tuple[Tensor, Tensor]:
        """xy T N 2 and found T N of queries N 3; `still` T N 2 repeats the queries."""
        frames, size = video.shape[1], tuple(video.shape[-2:])
        item = min(item, video.shape[0] - 1)  # one video may serve all
        working = self.resolution or size
        pictures = (gray(video[:, t : t + 1][item], working) for t in range(frames))
        scale = np.divide(working, size)[::-1]
        xy, found = self._chain(pictures, queries.cpu().double().numpy(), frames, scale)
        time = torch.arange(frames, device=still.device)[:, None]
        after = (time > queries[:, 0])[..., None]  # the query itself stays to the bit
        xy = torch.where(after, torch.from_numpy(xy).to(still), still)
        return xy, torch.from_numpy(found).to(still.device)

    def _chain(
        self, pictures: Iterator[np.ndarray], queries: np.ndarray, frames: int, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positions (T, N, 2) in the video's pixels and found (T, N) of queries (N, 3)."""
        start = queries[:, 0]
        points = (queries[:, 1:] * scale).astype(np.float32)
        found = np.zeros(len(points), bool)
        all_points = np.zeros((frames, *points.shape))
        all_found = np.zeros((frames, len(points)), bool)
        before = None
        for t, picture in enumerate(pictures):
            moving = start < t
            if moving.any():
                points[moving], kept = self.move(before, picture, points[moving])
                found[moving] &= kept
            found[start == t] = True
            all_points[t] = points / scale
            all_found[t] = found
            before = picture
        return all_points, all_found

    def describe(self) -> dict:
        """Name and resolution."""
        resolution = None if self.resolution is None else list(self.resolution)
        return {**super().describe(), "resolution": resolution}


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
