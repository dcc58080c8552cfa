"""OpenCV's dense inverse search optical flow (Kroeger et al. 2016), chained from frame to frame."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from cotracker import checks
from cotracker.baselines.frame_to_frame import FrameToFrame
from cotracker.geometry import sample_maps

PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


class DISFlow(FrameToFrame):
    """Tracks that add up the flow under each point; outside the picture, that of its border."""

    def __init__(
        self,
        resolution: Sequence[int] | None = (384, 512),
        preset: str = "medium",
        redetect: bool = False,
    ):
        super().__init__(resolution, redetect)
        self.preset = checks.choice("preset", preset, PRESETS)

    def move(
        self, before: np.ndarray, after: np.ndarray, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the flow takes points (n, 2); flow has no notion of losing one."""
        flow = cv2.DISOpticalFlow_create(PRESETS[self.preset]).calc(before, after, None)
        inside = points.clip(0, np.array(before.shape[::-1], np.float32) - 1)
        which = torch.zeros(len(points), dtype=torch.long)
        step = sample_maps(torch.from_numpy(flow)[None], which, torch.from_numpy(inside)).numpy()
        return points + step, np.ones(len(points), bool)

    def describe(self) -> dict:
        """Name, resolution, preset."""
        return {**super().describe(), "preset": self.preset}
