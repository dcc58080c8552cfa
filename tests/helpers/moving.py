"""A clip with known truth: a texture that slides by STEP pixels a frame, and its tracker."""

import numpy as np
import torch
from torch import Tensor

from cotracker.trackers.tracker import Tracker
from cotracker.types import Tracks, Video

STEP = (1.0, 0.5)  # x, y


def moving_texture(frames: int, height: int, width: int) -> np.ndarray:
    """T H W 3 uint8: frame t shows at x what frame 0 shows at x - t * STEP, in long waves."""
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    x, y = x - STEP[0] * t, y - STEP[1] * t
    waves = [np.sin(x / 5 + y / 9), np.sin(y / 6 - x / 11 + 1), np.sin((x + y) / 13 + 2)]
    return (127 + 90 * np.stack(waves, axis=-1)).round().astype(np.uint8)


class Oracle(Tracker):
    """Tracks of moving_texture from the query's frame on; every third frame hides a point."""

    def __init__(self, chunk: int = 4):
        super().__init__()
        self.chunk = chunk

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        frames = video.shape[1]
        for start in range(0, frames, self.chunk):  # reads it all, as trackers do
            assert video[:, start : start + self.chunk].dtype == torch.uint8
        since = torch.arange(frames)[None, :, None] - queries[:, None, :, 0]
        xy = queries[:, None, :, 1:] + since.clamp(min=0)[..., None] * torch.tensor(STEP)
        visible = (since >= 0) & ((since % 3 != 2) | (since == 0))
        return Tracks(xy, visible * 0.75 + 0.125, visible)
