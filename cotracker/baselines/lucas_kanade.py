"""OpenCV's pyramidal Lucas-Kanade (Bouguet 2001), frame to frame."""

from collections.abc import Sequence

import cv2
import numpy as np

from cotracker import checks
from cotracker.baselines.frame_to_frame import FrameToFrame


class LucasKanade(FrameToFrame):
    """Tracks of each point's small window, followed over a pyramid.

    window: its side in pixels, odd.  levels: of the pyramid, the whole frame counted.
    """

    def __init__(
        self,
        resolution: Sequence[int] | None = (384, 512),
        window: int = 21,
        levels: int = 5,
        redetect: bool = False,
    ):
        super().__init__(resolution, redetect)
        self.window = checks.whole("window", window, 3)
        self.levels = checks.whole("levels", levels, 1)
        if window % 2 == 0:
            raise ValueError(f"window must be odd, not {window}")

    def move(
        self, before: np.ndarray, after: np.ndarray, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where points (n, 2) are now, and OpenCV's status; a lost point goes on, unseen."""
        moved, status, _ = cv2.calcOpticalFlowPyrLK(
            before,
            after,
            points.reshape(-1, 1, 2),
            None,
            winSize=(self.window, self.window),
            maxLevel=self.levels - 1,
        )
        return moved.reshape(-1, 2), status.reshape(-1) > 0

    def describe(self) -> dict:
        """Name, resolution, window, levels."""
        return {**super().describe(), "window": self.window, "levels": self.levels}
