"""The published predictors' calls, on our trackers: `from cotracker.predictor import …`.

What differs from the published ones stands in docs/migrate.md. New programs are shorter with
`cotracker.load_tracker`, which gives all of Tracks.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from cotracker import checks
from cotracker.geometry import inside_frame, rescale_points, resize_video
from cotracker.queries import grid, inside_mask
from cotracker.trackers.build import load_chain
from cotracker.trackers.inputs import check_queries, check_video, five_axes, opened, to_tensor
from cotracker.trackers.options import SIDES, TrackerOptions
from cotracker.trackers.resized import Resized
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.wrappers import Bidirectional, Supported
from cotracker.tracks import Tracks

LONGEST = 2**20  # frames of a video that comes as it is made, for the check of its queries
SUPPORT_GRID = 6  # a side, added to queries and to the points of a mask


class Prediction(tuple):
    """(tracks B T N 2, visibility B T N bool), as published; beside them what it leaves out.

    confidence: B T N in 0..1, or None where the checkpoint has none.
    answer: the whole Tracks.
    """

    answer: Tracks

    def __new__(cls, answer: Tracks) -> "Prediction":
        made = super().__new__(cls, (answer.xy, answer.visible))
        made.answer = answer
        return made

    @property
    def confidence(self) -> Tensor | None:
        return self.answer.confidence


class _Predictor(nn.Module):
    """A checkpoint's network, the size that it works at, and what is asked of it."""

    online = False

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        offline: bool | None = None,
        v2: bool | None = None,
        window_len: int | None = None,
        resolution: tuple[int, int] = (384, 512),
        device: str = "cpu",
    ):
        super().__init__()
        options = TrackerOptions(resolution=None, support_grid=0, device=device)
        self.tracker = load_chain(checkpoint, options)
        if self.online and self.tracker.both_directions:
            raise ValueError(
                f"{checkpoint} sees clips as a whole: use CoTrackerPredictor, or an online file"
            )
        self.interp_shape = checks.pair("resolution", resolution, *SIDES, whole=True, ordered=False)

    @property
    def model(self) -> nn.Module:
        return self.tracker.model

    def _ask(
        self,
        shape: tuple[int, ...],
        queries: Tensor | None,
        segm_mask: Tensor | None,
        grid_size: int,
        grid_query_frame: int,
    ) -> tuple[Tensor, int]:
        """Queries B N 3 in pixels of a video of this shape, and the side of the support grid."""
        size = tuple(shape[-2:])
        if queries is not None:
            return queries, SUPPORT_GRID
        if checks.whole("grid_size", grid_size, 0) == 0:
            raise ValueError(
                "pass queries, or a grid_size above 0; for every pixel, "
                "load_tracker(…).encode(video).dense() gives dense tracks"
            )
        frame = checks.whole("grid_query_frame", grid_query_frame, 0)
        points = grid(grid_size, self.interp_shape, frame)
        if segm_mask is not None:
            points = inside_mask(points, self._fit_mask(segm_mask, frame))
        if self.tracker.v1_compat:
            ratio = [size[1] / self.interp_shape[1], size[0] / self.interp_shape[0]]
            points[..., 1:] *= points.new_tensor(ratio)
        else:
            points[..., 1:] = rescale_points(points[..., 1:], self.interp_shape, size)
        return points.expand(shape[0], -1, -1), 0 if segm_mask is None else SUPPORT_GRID

    def _fit_mask(self, mask: Tensor, frame: int) -> Tensor:
        """H W of the working size, of a mask B 1 H W, or of one for each frame."""
        mask = mask if isinstance(mask, Tensor) else to_tensor("segm_mask", mask)
        if mask.ndim < 2 or not mask.numel():
            raise ValueError(f"segm_mask must have shape B 1 H W, not {tuple(mask.shape)}")
        planes = mask.reshape(-1, 1, *mask.shape[-2:]).float()
        plane = planes[min(frame, len(planes) - 1)]
        return nn.functional.interpolate(plane[None], self.interp_shape, mode="nearest")[0, 0].cpu()


class CoTrackerPredictor(_Predictor):
    """Tracks a whole video; called as the published predictor of this name.

    checkpoint: a file of ours or a published one, the name of one of ours, or None for ours.
    offline, v2, window_len: the file itself tells them, so nothing depends on them.
    resolution: (H, W) that the network sees, `interp_shape` of the published one.
    device: "cpu" as published, where `.to(device)` follows; "auto" takes a GPU.
    """

    def forward(
        self,
        video: Tensor,
        queries: Tensor | None = None,
        segm_mask: Tensor | None = None,
        grid_size: int = 0,
        grid_query_frame: int = 0,
        backward_tracking: bool = False,
    ) -> Prediction:
        """The Prediction of queries, or of a grid, perhaps within a mask.

        video: B T 3 H W of 0..255, or what a tracker takes beside it (Tracker.__call__).
        queries: B N 3 (t, x, y) in pixels of the video.
        segm_mask: B 1 H W: only points of the grid where it is not 0; with one mask a frame, that
            of the query frame.
        grid_size: side of the grid in frame `grid_query_frame`.
        backward_tracking: before the query's frame too; a network that sees clips as a whole
            tracks there always.
        ValueError, one sentence, for what cannot be.
        """
        with opened(video) as source, torch.no_grad():
            shape = source.shape
            asked, support = self._ask(shape, queries, segm_mask, grid_size, grid_query_frame)
            answer = self._chain(backward_tracking, support)(source, asked)
        return Prediction(_write_queries(answer, answer.queries))

    def _chain(self, backward_tracking: bool, support: int) -> Tracker:
        """The tracker of one call; support: side of the grid beside what is asked."""
        chain = self.tracker
        if backward_tracking and not chain.both_directions:
            chain = Bidirectional(chain, chain.v1_compat)
        if support:
            chain = Supported(chain, support, 0, v1_compat=self.tracker.v1_compat)
        return Resized(chain, self.interp_shape, self.tracker.v1_compat)


class CoTrackerOnlinePredictor(_Predictor):
    """Tracks a video as it comes; called as the published predictor of this name.

    The first call, with is_first_step, says what is tracked and gives (None, None). Then each call
    takes the frames of a window, `2 * step` of them or at the end fewer, the first `step` of which
    the call before had too; it gives the tracks of all frames so far.
    step: half the network's window. The arguments are those of CoTrackerPredictor.
    """

    online = True
    _queries: Tensor | None = None

    @property
    def step(self) -> int:
        return self.model.window // 2

    @torch.no_grad()
    def forward(
        self,
        video_chunk: Tensor,
        is_first_step: bool = False,
        queries: Tensor | None = None,
        segm_mask: Tensor | None = None,
        grid_size: int = 5,
        grid_query_frame: int = 0,
        add_support_grid: bool = False,
    ) -> Prediction | tuple[None, None]:
        """(None, None) of the first step, then the Prediction of the frames so far.

        Only the first step reads the arguments behind `is_first_step`.
        """
        if not isinstance(video_chunk, Tensor):
            video_chunk = to_tensor("video_chunk", video_chunk)
        video_chunk = five_axes(video_chunk)
        if is_first_step:
            shape = check_video(video_chunk)
            asked, _ = self._ask(shape, queries, segm_mask, grid_size, grid_query_frame)
            self._begin(asked, add_support_grid, video_chunk)
            return None, None
        if self._queries is None:
            raise ValueError("call it with is_first_step=True first, to say what is tracked")
        frames = resize_video(video_chunk, self.interp_shape)
        maps = self.model.encode(frames.to(self.tracker.device))
        self._state, estimate = self.model.step(self._state, maps, self.tracker.iters)
        self._write(estimate)
        return Prediction(self._answer(tuple(video_chunk.shape[-2:])))

    def _begin(self, asked: object, support: bool, chunk: Tensor) -> None:
        """Sets what is tracked from now on, in the pixels of a chunk's frames."""
        batch, size = len(chunk), tuple(chunk.shape[-2:])
        endless = torch.zeros(1, dtype=torch.uint8).expand(batch, LONGEST, 3, *size)
        self._queries = check_queries(asked, endless).to(chunk.device)
        scaled = rescale_points(self._queries[..., 1:], size, self.interp_shape)
        points = torch.cat([self._queries[..., :1], scaled], dim=-1).to(self.tracker.device)
        if support:
            added = grid(SUPPORT_GRID, self.interp_shape).to(points)
            points = torch.cat([points, added.expand(len(points), -1, -1)], dim=1)
        self._state = self.model.begin(points)
        self._told = points.new_zeros(len(points), 0, points.shape[1], 4)  # x, y and two logits

    def _write(self, estimate) -> None:
        """Joins a window's answer to the ones before; the later one stands."""
        confidence = estimate.confidence[-1] if estimate.confidence else estimate.logits
        logits = torch.stack([estimate.logits, confidence], dim=-1)
        window = torch.cat([estimate.tracks[-1], logits], dim=-1)
        start, stop = estimate.start, estimate.start + window.shape[1]
        before = self._told.new_zeros(
            len(window), max(0, stop - self._told.shape[1]), *window.shape[2:]
        )
        self._told = torch.cat([self._told, before], dim=1)
        active = estimate.active[:, None, :, None]
        self._told[:, start:stop] = torch.where(active, window, self._told[:, start:stop])

    def _answer(self, size: tuple[int, int]) -> Tracks:
        """The Tracks of all frames so far, in the pixels of frames of `size`."""
        told = self._told[:, :, : self._queries.shape[1]].to(self._queries.device)
        xy = rescale_points(told[..., :2], self.interp_shape, size)
        visibility, confidence = told[..., 2:].sigmoid().unbind(-1)
        confidence = None if self.tracker.confidence_px is None else confidence
        visible = self.tracker.rule(visibility, confidence) & inside_frame(xy, size)
        time = torch.arange(xy.shape[1], device=xy.device)[:, None]
        unseen = time < self._queries[:, None, :, 0]
        xy = torch.where(unseen[..., None], self._queries[:, None, :, 1:], xy)
        visibility = torch.where(unseen, 0.0, visibility)
        answer = Tracks(xy, visibility, visible & ~unseen, confidence, self._queries, size=size)
        return _write_queries(answer, self._queries)


def _write_queries(answer: Tracks, queries: Tensor) -> Tracks:
    """The answer with each point's query, seen, in the query's own frame."""
    time = torch.arange(answer.xy.shape[1], device=answer.xy.device)[:, None]
    here = time == queries[:, None, :, 0]
    xy = torch.where(here[..., None], queries[:, None, :, 1:], answer.xy)
    return replace(answer, xy=xy, visible=answer.visible | here)
