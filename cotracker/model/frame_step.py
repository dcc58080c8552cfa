"""One frame at a time: the newest frame is refined, those before it stay as they are.

A network whose features are fixed compares a past frame with the same features again and again:
its correlations are kept.  Of a network that updates features this is true of the first iteration.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cotracker.model.correlation import correlate
from cotracker.model.cotracker import CoTracker
from cotracker.model.cotracker3 import CoTracker3
from cotracker.model.windowed import WindowedNetwork
from cotracker.model.windows import FIRST_LOGIT

VELOCITY = 2  # frames that the velocity is the mean of
LONG_AGO = -(2**20)  # frames before the newest; older queries stay there, that numbers stay small


class FrameState(NamedTuple):
    """What passes from frame to frame, for one clip; P frames are behind."""

    queries: Tensor  # 1 N 3 (t, x, y), t counted from the frame to come
    track_feat: Tensor  # 1 N C or 1 N K C, of each query's own frame
    tracks: Tensor  # 1 P N 2, pixels; before a query its position
    logits: Tensor  # 1 P N L, of visibility and, of a network that has it, of confidence
    corr: Tensor  # 1 P N *, the correlations there
    maps: list[Tensor]  # 1 P h w C a level

    def tensors(self) -> list[Tensor]:
        return [*self[:-1], *self.maps]


def begin_frames(model: WindowedNetwork) -> FrameState:
    """The FrameState before the first frame, without points."""
    device = model.frequencies.device
    queries = torch.zeros(1, 0, 3, device=device)
    feat = model.begin(queries).track_feat
    channels = 2 if model.has_confidence else 1
    sizes = 2, channels, 1
    none = [queries.new_zeros(1, 0, 0, size) for size in sizes]
    return FrameState(queries, feat, *none, [])


def add_points(model: WindowedNetwork, state: FrameState, queries: Tensor) -> FrameState:
    """The state with more points, 1 N 3, t counted from the frame to come, -1 at the earliest."""
    behind, count = state.tracks.shape[1], queries.shape[1]
    feat = model.begin(queries).track_feat
    new_logits = _first_logits(model, state, (1, behind, count))
    tracks = queries[:, None, :, 1:].expand(-1, behind, -1, -1)
    corr = state.corr.new_zeros(1, behind, count, state.corr.shape[-1])
    new = FrameState(queries, feat, tracks, new_logits, corr, state.maps)
    if behind and (queries[..., 0] < 0).any():
        newest = [level[:, -1:] for level in state.maps]
        new = _start_points(model, new, newest, queries[..., 0] == -1)
    return _joined(state, new)


def keep_points(state: FrameState, rows: Tensor) -> FrameState:
    """The state with these points alone."""
    return FrameState(
        state.queries[:, rows],
        state.track_feat[:, rows],
        *(values.index_select(2, rows) for values in (state.tracks, state.logits, state.corr)),
        state.maps,
    )


def step_frame(
    model: WindowedNetwork, state: FrameState, maps: list[Tensor], iters: int, context: int
) -> tuple[FrameState, Tensor, Tensor]:
    """The next FrameState, and of its newest frame xy 1 1 N 2 and logits 1 1 N L.

    maps: of the newest frame, 1 1 h w C a level.
    iters: iterations of the newest frame.
    context: frames that are looked at together at most, the newest among them.
    """
    time = state.queries[..., 0]
    state = _start_points(model, state, maps, time == 0)
    tracks, logits = _extended(model, state)
    newest = torch.zeros_like(tracks[..., 0])
    newest[:, -1] = (time <= 0).float()
    refine = _refine3 if isinstance(model, CoTracker3) else _refine
    xy, told = refine(model, maps, state, tracks, logits, newest, time <= 0, iters)
    held = (time >= 0)[:, None, :, None]  # a query stays where it is
    xy = torch.where(held, state.queries[:, None, :, 1:], xy)
    told = torch.where(held, logits[:, -1:], told)
    corr = _look_up(model, maps, state.track_feat, xy)
    tracks, logits = torch.cat([tracks[:, :-1], xy], 1), torch.cat([logits[:, :-1], told], 1)
    corr = torch.cat([state.corr, corr], 1) if state.maps else corr
    all_maps = [torch.cat(pair, 1) for pair in zip(state.maps, maps)] if state.maps else maps
    queries = state.queries.clone()
    queries[..., 0] = (queries[..., 0] - 1).clamp(min=LONG_AGO)
    kept = slice(-(context - 1), None)
    state = FrameState(
        queries,
        state.track_feat,
        *(values[:, kept].clone() for values in (tracks, logits, corr)),
        [level[:, kept].clone() for level in all_maps],  # a view would hold the frames before
    )
    return state, xy, told


def _extended(model: WindowedNetwork, state: FrameState) -> tuple[Tensor, Tensor]:
    """Tracks 1 P+1 N 2 and logits that the newest frame is refined from: on at the velocity."""
    points = state.queries.shape[1]
    if not state.tracks.shape[1]:
        first = _first_logits(model, state, (1, 1, points))
        return state.queries[:, None, :, 1:], first
    span = min(VELOCITY, state.tracks.shape[1] - 1)
    last = state.tracks[:, -1:]
    ahead = last if not span else last + (last - state.tracks[:, -1 - span : -span or None]) / span
    tracks = torch.cat([state.tracks, ahead], dim=1)
    return tracks, torch.cat([state.logits, state.logits[:, -1:]], dim=1)


def _first_logits(model: WindowedNetwork, state: FrameState, shape: tuple[int, int, int]) -> Tensor:
    """Logits (*shape, L) in a query's frame and before it."""
    logits = state.queries.new_zeros(*shape, state.logits.shape[-1])
    iterated = isinstance(model, CoTracker3) and model.config.iterate_visibility
    if not iterated:
        logits[..., 0] = FIRST_LOGIT
    return logits


def _start_points(
    model: WindowedNetwork, state: FrameState, maps: list[Tensor], starting: Tensor
) -> FrameState:
    """The state where the points `starting`, 1 N, have read their features from these maps."""
    rows = starting[0].nonzero()[:, 0]
    if not len(rows):
        return state
    queries = state.queries[:, rows]
    here = torch.cat([torch.zeros_like(queries[..., :1]), queries[..., 1:]], dim=-1)
    feat = model.sample_track_feat(maps, here)
    track_feat = state.track_feat.to(feat.dtype).index_copy(1, rows, feat)
    corr = state.corr
    if state.maps:
        there = queries[:, None, :, 1:].expand(-1, state.maps[0].shape[1], -1, -1)
        corr = corr.index_copy(2, rows, _look_up(model, state.maps, feat, there))
    return state._replace(track_feat=track_feat, corr=corr)


def _joined(state: FrameState, new: FrameState) -> FrameState:
    return FrameState(
        torch.cat([state.queries, new.queries], 1),
        torch.cat([state.track_feat, new.track_feat.to(state.track_feat.dtype)], 1),
        *(torch.cat(pair, 2) for pair in zip(state[2:5], new[2:5])),
        state.maps,
    )


def _look_up(model: WindowedNetwork, maps: list[Tensor], feat: Tensor, xy: Tensor) -> Tensor:
    """Correlations 1 S N * of the queries' features with maps 1 S h w C at xy 1 S N 2."""
    cells = xy / model.stride
    if isinstance(model, CoTracker3):
        return model.correlation(maps, feat, cells)
    spread = feat[:, None].expand(-1, xy.shape[1], -1, -1)
    return correlate(maps, spread, cells, *model.neighbourhood)


def _refine(
    model: CoTracker,
    maps: list[Tensor],
    state: FrameState,
    tracks: Tensor,
    logits: Tensor,
    newest: Tensor,
    active: Tensor,
    iters: int,
) -> tuple[Tensor, Tensor]:
    """xy 1 1 N 2 and logits 1 1 N 1 of the newest frame, after iterations of CoTracker."""
    coords = tracks / model.stride
    feat = state.track_feat[:, None].expand(-1, tracks.shape[1], -1, -1)
    pos_embed = model.embed_position(coords, maps[0])
    flags = torch.stack([newest, logits[..., 0]], dim=-1)
    for _ in range(iters):
        corr = correlate(maps, feat[:, -1:], coords[:, -1:], *model.neighbourhood)
        corr = torch.cat([state.corr, corr], 1) if state.maps else corr
        moved, changed = model.update(coords, corr, feat, flags, pos_embed, active, None)
        coords = torch.cat([coords[:, :-1], coords[:, -1:] + moved[:, -1:]], dim=1)
        feat = feat + changed
    return coords[:, -1:] * model.stride, model.visibility(feat[:, -1:]).float()


def _refine3(
    model: CoTracker3,
    maps: list[Tensor],
    state: FrameState,
    tracks: Tensor,
    logits: Tensor,
    newest: Tensor,
    active: Tensor,
    iters: int,
) -> tuple[Tensor, Tensor]:
    """As _refine, of CoTracker3: logits 1 1 N 2, of visibility and confidence."""
    coords = tracks / model.stride
    centre = state.track_feat[:, :, model.correlation.query_cells // 2]
    feat = centre[:, None].expand(-1, tracks.shape[1], -1, -1).float()
    embedding = model.embed_place(coords, maps[0], None)
    seen = None if model.config.attend_inactive else active
    for _ in range(iters):
        corr = model.correlation(maps, state.track_feat, coords[:, -1:])
        corr = torch.cat([state.corr, corr], 1) if state.maps else corr
        delta, read = model.update(coords, corr, feat, logits, newest, embedding, seen, None)
        coords = torch.cat([coords[:, :-1], coords[:, -1:] + delta[:, -1:, :, :2]], dim=1)
        if model.config.iterate_visibility:
            logits = torch.cat([logits[:, :-1], logits[:, -1:] + delta[:, -1:, :, 2:4]], dim=1)
        if model.feature_update is not None:
            feat = feat + F.gelu(model.feature_update(read)).float()
    if model.visibility is not None:
        last = (read if model.feature_update is None else feat)[:, -1:]
        return coords[:, -1:] * model.stride, model.visibility(last).float()
    return coords[:, -1:] * model.stride, logits[:, -1:]
