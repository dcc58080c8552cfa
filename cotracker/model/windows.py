"""Windows that overlap by half, and what passes from one to the next (section 3.2)."""

from typing import NamedTuple

import torch
from torch import Tensor

FIRST_LOGIT = 10.0  # of the visibility of a point in its query's frame: surely seen


class WindowState(NamedTuple):
    """What passes from window to window; tracks and logits are the last window's."""

    queries: Tensor  # B N 3 (t, x, y), t counted from the video's first frame
    point_mask: Tensor  # B N bool, False for padded points
    track_feat: Tensor  # B N C, Q of eq. 1: sampled where and when the query is
    tracks: Tensor  # B S N 2, pixels
    logits: Tensor  # B S N, visibility
    start: int  # first frame of the next window
    confidence: Tensor | None = None  # B S N, logits, of a network that has it


class Estimate(NamedTuple):
    """One window's answer: all iterations' tracks for the loss, the last one's for use."""

    start: int
    tracks: list[Tensor]  # M times B S N 2, pixels
    logits: Tensor  # B S N, visibility
    active: Tensor  # B N bool: the point had been queried by the end of this window
    visibility: list[Tensor] | None = None  # of a network that iterates it: M times B S N, logits
    confidence: list[Tensor] | None = None  # likewise; of one that only reads it, its last alone


def window_starts(frames: int, window: int) -> list[int]:
    """First frames of the windows over a clip: J = ceil(2 T'/T - 1) of them, at least one."""
    return list(range(0, max(1, frames - window // 2), window // 2))


def split_windows(maps: list[Tensor], window: int) -> list[list[Tensor]]:
    """The maps of each window, B S h w C a level: views."""
    starts = window_starts(maps[0].shape[1], window)
    return [list(levels) for levels in zip(*(_Split.apply(m, starts, window) for m in maps))]


class _Split(torch.autograd.Function):
    """Overlapping slices of frames, whose gradients are summed in one tensor of all frames."""

    @staticmethod
    def forward(ctx, maps: Tensor, starts: list[int], window: int) -> tuple[Tensor, ...]:
        ctx.shape, ctx.starts = maps.shape, starts
        return tuple(maps[:, start : start + window] for start in starts)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        total = gradients[0].new_zeros(ctx.shape)
        for start, gradient in zip(ctx.starts, gradients):
            total[:, start : start + gradient.shape[1]] += gradient
        return total, None, None


def start_state(
    queries: Tensor, point_mask: Tensor | None, window: int, channels: int
) -> WindowState:
    """The WindowState before the first window, for queries B N 3; point_mask B N (None: all)."""
    if point_mask is None:
        point_mask = torch.ones_like(queries[..., 0], dtype=torch.bool)
    queries = torch.where(point_mask[..., None], queries.float(), 0.0)
    track_feat = queries.new_zeros(*queries.shape[:2], channels)
    tracks = queries[:, None, :, 1:].expand(-1, window, -1, -1)
    logits = tracks.new_full(tracks.shape[:-1], FIRST_LOGIT)
    return WindowState(queries, point_mask, track_feat, tracks, logits, 0)


def start_tracks(state: WindowState, carried: Tensor) -> tuple[Tensor, Tensor]:
    """Tracks B S N 2 and logits B S N that a window starts from.

    carried: B N bool, the points of the window before, which start from its second half and copies
    of its last frame.  All others start from their query (eq. 1).
    """
    window = state.tracks.shape[1]
    tracks = state.queries[:, None, :, 1:].expand(-1, window, -1, -1)
    if state.start == 0:
        return tracks, torch.full_like(tracks[..., 0], FIRST_LOGIT)
    carried = carried[:, None]
    tracks = torch.where(carried[..., None], shift_by_half(state.tracks), tracks)
    return tracks, torch.where(carried, shift_by_half(state.logits), FIRST_LOGIT)


def shift_by_half(x: Tensor) -> Tensor:
    """B S ...: the second half first, then as often its last frame."""
    half = x.shape[1] // 2
    return torch.cat([x[:, half:], x[:, -1:].expand_as(x[:, :half])], dim=1)


def repeat_last_frame(maps: Tensor, frames: int) -> Tensor:
    """Maps B S h w C filled up to `frames` frames with copies of the last one."""
    missing = frames - maps.shape[1]
    if missing <= 0:
        return maps
    return torch.cat([maps, maps[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)


def extrapolate(tracks: Tensor, frames: int) -> Tensor:
    """Tracks B frames N 2 that go on from B S N 2 at the mean velocity of its last quarter."""
    span = max(1, tracks.shape[1] // 4)
    velocity = (tracks[:, -1:] - tracks[:, -1 - span : -span]) / span
    ahead = torch.arange(1, frames + 1, device=tracks.device)[:, None, None]
    return tracks[:, -1:] + ahead * velocity
