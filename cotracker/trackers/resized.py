"""Tracking at another size than the video's."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from cotracker.geometry import rescale_points
from cotracker.trackers.live import Live, LiveOptions, ResizedLive
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.views import MappedVideo, pad_view, resize_view
from cotracker.trackers.wrappers import Wrapper
from cotracker.tracks import Tracks
from cotracker.types import Video


class Resized(Wrapper):
    """Tracks at `size` (H, W), each frame resized when it is read.

    v1_compat: frames resized without align_corners, points by the plain ratio W'/W, as v1 does.
    keep_aspect: x and y are scaled alike, as much as fits `size`; grey fills the rest, at the right
        or below.
    """

    def __init__(
        self,
        tracker: Tracker,
        size: tuple[int, int] = (384, 512),
        v1_compat: bool = False,
        keep_aspect: bool = False,
    ):
        super().__init__(tracker)
        self.size = tuple(size)
        self.v1_compat = v1_compat
        self.keep_aspect = keep_aspect

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        size = tuple(video.shape[-2:])
        there = self._there(queries, size)
        answer = self.tracker.forward(self._view(video), there)
        return replace(answer, xy=self._back(size, answer.xy, queries, there))

    def _there(self, queries: Tensor, size: tuple[int, int]) -> Tensor:
        """Queries of a video of `size`, in the pixels of what the tracker sees."""
        xy = self._rescale(queries[..., 1:], size, self._inner_size(size))
        return torch.cat([queries[..., :1], xy], dim=-1)

    def _back(self, size: tuple[int, int], xy: Tensor, queries: Tensor, there: Tensor) -> Tensor:
        """Positions B T N 2 in a video of `size`, of those of the tracker; queries B N 3 of both.

        There and back again would move a query by rounding.
        """
        unmoved = (xy == there[:, None, :, 1:]).all(dim=-1, keepdim=True)
        xy = self._rescale(xy, self._inner_size(size), size)
        return xy if self.v1_compat else torch.where(unmoved, queries[:, None, :, 1:], xy)

    def start_live(self, size: tuple[int, int], options: LiveOptions) -> Live:
        return ResizedLive(
            self.tracker.start_live(self.size, options),
            self._view,
            lambda queries: self._there(queries, size),
            partial(self._back, size),
        )

    def fill(self, video: MappedVideo) -> None:
        self.tracker.fill(self._view(video))

    def _view(self, video: Video) -> MappedVideo:
        inner = self._inner_size(tuple(video.shape[-2:]))
        view = resize_view(video, inner, align_corners=not self.v1_compat)
        return view if inner == self.size else pad_view(view, self.size)

    def _inner_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (H, W) that the picture itself is resized to."""
        if not self.keep_aspect:
            return self.size
        height, width = (max(side - 1, 1) for side in size)
        scale = min((self.size[0] - 1) / height, (self.size[1] - 1) / width)
        return round(scale * height) + 1, round(scale * width) + 1

    def _rescale(self, xy: Tensor, size: tuple[int, int], to: tuple[int, int]) -> Tensor:
        if self.v1_compat:
            return xy * xy.new_tensor([to[1] / size[1], to[0] / size[0]])
        return rescale_points(xy, size, to)

    def describe(self) -> dict:
        resized = {"resolution": list(self.size), "v1_resize": self.v1_compat}
        if self.keep_aspect:
            resized["keep_aspect"] = True
        return super().describe() | resized
