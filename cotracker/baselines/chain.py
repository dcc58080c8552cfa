"""Points that are moved from each frame to the next, in a clip or in a stream."""

from collections.abc import Callable

import torch
from torch import Tensor

from cotracker.geometry import inside_frame
from cotracker.trackers.live import Live, Part, join_frames
from cotracker.types import Tracks, Video


class Chain(Live):
    """Follows each point from its query on; every answer is final at once.

    A point is visible while every step since its query found it and it lies within the picture.
    size: (H, W) of the frames.
    read: of a frame 1 1 3 H W, what `follow` compares.
    follow: of two such in turn, where points n 2 of the first are in the second, and which were
        found, n bool.
    scale: x and y, from the frames' pixels to those of `follow`.
    """

    def __init__(
        self,
        size: tuple[int, int],
        read: Callable[[Tensor], object],
        follow: Callable[[object, object, Tensor], tuple[Tensor, Tensor]],
        scale: tuple[float, float] = (1.0, 1.0),
    ):
        self.size, self.read, self.follow = size, read, follow
        self.scale = torch.tensor(scale, dtype=torch.float64)
        self.queries = torch.zeros(0, 3)
        self.points = torch.zeros(0, 2)  # in the pixels of `follow`
        self.found = torch.zeros(0, dtype=torch.bool)
        self.before: object = None  # what was read of the newest frame

    @property
    def open_from(self) -> int:
        return max(0, self.frames - 1)  # the newest frame is still held

    def add(self, queries: Tensor) -> None:
        self.queries = torch.cat([self.queries.to(queries), queries])
        points = (queries[:, 1:].double() * self.scale.to(queries.device)).float()
        self.points = torch.cat([self.points.to(queries), points])
        found = torch.ones_like(queries[:, 0], dtype=torch.bool)
        self.found = torch.cat([self.found.to(found.device), found])

    def keep(self, rows: Tensor) -> None:
        self.queries, self.points = self.queries[rows], self.points[rows]
        self.found = self.found[rows]

    def push(self, frames: Video) -> Part:
        start, count = self.frames, frames.shape[1]
        tracks = join_frames([self._advance(frames[:, k : k + 1]) for k in range(count)])
        return Part(start, tracks, tracks.xy.shape[1])

    def _advance(self, frame: Tensor) -> Tracks:
        after = self.read(frame)
        time = self.queries[:, 0]
        moving = time < self.frames
        if moving.any():
            moved, found = self.follow(self.before, after, self.points[moving])
            self.points, self.found = self.points.clone(), self.found.clone()
            self.points[moving] = moved
            self.found[moving] &= found
        self.settle(after)
        self.before = after
        xy = (self.points.double() / self.scale.to(self.points.device)).float()
        xy = torch.where(moving[:, None], xy, self.queries[:, 1:])  # the query stays to the bit
        visible = (time <= self.frames) & self.found & inside_frame(xy, self.size)
        self.frames += 1
        return Tracks(xy[None, None], visible.float()[None, None], visible[None, None])

    def settle(self, after: object) -> None:
        """What is done to points and found once they were moved into a frame; here nothing."""

    def flush(self) -> Part:
        none = self.queries.new_zeros(1, 0, len(self.queries))
        tracks = Tracks(none[..., None].expand(-1, -1, -1, 2), none, none.bool())
        return Part(self.frames, tracks, 0)

    def tensors(self) -> list[Tensor]:
        """Its points, and what was read of the newest frame."""
        read = self.before if isinstance(self.before, tuple) else [self.before]
        held = [one for one in read if one is not None]
        return [self.queries, self.points, self.found, *map(torch.as_tensor, held)]
