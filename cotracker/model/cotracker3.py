"""CoTracker3: patches are matched, and visibility and confidence are refined beside the positions.

`CoTracker3()` is the paper's online model, `CoTracker3(**OFFLINE)` its offline one.  Other settings
reach from there to CoTracker with its correlation exchanged for that of patches.  A step over one
window is `refine`, M iterations of it; see windowed.py for the loop around it.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker.model.config import CoTracker3Config
from cotracker.model.embeddings import (
    embed_cells,
    embed_frames,
    embed_motion,
    embed_neighbours,
    stretch_frames,
    wave_frequencies,
)
from cotracker.model.encoder import pyramid
from cotracker.model.patch_correlation import PatchCorrelation
from cotracker.model.runtime import recomputed
from cotracker.model.transformer import Transformer
from cotracker.model.windowed import (
    WindowedNetwork,
    clear_padding,
    find_queries,
    window_frames,
)
from cotracker.model.windows import (
    FIRST_LOGIT,
    Estimate,
    WindowState,
    extrapolate,
    repeat_last_frame,
    shift_by_half,
)

OFFLINE = {"window": None, "time_table": 60}  # the paper's model that sees a clip as a whole
V3_COMPAT = {  # what the published online code does: a short last window is filled up with copies
    "repeat_last_frame": True,
    "attend_inactive": True,  # points are seen by others before they are queried
}
WHOLE_CLIP = 2**20  # the window, in frames, of a model that sees clips as a whole


class CoTracker3(WindowedNetwork):
    """The tracker network of a CoTracker3Config, or of its fields by name."""

    has_confidence = True

    def __init__(self, config: CoTracker3Config | None = None, **fields):
        config = config or CoTracker3Config(**fields)
        super().__init__(config, config.window or WHOLE_CLIP, normalise=False)
        iterated, waves = config.iterate_visibility, config.motion_waves
        neighbours = config.motion == "neighbours"
        frequencies = 2.0 ** torch.arange(waves) if neighbours else wave_frequencies(waves)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.correlation = PatchCorrelation(
            config.levels,
            config.query_radius,
            config.search_radius,
            config.corr_hidden,
            config.corr_channels,
            config.corr_gain,
        )
        self.read_at = 2 + 2 * iterated  # the first of the outputs that are features
        self.reads_features = config.track_feat == "updated" or not iterated
        moved = 4 + 8 * waves if neighbours else 2 + 4 * waves
        appearance = 0 if config.track_feat == "none" else config.channels
        flags = 1 + iterated + config.query_flag
        self.transformer = Transformer(
            inputs=flags + config.levels * config.corr_channels + moved + appearance,
            outputs=self.read_at + config.channels * self.reads_features,
            config=config,
            relative_time=config.time_code == "relative",
        )
        if iterated:  # or what untrained iterations add up to is a loss that drowns the positions'
            nn.init.normal_(self.transformer.head.weight.data[2:4], std=1e-3)
            nn.init.zeros_(self.transformer.head.bias.data[2:4])
        self.feature_norm = nn.LayerNorm(config.channels) if self.reads_features else None
        updated = config.track_feat == "updated"
        self.feature_update = nn.Linear(config.channels, config.channels) if updated else None
        self.visibility = None if iterated else nn.Linear(config.channels, 2)

    def build_pyramid(self, maps: Tensor) -> list[Tensor]:
        """The levels K h w C of maps K C h w; cells of norm sqrt(C), so products are cosines."""
        maps = normalise(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        levels = pyramid(maps, self.config.levels)
        return [normalise(level) for level in levels] if self.config.normalise_levels else levels

    def begin(self, queries: Tensor, point_mask: Tensor | None = None) -> WindowState:
        """The WindowState before the first window; point_mask B N: False for padded points."""
        if point_mask is None:
            point_mask = torch.ones_like(queries[..., 0], dtype=torch.bool)
        queries = torch.where(point_mask[..., None], queries.float(), 0.0)
        batch, points, _ = queries.shape
        cells = self.config.levels * self.correlation.query_cells
        none = torch.zeros((), dtype=self.dtype, device=queries.device)
        patches = none.expand(batch, points, cells, self.config.channels)  # one number's memory
        window = self.config.window or 1  # of whole clips there is no window before
        tracks = queries[:, None, :, 1:].expand(-1, window, -1, -1)
        logits = torch.zeros_like(tracks[..., 0])
        return WindowState(queries, point_mask, patches, tracks, logits, 0, logits)

    def sample_track_feat(
        self, maps: list[Tensor], queries: Tensor, point_mask: Tensor | None = None
    ) -> Tensor:
        """The patches of all queries at once, as in a WindowState, from a whole video's maps."""
        state = self.begin(queries, point_mask)
        return self._sample_new(state, maps, torch.zeros_like(state.point_mask))

    def step(
        self,
        state: WindowState,
        maps: list[Tensor],
        iters: int | None = None,
        frame_mask: Tensor | None = None,
        refine: Callable | None = None,
        carried: Tensor | None = None,
    ) -> tuple[WindowState, Estimate]:
        start, length = state.start, maps[0].shape[1]
        maps = clear_padding(maps, frame_mask)
        carried = self._carried(state) if carried is None else carried
        active = state.point_mask & (state.queries[..., 0] < start + length)
        patches = self._sample_new(state, maps, carried)
        window = self.window if self.config.repeat_last_frame else length
        tracks, logits = self._start(state, carried, window)
        predicted = self._predicted(state, carried, window)
        if self.config.repeat_last_frame:
            maps = [repeat_last_frame(level, window) for level in maps]
            predicted = predicted & (window_frames(state, window) < start + length)
        seen = state.point_mask if self.config.attend_inactive else active
        tracks, logits = (refine or self.refine)(
            maps,
            patches,
            tracks,
            logits,
            predicted.float(),
            seen,
            frame_mask,
            iters or self.iters,
        )
        visibility, confidence = ([some[..., k] for some in logits] for k in (0, 1))
        state = WindowState(
            state.queries,
            state.point_mask,
            patches,
            tracks[-1],
            visibility[-1],
            start + self.window // 2,
            confidence[-1],
        )
        tracks, visibility, confidence = (
            [some[:, :length] for some in each] for each in (tracks, visibility, confidence)
        )
        return state, Estimate(start, tracks, visibility[-1], active, visibility, confidence)

    def refine(
        self,
        maps: list[Tensor],
        patches: Tensor,
        tracks: Tensor,
        logits: Tensor,
        predicted: Tensor,
        active: Tensor | None,
        frame_mask: Tensor | None,
        iters: int,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """M iterations of one window: tracks and logits of each, or the last logits alone.

        maps: b S h w C a level.
        patches: around the queries, B N K C.
        tracks: B S N 2 pixels to start from, as each of what comes out.
        logits: B S N 2 to start from, of visibility and confidence, as each of what comes out.
        predicted: B S N, 1 in frames that are to be predicted.
        active, frame_mask: B N and B S, the points and frames that others may read; None: all.
        """
        look_up = recomputed(self.correlation, self.config.recompute)
        update = recomputed(self.update, self.config.recompute)
        coords = tracks / self.stride  # in cells
        centre = patches[:, :, self.correlation.query_cells // 2]
        track_feat = centre[:, None].expand(-1, tracks.shape[1], -1, -1).float()  # B S N C
        embedding = self.embed_place(coords, maps[0], frame_mask)
        outputs, read = ([], []), None
        for _ in range(iters):
            coords = coords.detach()
            tokens = self.make_tokens(
                self.embed_moves(coords, frame_mask),
                look_up(maps, patches, coords),  # not kept by name: the largest but for the tokens
                track_feat,
                logits,
                predicted,
                embedding,
            )
            delta, read = update(tokens, active, frame_mask)
            del tokens
            coords = coords + delta[..., :2]
            if self.config.iterate_visibility:
                logits = logits + delta[..., 2:4]
            if self.feature_update is not None:
                track_feat = track_feat + F.gelu(self.feature_update(read)).float()
            outputs[0].append(coords * self.stride)
            outputs[1].append(logits)
        if self.visibility is not None:
            feat = read if self.feature_update is None else track_feat
            return outputs[0], [self.visibility(feat).float()]
        return outputs

    def update(
        self, tokens: Tensor, active: Tensor | None, frame_mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Changes B S N (2 or 4) of positions in cells and of logits; features B S N C, or None."""
        return self.read_delta(self.transformer(tokens, active, frame_mask))

    def make_tokens(
        self,
        moves: Tensor,
        corr: Tensor,
        track_feat: Tensor,
        logits: Tensor,
        predicted: Tensor,
        embedding: Tensor,
    ) -> Tensor:
        """Tokens B S N G; moves: of `embed_moves`; embedding: of `embed_place`; see `refine`."""
        config = self.config
        parts = [logits if config.iterate_visibility else logits[..., :1], corr, moves]
        parts += [] if config.track_feat == "none" else [track_feat]
        parts += [predicted[..., None]] if config.query_flag else []
        return torch.cat(parts, dim=-1).add_(embedding)

    def read_delta(self, out: Tensor) -> tuple[Tensor, Tensor | None]:
        """Changes and features, as of `update`, of what the transformer gives."""
        out = out.float()
        read = self.feature_norm(out[..., self.read_at :]) if self.reads_features else None
        return out[..., : self.read_at], read

    def _sample_new(self, state: WindowState, maps: list[Tensor], carried: Tensor) -> Tensor:
        """Patches B N K C: read for queries whose frame is first seen here, else kept."""
        here, which = find_queries(state, maps[0], carried)
        cells = state.queries[..., 1:] / self.stride
        patches = self.correlation.read_queries(maps, which, cells)
        return torch.where(here[..., None, None], patches, state.track_feat.to(patches.dtype))

    def _start(self, state: WindowState, carried: Tensor, window: int) -> tuple[Tensor, Tensor]:
        """Tracks B S N 2 and logits B S N 2 that a window starts from.

        Carried points start from the window before, all others from their query.
        """
        tracks = state.queries[:, None, :, 1:].expand(-1, window, -1, -1)
        first = 0.0 if self.config.iterate_visibility else FIRST_LOGIT
        visibility = torch.full_like(tracks[..., 0], first)
        logits = torch.stack([visibility, torch.zeros_like(visibility)], dim=-1)
        if state.start == 0:
            return tracks, logits
        before = shift_by_half(state.tracks)
        if self.config.velocity_start:
            half = self.window // 2
            before = torch.cat([before[:, :half], extrapolate(state.tracks, half)], dim=1)
        confidence = (
            torch.zeros_like(state.logits) if state.confidence is None else state.confidence
        )
        told = shift_by_half(torch.stack([state.logits, confidence], dim=-1))
        carried = carried[:, None, :, None]
        tracks = torch.where(carried, before[:, :window], tracks)
        return tracks, torch.where(carried, told[:, :window], logits)

    def embed_place(self, coords: Tensor, base: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """What is added to the tokens, B S N G or less: codes of frame and of first position."""
        width, window, config = self.transformer.embed.in_features, coords.shape[1], self.config
        code, device = coords.new_zeros(()), coords.device
        if config.time_code == "sinusoidal" and config.time_table:
            frames = stretch_frames(window, width, config.time_table, device, frame_mask)
            code = code + frames[:, :, None]
        elif config.time_code == "sinusoidal":
            code = code + embed_frames(window, width, device)[None, :, None]
        if config.position_code:
            code = code + embed_cells(coords[:, 0], tuple(base.shape[2:4]), width)[:, None]
        return code

    def embed_moves(self, coords: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """The code of how points move, of positions B S N 2 in cells."""
        if self.config.motion == "neighbours":
            return embed_neighbours(coords * self.stride, self.frequencies, frame_mask)
        return embed_motion(coords - coords[:, :1], self.frequencies)


def normalise(features: Tensor) -> Tensor:
    """Features (..., C) scaled to norm sqrt(C), in their dtype."""
    return F.rms_norm(features.float(), features.shape[-1:], eps=1e-12).to(features.dtype)
