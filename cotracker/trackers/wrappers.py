"""Trackers around trackers: each changes the video or the queries, and undoes that in the answer.

The paper's evaluation, from outside in, is Resized(OneByOne(Supported(CoTrackerPredictor)));
Resized has its own file.
build_chain makes it, less what is switched off. Around it stand Chunked, which bounds memory, and
outermost Bidirectional. Wrappers call the `forward` of what they wrap: queries are checked by the
call of the outermost tracker.
"""

from dataclasses import replace

import torch
from torch import Tensor

from cotracker import checks
from cotracker.geometry import reverse_time
from cotracker.queries import around, grid
from cotracker.trackers.live import Live, LiveOptions, SupportedLive
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.views import (
    FEATURE_MEMORY,
    MappedVideo,
    cached_view,
    reverse_view,
    select_clip,
)
from cotracker.tracks import Tracks, map_tracks
from cotracker.types import Video


class Wrapper(Tracker):
    """Holds the tracker it wraps, and describes itself as that one does."""

    def __init__(self, tracker: Tracker):
        super().__init__()
        self.tracker = tracker
        self.both_directions = tracker.both_directions

    def fill(self, video: MappedVideo) -> None:
        self.tracker.fill(video)

    def describe(self) -> dict:
        return self.tracker.describe()


class Supported(Wrapper):
    """Adds support points, which only help (figure 5), and takes them out of the answer.

    support_grid: side of a grid over the picture in the first frame of the video; 0 for none.
    local_support_grid: side of a grid in a square of `box` pixels around each query, in the
        query's frame; 0 for none.
    v1_compat: the local grid shifted off its centre, as v1 does.
    """

    def __init__(
        self,
        tracker: Tracker,
        support_grid: int = 6,
        local_support_grid: int = 6,
        box: float = 50,
        v1_compat: bool = False,
    ):
        super().__init__(tracker)
        self.support_grid = support_grid
        self.local_support_grid = local_support_grid
        self.box = box
        self.v1_compat = v1_compat

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        batch, points, _ = queries.shape
        parts = [queries]
        if self.local_support_grid:
            parts.append(self._local_points(queries))
        if self.support_grid:
            points_of_grid = grid(self.support_grid, tuple(video.shape[-2:])).to(queries)
            parts.append(points_of_grid.expand(batch, -1, -1))
        answer = self.tracker.forward(video, torch.cat(parts, dim=1))
        return map_tracks(lambda values: values[:, :, :points], answer)

    def start_live(self, size: tuple[int, int], options: LiveOptions) -> Live:
        points = grid(self.support_grid, size)[0] if self.support_grid else None
        local = self.local_support_grid

        def around(queries: Tensor) -> Tensor:
            return self._local_points(queries[None])[0]

        inner = self.tracker.start_live(size, options)
        return SupportedLive(inner, points, around if local else None)

    def _local_points(self, queries: Tensor) -> Tensor:
        """B N*K 3: the K points around each query, in the query's frame."""
        centred = not self.v1_compat
        xy = around(queries[..., 1:], self.local_support_grid, self.box, centred)  # B N K 2
        time = queries[..., None, :1].expand(-1, -1, xy.shape[2], -1)
        return torch.cat([time, xy], dim=-1).flatten(1, 2)

    def describe(self) -> dict:
        support = {
            "support_grid": self.support_grid,
            "local_support_grid": self.local_support_grid,
            "local_box": self.box,
            "local_grid_centred": not self.v1_compat,
        }
        return super().describe() | {"support": support}


class OneByOne(Wrapper):
    """Tracks each query by itself, from its own frame on (section 3.5, "single target point").

    A tracker that tracks in both directions sees the frames before too.
    Queries of one frame are tracked together, as a batch over the one video, at most `at_once` at
    a time. The tracker may keep what it computes from a frame for all of them, in
    `cache_bytes` bytes.
    """

    def __init__(self, tracker: Tracker, at_once: int = 24, cache_bytes: float = FEATURE_MEMORY):
        super().__init__(tracker)
        self.at_once = at_once
        self.cache_bytes = cache_bytes

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        batch = range(queries.shape[0])
        answers = [self._track_clip(select_clip(video, b), queries[b]) for b in batch]
        return map_tracks(lambda *clips: torch.cat(clips), *answers)

    def _track_clip(self, video: Video, queries: Tensor) -> Tracks:
        """The Tracks, B = 1, of queries N 3."""
        if not len(queries):
            return self.tracker.forward(video, queries[None])
        cached = cached_view(video, self.cache_bytes)
        order, parts = [], []
        first = torch.zeros_like(queries[:, 0]) if self.both_directions else queries[:, 0]
        for start in first.unique().long().tolist():
            view = MappedVideo(cached, frames=range(start, video.shape[1]))
            for chosen in (first == start).nonzero()[:, 0].split(self.at_once):
                order.append(chosen)
                parts.append(self._track_from(start, view, queries[chosen]))
        tracks = _join_points(parts)
        position = torch.cat(order).argsort()
        return map_tracks(lambda values: values[:, :, position], tracks)

    def _track_from(self, start: int, view: Video, queries: Tensor) -> Tracks:
        """The Tracks 1 T K of queries K 3 from frame `start` on, where `view` begins."""
        alone = queries[:, None].clone()
        alone[..., 0] -= start
        answer = self.tracker.forward(view, alone)  # K T-start 1
        answer = map_tracks(lambda values: values.transpose(0, 2), answer)
        unseen = map_tracks(lambda values: torch.zeros_like(values[:, :1]), answer)
        unseen = replace(unseen, xy=queries[None, None, :, 1:])
        return map_tracks(
            lambda before, after: torch.cat([before.expand(1, start, *before.shape[2:]), after], 1),
            unseen,
            answer,
        )

    def describe(self) -> dict:
        return super().describe() | {"points": "single"}


class Reversed(Wrapper):
    """Tracks backwards in time: the frames before each query; after it the query, unseen."""

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        backward = reverse_time(queries, video.shape[1])
        answer = self.tracker.forward(reverse_view(video), backward)
        return map_tracks(lambda values: values.flip(1), answer)

    def describe(self) -> dict:
        return super().describe() | {"direction": "backward"}


class Bidirectional(Wrapper):
    """Tracks forwards from each query and backwards before it, joined at the query's frame.

    v1_compat: backward values stand where the forward xy is exactly 0, as in v1.
    cache_bytes: of feature maps that the way back may find kept; 0 for none.
    """

    def __init__(self, tracker: Tracker, v1_compat: bool = False, cache_bytes: float = 0):
        super().__init__(tracker)
        self.both_directions = True
        self.v1_compat = v1_compat
        self.cache_bytes = cache_bytes
        self.backward = Reversed(tracker)

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        late = bool(queries[..., 0].any())
        if late and self.cache_bytes:
            video = cached_view(video, self.cache_bytes)
        ahead = self.tracker.forward(video, queries)
        if not late and not self.v1_compat:  # nothing lies before the queries
            return ahead
        back = self.backward.forward(video, queries)
        if self.v1_compat:
            empty = ahead.xy == 0  # B T N 2
            joined = map_tracks(lambda a, b: choose(empty[..., 0], b, a), ahead, back)
            return replace(joined, xy=torch.where(empty, back.xy, ahead.xy))
        time = torch.arange(video.shape[1], device=queries.device)[:, None]
        before = time < queries[:, None, :, 0]  # B T N
        return map_tracks(lambda a, b: choose(before, b, a), ahead, back)

    def start_live(self, size: tuple[int, int], options: LiveOptions) -> Live:
        """What follows frames forward: those before a query have passed, where it is unseen."""
        return self.tracker.start_live(size, options)

    def describe(self) -> dict:
        return super().describe() | {"direction": "both"}


class Chunked(Wrapper):
    """Tracks at most `points` queries at a time, so that memory does not grow with their number.

    Points of different chunks do not see each other; a Supported inside gives each chunk its own
    support points. Frames need no chunks: the tracker inside holds one window of them.
    cache_bytes: of feature maps that later chunks may find kept; 0 for none.
    """

    def __init__(self, tracker: Tracker, points: int = 1024, cache_bytes: float = 0):
        super().__init__(tracker)
        self.points = checks.whole("points_at_once", points, 1)
        self.cache_bytes = cache_bytes

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        chunks = queries.split(self.points, dim=1) if queries.shape[1] else (queries,)
        if len(chunks) > 1 and self.cache_bytes:
            video = cached_view(video, self.cache_bytes)
        return _join_points([self.tracker.forward(video, chunk) for chunk in chunks])

    def start_live(self, size: tuple[int, int], options: LiveOptions) -> Live:
        """What follows frames, all points of a stream together."""
        return self.tracker.start_live(size, options)

    def describe(self) -> dict:
        return super().describe() | {"points_at_once": self.points}


def _join_points(parts: list[Tracks]) -> Tracks:
    return map_tracks(lambda *values: torch.cat(values, dim=2), *parts)


def choose(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`yes` where the mask (…) is set, else `no`, both (…) or (…, 2)."""
    return torch.where(mask[..., None] if yes.ndim > mask.ndim else mask, yes, no)
