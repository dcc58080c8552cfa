"""The static guess: every point stays at its query. The floor that any tracker must clear."""

import torch
from torch import Tensor

from cotracker.baselines.chain import Chain
from cotracker.trackers.live import LiveOptions
from cotracker.trackers.tracker import Tracker
from cotracker.types import Tracks, Video


class Static(Tracker):
    """The query repeated in every frame, visible from its own frame on."""

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        """Tracks of queries B N 3; frames are never read."""
        frames = video.shape[1]
        xy = queries[:, None, :, 1:].repeat(1, frames, 1, 1)
        visible = torch.arange(frames, device=queries.device)[:, None] >= queries[:, None, :, 0]
        return Tracks(xy, visible.float(), visible)

    def start_live(self, size: tuple[int, int], options: LiveOptions) -> Chain:
        """A Chain that moves nothing."""
        return Chain(
            size,
            lambda frame: None,
            lambda before, after, points: (points, points[:, 0] == points[:, 0]),
        )
