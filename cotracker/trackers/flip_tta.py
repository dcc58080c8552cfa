"""Test-time augmentation: the same video with left and right exchanged."""

from dataclasses import replace

import torch
from torch import Tensor

from cotracker.geometry import flip_points
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.views import MappedVideo, flip_view
from cotracker.trackers.visible import VisibleRule
from cotracker.trackers.wrappers import Wrapper
from cotracker.tracks import Tracks, map_tracks
from cotracker.types import Video

RULE = VisibleRule()
NEAR = 1 / 64  # of the frame's width: 8 pixels of 512


class HorizontalFlipTTA(Wrapper):
    """Tracks in the video and in the flipped video and joins both: twice the time, same memory.

    The network makes other errors in the flipped video. Where both answers are within `near` of
    the frame's width of each other, a point is at their mean; elsewhere it is where the answer
    with the higher visibility is. Visibility and confidence are the mean of both.
    rule: which points are visible.
    The first answer stands in a query's own frame, and before it.
    """

    def __init__(self, tracker: Tracker, rule: VisibleRule = RULE, near: float = NEAR):
        super().__init__(tracker)
        self.rule = rule
        self.near = near

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        width = video.shape[-1]
        plain = self.tracker.forward(video, queries)
        other = self.tracker.forward(flip_view(video), flip_points(queries, width))
        other = replace(other, xy=flip_points(other.xy, width))
        xy = self._join_positions(plain, other, width)
        pinned = (plain.visibility == 0) | (plain.visibility == 1)  # the query, and before it
        unmoved = (plain.xy == queries[:, None, :, 1:]).all(dim=-1) & pinned
        xy = torch.where(unmoved[..., None], plain.xy, xy)
        mean = map_tracks(lambda a, b: (a.float() + b) / 2, plain, other)
        return replace(mean, xy=xy, visible=self.rule(mean.visibility, mean.confidence))

    def fill(self, video: MappedVideo) -> None:
        self.tracker.fill(video)
        self.tracker.fill(flip_view(video))

    def _join_positions(self, plain: Tracks, other: Tracks, width: int) -> Tensor:
        """xy B T N 2: the mean where both are near, else that of the higher visibility."""
        near = (plain.xy - other.xy).norm(dim=-1, keepdim=True) < self.near * width
        clearer = (plain.visibility >= other.visibility)[..., None]
        return torch.where(
            near, (plain.xy + other.xy) / 2, torch.where(clearer, plain.xy, other.xy)
        )

    def describe(self) -> dict:
        return super().describe() | {"flip_tta": True}
