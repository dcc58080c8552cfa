"""Trackers around trackers: each changes the question on the way in and undoes exactly that on the way out.

The paper's evaluation, from outside in, is Resized(OneByOne(Supported(CoTrackerPredictor))): build_chain makes it, less
what is switched off. Around it stand Chunked, for memory, and outermost Bidirectional, where both directions are asked.
"""

import torch
from torch import Tensor

from cotracker.geometry import rescale_points, time_reversed
from cotracker.queries import around, grid
from cotracker.trackers.tracker import Tracker, check_queries, held_near
from cotracker.trackers.views import ResizedVideo, ReversedVideo, SharedVideo
from cotracker.types import Tracks, Video


class Wrapper(Tracker):
    """Holds the tracker it wraps; answers as it does unless a subclass changes that."""

    def __init__(self, tracker: Tracker):
        super().__init__()
        self.tracker = tracker
        self.both_directions = tracker.both_directions

    def describe(self) -> dict:
        return self.tracker.describe()


class Resized(Wrapper):
    """Tracks at `size` (H, W), each frame resized when it is read; answers in the pixels of the video given.

    published=True repeats v1: frames resized without align_corners, points by the plain ratio W'/W.
    """

    def __init__(
        self, tracker: Tracker, size: tuple[int, int] = (384, 512), published: bool = False
    ):
        super().__init__(tracker)
        self.size, self.published = tuple(size), published

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        queries = check_queries(queries, video)
        size = tuple(video.shape[-2:])
        inner = torch.cat(
            [queries[..., :1], self._rescaled(queries[..., 1:], size, self.size)], dim=-1
        )
        inner = held_near(inner, self.size)
        answer = self.tracker(
            ResizedVideo(video, self.size, align_corners=not self.published), inner
        )
        xy = self._rescaled(answer.xy, self.size, size)
        if not self.published:  # there and back again would move a query by rounding
            unmoved = (answer.xy == inner[:, None, :, 1:]).all(dim=-1, keepdim=True)
            xy = torch.where(unmoved, queries[:, None, :, 1:], xy)
        return Tracks(xy, answer.visibility, answer.visible)

    def _rescaled(self, xy: Tensor, size: tuple[int, int], to: tuple[int, int]) -> Tensor:
        if self.published:
            return xy * xy.new_tensor([to[1] / size[1], to[0] / size[0]])
        return rescale_points(xy, size, to)

    def describe(self) -> dict:
        return super().describe() | {
            "resolution": list(self.size),
            "published_resize": self.published,
        }


class Supported(Wrapper):
    """Adds support points, which only help (figure 5), and takes them out of the answer.

    global_grid x global_grid points over the picture in the first frame of the video handed over, and
    local_grid x local_grid points in a square of `box` pixels around each query in the query's frame; 0 for none.
    published=True shifts the local grid off its centre as v1 does.
    """

    def __init__(
        self,
        tracker: Tracker,
        global_grid: int = 6,
        local_grid: int = 6,
        box: float = 50,
        published: bool = False,
    ):
        super().__init__(tracker)
        self.global_grid, self.local_grid, self.box, self.published = (
            global_grid,
            local_grid,
            box,
            published,
        )

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        queries = check_queries(queries, video)
        batch, points, _ = queries.shape
        asked = [queries]
        if self.local_grid:
            near = around(
                queries[..., 1:], self.local_grid, self.box, centred=not self.published
            )  # B N K 2
            time = queries[..., None, :1].expand(-1, -1, near.shape[2], -1)
            near = torch.cat([time, near], dim=-1).flatten(1, 2)
            asked.append(held_near(near, tuple(video.shape[-2:])))
        if self.global_grid:
            asked.append(
                grid(self.global_grid, tuple(video.shape[-2:])).to(queries).expand(batch, -1, -1)
            )
        answer = self.tracker(video, torch.cat(asked, dim=1))
        return Tracks(
            answer.xy[:, :, :points],
            answer.visibility[:, :, :points],
            answer.visible[:, :, :points],
        )

    def describe(self) -> dict:
        support = {
            "global_grid": self.global_grid,
            "local_grid": self.local_grid,
            "local_box": self.box,
        }
        return super().describe() | {
            "support": support | {"local_grid_centred": not self.published}
        }


class OneByOne(Wrapper):
    """Tracks each query by itself, from its own frame on (section 3.5, "single target point").

    Queries of one frame are asked together, as a batch over the one video, at most `at_once` at a time; the tracker
    can keep what it computed from a frame for all of them (views.SharedVideo), in `memory` bytes.
    """

    def __init__(self, tracker: Tracker, at_once: int = 24, memory: float = 2e9):
        super().__init__(tracker)
        self.at_once, self.memory = at_once, memory

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        queries = check_queries(queries, video)
        answers = [self._one_video(_item(video, b), queries[b]) for b in range(queries.shape[0])]
        return Tracks(*(torch.stack(parts) for parts in zip(*answers)))

    def _one_video(self, video: Video, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """xy T N 2, visibility T N, visible T N of queries N 3."""
        shared = SharedVideo(video, budget=self.memory)
        frames, points = video.shape[1], queries.shape[0]
        xy = queries[:, 1:].expand(frames, -1, -1).clone()
        visibility = queries.new_zeros(frames, points)
        visible = torch.zeros(frames, points, dtype=torch.bool, device=queries.device)
        for start in queries[:, 0].unique().long().tolist():
            view = shared.starting(start)
            for some in (queries[:, 0] == start).nonzero()[:, 0].split(self.at_once):
                alone = torch.cat([torch.zeros_like(queries[some, :1]), queries[some, 1:]], dim=-1)[
                    :, None
                ]
                answer = self.tracker(view, alone)  # K T-start 1
                xy[start:, some] = answer.xy[:, :, 0].transpose(0, 1)
                visibility[start:, some] = answer.visibility[:, :, 0].transpose(0, 1)
                visible[start:, some] = answer.visible[:, :, 0].transpose(0, 1)
        return xy, visibility, visible

    def describe(self) -> dict:
        return super().describe() | {"points": "single"}


class Reversed(Wrapper):
    """Tracks backwards in time: the frames before each query; after it the query is repeated, unseen."""

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        queries = check_queries(queries, video)
        answer = self.tracker(ReversedVideo(video), time_reversed(queries, video.shape[1]))
        return Tracks(answer.xy.flip(1), answer.visibility.flip(1), answer.visible.flip(1))

    def describe(self) -> dict:
        return super().describe() | {"direction": "backward"}


class Bidirectional(Wrapper):
    """Tracks forwards from each query and, on the reversed video, backwards: joined at the query's frame.

    published=True joins as v1 does: backward numbers stand where the forward ones are exactly 0.
    """

    def __init__(self, tracker: Tracker, published: bool = False):
        super().__init__(tracker)
        self.both_directions, self.published = True, published
        self.backward = Reversed(tracker)

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        queries = check_queries(queries, video)
        forth, back = self.tracker(video, queries), self.backward(video, queries)
        time = torch.arange(video.shape[1], device=queries.device)[:, None]
        before = time < queries[:, None, :, 0]  # B T N
        place = before[..., None].expand_as(forth.xy)
        if self.published:
            place = forth.xy == 0
            before = place[..., 0]
        return Tracks(
            torch.where(place, back.xy, forth.xy),
            torch.where(before, back.visibility, forth.visibility),
            torch.where(before, back.visible, forth.visible),
        )

    def describe(self) -> dict:
        return super().describe() | {"direction": "both"}


class Chunked(Wrapper):
    """Tracks at most `points` queries at a time, so that memory does not grow with their number.

    Frames need no turns: the tracker inside holds no more of them than its window does, however long the video.
    Points of different turns do not see each other; a Supported inside gives each turn its own support.
    """

    def __init__(self, tracker: Tracker, points: int = 1024):
        super().__init__(tracker)
        if points < 1:
            raise ValueError(f"Chunked needs at least 1 point at a time, not {points}")
        self.points = points

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        queries = check_queries(queries, video)
        turns = queries.split(self.points, dim=1) if queries.shape[1] else (queries,)
        answers = [self.tracker(video, turn) for turn in turns]
        parts = zip(*((a.xy, a.visibility, a.visible) for a in answers))
        return Tracks(*(torch.cat(part, dim=2) for part in parts))

    def describe(self) -> dict:
        return super().describe() | {"points_at_once": self.points}


class _Item:
    """One clip of a batch of videos, as a video."""

    def __init__(self, video: Video, item: int):
        self.video, self.item, self.shape = video, item, (1, *video.shape[1:])

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        return self.video[:, index[1]][self.item : self.item + 1]


def _item(video: Video, item: int) -> Video:
    return video if video.shape[0] == 1 else _Item(video, item)
