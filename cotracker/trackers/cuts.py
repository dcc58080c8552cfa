"""Clips of several shots: cuts found, and each shot tracked by itself."""

from dataclasses import replace

import torch
from torch import Tensor

from cotracker import checks
from cotracker.trackers.live import join_frames
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.views import MappedVideo, select_clip
from cotracker.trackers.wrappers import Wrapper
from cotracker.tracks import Tracks, map_tracks
from cotracker.types import Video


class SplitAtCuts(Wrapper):
    """Tracks each shot by itself: a track ends at a cut, after which it is unseen where it was.

    Points are not looked for in later shots.  For stored clips alone.
    threshold: share of the colours that must be others for a cut (see `find_cuts`).
    """

    def __init__(self, tracker: Tracker, threshold: float = 0.4):
        super().__init__(tracker)
        self.threshold = checks.share("threshold", threshold)

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        clips = range(len(queries))
        answers = [self._track_clip(select_clip(video, b), queries[b : b + 1]) for b in clips]
        return map_tracks(lambda *values: torch.cat(values), *answers)

    def _track_clip(self, video: Video, queries: Tensor) -> Tracks:
        """The Tracks of queries 1 N 3: those of each shot are asked there alone."""
        edges = [0, *find_cuts(video, self.threshold), video.shape[1]]
        order, parts = [], []
        for first, end in zip(edges, edges[1:]):
            within = (queries[0, :, 0] >= first) & (queries[0, :, 0] < end)
            if within.any() or not queries.shape[1]:
                order.append(within.nonzero()[:, 0])
                parts.append(self._track_shot(video, queries[:, within], first, end))
        place = torch.cat(order).argsort()
        return map_tracks(lambda *values: torch.cat(values, dim=2)[:, :, place], *parts)

    def _track_shot(self, video: Video, queries: Tensor, first: int, end: int) -> Tracks:
        """Tracks 1 T N; beside the shot unseen, where its first or last frame has them."""
        inside = queries - queries.new_tensor([first, 0, 0])
        answer = self.tracker.forward(MappedVideo(video, frames=range(first, end)), inside)
        before = _repeat_unseen(answer, 0, first)
        return join_frames([before, answer, _repeat_unseen(answer, -1, video.shape[1] - end)])

    def describe(self) -> dict:
        return super().describe() | {"split_at_cuts": self.threshold}


def find_cuts(video: Video, threshold: float = 0.4, chunk: int = 16) -> list[int]:
    """The frames in which a new shot begins, ascending, of a video B = 1.

    Between two frames that share less than 1 - threshold of their colours, by a histogram of 64
    for each quarter of the picture, and at least twice as much changes as in the frames before.
    """
    checks.share("threshold", threshold)
    cuts, before, usual = [], None, 0.0
    for start in range(0, video.shape[1], chunk):
        for k, frame in enumerate(video[:, start : start + chunk][0]):
            colours = _colours(frame)
            if before is not None:
                changed = float((colours - before).abs().sum() / 2 / len(colours))
                if changed > threshold and changed > 2 * usual:
                    cuts.append(start + k)
                else:
                    usual = 0.8 * usual + 0.2 * changed
            before = colours
    return cuts


def _colours(frame: Tensor) -> Tensor:
    """4 64: the share of each of 64 colours in each quarter of a frame 3 H W of 0..255."""
    levels = (frame.float() / 64).long().clamp(0, 3)
    colour = levels[0] * 16 + levels[1] * 4 + levels[2]
    height, width = colour.shape
    row, column = (height + 1) // 2, (width + 1) // 2
    quarters = [q for half in colour.split(row) for q in half.split(column, dim=1)]
    counts = [torch.bincount(q.flatten(), minlength=64).float() / q.numel() for q in quarters]
    return torch.stack(counts)


def _repeat_unseen(tracks: Tracks, frame: int, count: int) -> Tracks:
    """1 count N: the positions of one frame, unseen."""
    one = map_tracks(lambda v: v[:, [frame]].expand(-1, count, *v.shape[2:]), tracks)
    dark = map_tracks(torch.zeros_like, one)
    return replace(dark, xy=one.xy)
