"""Trackers that answer clip by clip, from frames and queries of one video."""

from abc import abstractmethod

import torch
from torch import Tensor

from cotracker.trackers.inputs import check_frames
from cotracker.trackers.tracker import Tracker, resolve_device
from cotracker.trackers.views import select_clip
from cotracker.types import Tracks, Video

Answer = tuple[Tensor, Tensor, Tensor]  # xy T N 2, visibility T N in 0..1, visible T N bool


class ByClip(Tracker):
    """Tracks made by `track_clip`, of one clip at a time.

    A query is itself, visible, in its own frame; before it, unless the tracker goes in both
    directions, it is repeated, unseen.
    checkpoint: what describe() records of the weights.
    """

    checkpoint: dict | None = None
    joint = False  # whether points see each other

    @abstractmethod
    def track_clip(self, video: Video, queries: Tensor) -> Answer:
        """The Answer for queries N 3, N > 0, of a video 1 T 3 H W."""

    @torch.no_grad()
    def forward(self, video: Video, queries: Tensor) -> Tracks:
        batch, points, _ = queries.shape
        shared = video.shape[0] == 1 and not self.joint  # one video for all
        clips = queries.reshape(1, -1, 3) if shared else queries
        found = [self._track(select_clip(video, b), clip) for b, clip in enumerate(clips)]
        xy, visibility, visible = (torch.stack(parts) for parts in zip(*found))
        if shared:
            xy, visibility, visible = (
                x[0].unflatten(1, (batch, points)).transpose(0, 1) if x.numel() else
                x.new_zeros(batch, x.shape[1], points, *x.shape[3:])
                for x in (xy, visibility, visible)
            )  # fmt: skip
        return Tracks(xy, visibility, visible)

    def _track(self, video: Video, queries: Tensor) -> Answer:
        time = torch.arange(video.shape[1], device=queries.device)[:, None] - queries[:, 0]  # T N
        still = queries[None, :, 1:].expand(*time.shape, 2)
        if not len(queries):
            return still, time.float(), time > 0
        xy, visibility, visible = self.track_clip(video, queries)
        known = time == 0 if self.both_directions else time <= 0
        xy = torch.where(known[..., None], still, xy.to(still))
        visibility = torch.where(known, (time == 0).float(), visibility.to(still))
        return xy, visibility, torch.where(known, time == 0, visible)

    def describe(self) -> dict:
        direction = {"direction": "both" if self.both_directions else "forward"}
        points = {"points": "joint"} if self.joint else {}
        weights = {} if self.checkpoint is None else {"checkpoint": self.checkpoint}
        return super().describe() | direction | points | weights

    def place(self, device: str) -> None:
        """Moves the tracker to the device of that name."""
        self.to(resolve_device(device))


def read_frames(video: Video, start: int, stop: int) -> Tensor:
    """Frames n 3 H W, float 0..255, of a video 1 T 3 H W."""
    return check_frames(video[:, start:stop])[0].float()
