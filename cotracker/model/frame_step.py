"""One frame at a time: the newest frame is refined, those before it stay as they are.

What attention over time reads of a frame before, its keys and values, is kept: its correlations,
its motion and all else that the newest frame asks of it are in them.  Half a window's frames are
read anew when the window is full; so the newest frame alone goes through an iteration.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cotracker.model.correlation import correlate
from cotracker.model.cotracker import CoTracker
from cotracker.model.cotracker3 import CoTracker3
from cotracker.model.transformer import Past
from cotracker.model.windows import FIRST_LOGIT

LONG_AGO = -(2**20)  # frames before the newest; older queries stay there, that numbers stay small

Network = CoTracker | CoTracker3


class Refined(NamedTuple):
    """What iterations change, of S frames."""

    coords: Tensor  # 1 S N 2, cells
    feat: Tensor  # 1 S N C
    logits: Tensor  # 1 S N L, of visibility and, of a network that has it, of confidence


class FrameState(NamedTuple):
    """What passes from frame to frame, for one clip; P frames are behind."""

    queries: Tensor  # 1 N 3 (t, x, y), t counted from the frame to come
    track_feat: Tensor  # 1 N C or 1 N K C, of each query's own frame
    tracks: Tensor  # 1 P N 2, pixels; before a query its position
    logits: Tensor  # 1 P N L
    maps: list[list[Tensor]]  # 1 1 h w C a level, of each of the frames
    past: Past | None = None  # of these frames; None: to be read anew

    def tensors(self) -> list[Tensor]:
        maps = [level for levels in self.maps for level in levels]
        return [*self[:4], *maps, *(self.past.layers if self.past else ())]


def begin_frames(model: Network) -> FrameState:
    """The FrameState before the first frame, without points."""
    device = model.frequencies.device
    queries = torch.zeros(1, 0, 3, device=device)
    feat = model.begin(queries).track_feat
    channels = 2 if model.has_confidence else 1
    none = [queries.new_zeros(1, 0, 0, size) for size in (2, channels)]
    return FrameState(queries, feat, *none, [])


def add_points(model: Network, state: FrameState, queries: Tensor) -> FrameState:
    """The state with more points, 1 N 3, t counted from the frame to come, -1 at the earliest."""
    behind, count = state.tracks.shape[1], queries.shape[1]
    feat = model.begin(queries).track_feat
    logits = _first_logits(model, state, (1, behind, count))
    tracks = queries[:, None, :, 1:].expand(-1, behind, -1, -1)
    new = FrameState(queries, feat, tracks, logits, state.maps)
    if behind:
        new = _start_points(model, new, state.maps[-1], queries[..., 0] == -1)
    return FrameState(
        torch.cat([state.queries, new.queries], 1),
        torch.cat([state.track_feat, new.track_feat.to(state.track_feat.dtype)], 1),
        torch.cat([state.tracks, new.tracks], 2),
        torch.cat([state.logits, new.logits], 2),
        state.maps,
    )


def keep_points(state: FrameState, rows: Tensor) -> FrameState:
    """The state with these points alone."""
    return FrameState(
        state.queries[:, rows],
        state.track_feat[:, rows],
        state.tracks.index_select(2, rows),
        state.logits.index_select(2, rows),
        state.maps,
    )


def step_frame(
    model: Network, state: FrameState, maps: list[Tensor], iters: int, context: int
) -> tuple[FrameState, Tensor, Tensor]:
    """The next FrameState, and of its newest frame xy 1 1 N 2 and logits 1 1 N L.

    maps: of the newest frame, 1 1 h w C a level.
    iters: iterations of the newest frame.
    context: frames that are looked at together at most, the newest among them.
    """
    time = state.queries[..., 0]
    state = _start_points(model, state, maps, time == 0)
    if state.past is None or state.tracks.shape[1] >= context:
        state = _read_past(model, state, maps, context)
    tracks, logits = _guess(model, state)
    xy, told = _refine(model, state, maps, tracks, logits, iters, context)
    held = (time >= 0)[:, None, :, None]  # a query stays where it is
    xy = torch.where(held, state.queries[:, None, :, 1:], xy)
    told = torch.where(held, logits, told)
    queries = state.queries.clone()
    queries[..., 0] = (queries[..., 0] - 1).clamp(min=LONG_AGO)
    state = FrameState(
        queries,
        state.track_feat,
        torch.cat([state.tracks, xy], 1),
        torch.cat([state.logits, told], 1),
        [*state.maps, maps],
        state.past._replace(frames=state.past.frames + 1),
    )
    return state, xy, told


def _read_past(model: Network, state: FrameState, maps: list[Tensor], context: int) -> FrameState:
    """The state with half a window's frames alone, of which keys and values are made."""
    kept = slice(-(context // 2), None)
    state = state._replace(
        tracks=state.tracks[:, kept].clone(),  # a view would hold the frames before
        logits=state.logits[:, kept].clone(),
        maps=state.maps[kept],
    )
    points, frames = state.queries.shape[1], state.tracks.shape[1]
    past = model.transformer.make_past(state.tracks, points, context)
    if not frames:
        return state._replace(past=past)
    coords = state.tracks / model.stride
    behind = Refined(coords, _spread(model, state, frames), state.logits)
    levels = [torch.cat(level, 1) for level in zip(*state.maps)]
    corr = _look_up(model, levels, state.track_feat, behind)
    predicted = torch.zeros_like(coords[..., 0])
    embedding = _embed_place(model, coords[:, :1], maps, context, slice(0, frames))
    tokens = _make_tokens(model, model.embed_moves(coords), corr, behind, predicted, embedding)
    model.transformer.remember(tokens, _seen(model, state), past)
    return state._replace(past=past._replace(frames=frames))


def _guess(model: Network, state: FrameState) -> tuple[Tensor, Tensor]:
    """Tracks 1 1 N 2 and logits that the newest frame is refined from: those of the last one.

    As in the windows that networks are trained on.  To go on at the last velocity loses points
    where a camera shakes: 2 AJ and 8 OA on scenes3d_val.
    """
    if not state.tracks.shape[1]:
        first = _first_logits(model, state, (1, 1, state.queries.shape[1]))
        return state.queries[:, None, :, 1:], first
    return state.tracks[:, -1:], state.logits[:, -1:]


def _first_logits(model: Network, state: FrameState, shape: tuple[int, int, int]) -> Tensor:
    """Logits (*shape, L) in a query's frame and before it."""
    logits = state.queries.new_zeros(*shape, state.logits.shape[-1])
    iterated = isinstance(model, CoTracker3) and model.config.iterate_visibility
    if not iterated:
        logits[..., 0] = FIRST_LOGIT
    return logits


def _start_points(
    model: Network, state: FrameState, maps: list[Tensor], starting: Tensor
) -> FrameState:
    """The state where the points `starting`, 1 N, have read their features from these maps."""
    rows = starting[0].nonzero()[:, 0]
    if not len(rows):
        return state
    queries = state.queries[:, rows]
    here = torch.cat([torch.zeros_like(queries[..., :1]), queries[..., 1:]], dim=-1)
    feat = model.sample_track_feat(maps, here)
    track_feat = state.track_feat.to(feat.dtype).index_copy(1, rows, feat)
    return state._replace(track_feat=track_feat, past=None)


def _refine(
    model: Network,
    state: FrameState,
    maps: list[Tensor],
    tracks: Tensor,
    logits: Tensor,
    iters: int,
    context: int,
) -> tuple[Tensor, Tensor]:
    """xy 1 1 N 2 and logits 1 1 N L of the newest frame, refined from tracks and logits."""
    newest = Refined(tracks / model.stride, _spread(model, state, 1), logits)
    behind = torch.cat([state.tracks[:, :1], state.tracks[:, -1:]], 1) / model.stride
    predicted = (state.queries[:, None, :, 0] <= 0).float()
    place = state.past.frames
    first = behind[:, :1] if place else newest.coords
    embedding = _embed_place(model, first, maps, context, slice(place, place + 1))
    for _ in range(iters):
        corr = _look_up(model, maps, state.track_feat, newest)
        moves = model.embed_moves(torch.cat([behind, newest.coords], 1))[:, -1:]
        tokens = _make_tokens(model, moves, corr, newest, predicted, embedding)
        out = model.transformer(tokens, _seen(model, state), None, state.past)
        newest, read = _move(model, newest, out)
    logits = newest.logits if model.visibility is None else model.visibility(read).float()
    return newest.coords * model.stride, logits


def _seen(model: Network, state: FrameState) -> Tensor | None:
    """1 N: the points that others may read."""
    inactive = isinstance(model, CoTracker3) and model.config.attend_inactive
    return None if inactive else state.queries[..., 0] <= 0


def _spread(model: Network, state: FrameState, frames: int) -> Tensor:
    """The features 1 S N C that iterations begin with."""
    feat = state.track_feat
    if isinstance(model, CoTracker3):
        feat = feat[:, :, model.correlation.query_cells // 2].float()
    return feat[:, None].expand(-1, frames, -1, -1)


def _look_up(model: Network, maps: list[Tensor], track_feat: Tensor, at: Refined) -> Tensor:
    """Correlations 1 S N * with maps 1 S h w C."""
    if isinstance(model, CoTracker3):
        return model.correlation(maps, track_feat, at.coords)
    return correlate(maps, at.feat, at.coords, *model.neighbourhood)


def _embed_place(
    model: Network, first: Tensor, maps: list[Tensor], context: int, frames: slice
) -> Tensor:
    """What is added to tokens of these frames of a window; first: 1 1 N 2, positions in cells."""
    code = model.embed_place(first.expand(-1, context, -1, -1), maps[0])
    return code[:, frames] if code.ndim and code.shape[1] > 1 else code


def _make_tokens(
    model: Network, moves: Tensor, corr: Tensor, at: Refined, predicted: Tensor, embedding: Tensor
) -> Tensor:
    if isinstance(model, CoTracker3):
        return model.make_tokens(moves, corr, at.feat, at.logits, predicted, embedding)
    flags = torch.stack([predicted, at.logits[..., 0]], dim=-1)
    return model.make_tokens(moves, corr, at.feat, flags, embedding)


def _move(model: Network, at: Refined, out: Tensor) -> tuple[Refined, Tensor]:
    """What an iteration's tokens make of it, and what visibility is read from."""
    delta, read = model.read_delta(out)
    feat, logits = at.feat, at.logits
    if isinstance(model, CoTracker):
        feat = read = feat + read
    elif model.feature_update is not None:
        feat = read = feat + F.gelu(model.feature_update(read)).float()
    if delta.shape[-1] > 2:
        logits = logits + delta[..., 2:]
    return Refined(at.coords + delta[..., :2], feat, logits), read
