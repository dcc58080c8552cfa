"""Test-time augmentation: the same video with left and right exchanged."""

from dataclasses import replace

import torch
from torch import Tensor

from cotracker.geometry import flip_points
from cotracker.trackers.live import Live, LiveOptions, LiveWrapper, Part
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
        return self.join(plain, other, queries, width)

    def join(self, plain: Tracks, other: Tracks, queries: Tensor, width: int) -> Tracks:
        """One answer of those in the video and in the flipped one, both B T N."""
        other = replace(other, xy=flip_points(other.xy, width))
        xy = self._join_positions(plain, other, width)
        pinned = (plain.visibility == 0) | (plain.visibility == 1)  # the query, and before it
        unmoved = (plain.xy == queries[:, None, :, 1:]).all(dim=-1) & pinned
        xy = torch.where(unmoved[..., None], plain.xy, xy)
        mean = map_tracks(lambda a, b: (a.float() + b) / 2, plain, other)
        return replace(mean, xy=xy, visible=self.rule(mean.visibility, mean.confidence))

    def start_live(self, size: tuple[int, int], options: LiveOptions) -> Live:
        return FlipLive(self, *(self.tracker.start_live(size, options) for _ in range(2)), size[1])

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


class FlipLive(LiveWrapper):
    """Two that follow the same stream, the second as a mirror shows it."""

    def __init__(self, tta: HorizontalFlipTTA, plain: Live, other: Live, width: int):
        super().__init__(plain)
        self.tta, self.other, self.width = tta, other, width
        self.queries = torch.zeros(1, 0, 3)

    def add(self, queries: Tensor) -> None:
        self.inner.add(queries)
        self.other.add(flip_points(queries, self.width))
        self.queries = torch.cat([self.queries.to(queries), queries[None]], dim=1)

    def keep(self, rows: Tensor) -> None:
        self.inner.keep(rows)
        self.other.keep(rows)
        self.queries = self.queries[:, rows]

    def push(self, frames: Video) -> Part:
        return self._join(self.inner.push(frames), self.other.push(flip_view(frames)))

    def flush(self) -> Part:
        return self._join(self.inner.flush(), self.other.flush())

    def _join(self, plain: Part, other: Part) -> Part:
        queries = self.queries.to(plain.tracks.xy.device)
        tracks = self.tta.join(plain.tracks, other.tracks, queries, self.width)
        return plain._replace(tracks=tracks)

    def tensors(self) -> list[Tensor]:
        return [self.queries, *self.inner.tensors(), *self.other.tensors()]
