"""A second look at the same video, in a mirror."""

import torch
from torch import Tensor

from cotracker.trackers.tracker import Tracker, check_queries, held_near
from cotracker.trackers.views import MirroredVideo
from cotracker.trackers.wrappers import Wrapper
from cotracker.types import Tracks, Video

NEAR = 1 / 64  # of the frame's width: 8 pixels of 512


class Mirrored(Wrapper):
    """Tracks in the video and in its mirror image, and joins both answers: twice the time, the same memory.

    A network does not see a mirrored picture as the same, so that its errors there are others. Where both answers are
    within `near` of the frame's width of each other a point is at their mean, elsewhere where the one is that is the
    surer to see it. visibility: the mean of both; visible: where that is above `threshold`.
    The tracker is asked with queries B N 3 both times, and what it says of a query's own frame stands.
    """

    def __init__(self, tracker: Tracker, threshold: float = 0.5, near: float = NEAR):
        super().__init__(tracker)
        self.threshold, self.near = threshold, near

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        queries = check_queries(queries, video)
        width = video.shape[-1]
        one = self.tracker(video, queries)
        asked = held_near(mirrored(queries, width), tuple(video.shape[-2:]))
        other = self.tracker(MirroredVideo(video), asked)
        xy = mirrored(other.xy, width)
        agreed = (one.xy - xy).norm(dim=-1, keepdim=True) < self.near * width
        surer = (one.visibility >= other.visibility)[..., None]
        joined = torch.where(agreed, (one.xy + xy) / 2, torch.where(surer, one.xy, xy))
        pinned = (one.visibility == 0) | (
            one.visibility == 1
        )  # to the query, in its frame and before
        unmoved = (one.xy == queries[:, None, :, 1:]).all(dim=-1, keepdim=True) & pinned[..., None]
        visibility = (one.visibility + other.visibility) / 2
        visible = (visibility > self.threshold) | (visibility == 1)
        return Tracks(torch.where(unmoved, one.xy, joined), visibility, visible)

    def describe(self) -> dict:
        return super().describe() | {"mirrored": True}


def mirrored(rows: Tensor, width: int) -> Tensor:
    """Positions (…, x, y) of the mirrored picture: x becomes W-1-x; what stands before them stays."""
    return torch.cat([rows[..., :-2], width - 1 - rows[..., -2:-1], rows[..., -1:]], dim=-1)
