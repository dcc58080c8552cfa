"""CoTracker: the paper as mathematics (sections 3.1 to 3.4). `CoTracker()` is the paper's model.

A step over one window is `refine`, M iterations of it; see windowed.py for the loop around it.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker.geometry import sample_maps
from cotracker.model.config import CoTrackerConfig
from cotracker.model.correlation import correlate, offsets
from cotracker.model.embeddings import embed_motion, embed_position, wave_frequencies
from cotracker.model.runtime import recomputed
from cotracker.model.transformer import Transformer
from cotracker.model.v1_compat import linear_frequencies, scramble_flags
from cotracker.model.windowed import (
    WindowedNetwork,
    clear_padding,
    find_queries,
    window_frames,
)
from cotracker.model.windows import (
    Estimate,
    WindowState,
    repeat_last_frame,
    start_state,
    start_tracks,
)


class CoTracker(WindowedNetwork):
    """The tracker network of a CoTrackerConfig, or of its fields by name."""

    def __init__(self, config: CoTrackerConfig | None = None, **fields):
        config = config or CoTrackerConfig(**fields)
        super().__init__(config, config.window, config.normalise_features)
        waves = config.motion_waves
        make = linear_frequencies if config.linear_motion_waves else wave_frequencies
        self.register_buffer("frequencies", make(waves), persistent=False)
        corr = config.levels * len(offsets(config.neighbourhood, config.radius))
        self.transformer = Transformer(
            inputs=2 + 4 * waves + corr + config.channels + 2,
            outputs=2 + config.channels,
            config=config,
        )
        self.feature_norm = nn.LayerNorm(config.channels)
        self.feature_update = nn.Linear(config.channels, config.channels)
        self.visibility = nn.Linear(config.channels, 1)

    def begin(self, queries: Tensor, point_mask: Tensor | None = None) -> WindowState:
        """The WindowState before the first window; point_mask B N: False for padded points."""
        return start_state(queries, point_mask, self.window, self.config.channels)

    def step(
        self,
        state: WindowState,
        maps: list[Tensor],
        iters: int | None = None,
        frame_mask: Tensor | None = None,
        refine: Callable | None = None,
        carried: Tensor | None = None,
    ) -> tuple[WindowState, Estimate]:
        time, start, length = state.queries[..., 0], state.start, maps[0].shape[1]
        maps = clear_padding(maps, frame_mask)
        carried = self._carried(state) if carried is None else carried
        active = state.point_mask & (time < start + length)
        track_feat = self._sample_new(state, maps[0], carried)
        tracks, logits = start_tracks(state, carried)
        predicted = self._predicted(state, carried, self.window)
        if self.config.repeat_last_frame:
            maps = [repeat_last_frame(level, self.window) for level in maps]
            if not self.config.predict_copies:
                predicted = predicted & (window_frames(state, self.window) < start + length)
        window = maps[0].shape[1]
        flags = self._flags(predicted, logits, time, active)[:, :window]
        outputs, logits = (refine or self.refine)(
            maps, track_feat, tracks[:, :window], flags, active, frame_mask, iters or self.iters
        )
        estimate = Estimate(start, [t[:, :length] for t in outputs], logits[:, :length], active)
        state = state._replace(
            track_feat=track_feat, tracks=outputs[-1], logits=logits, start=start + self.window // 2
        )
        return state, estimate

    def refine(
        self,
        maps: list[Tensor],
        track_feat: Tensor,
        tracks: Tensor,
        flags: Tensor,
        active: Tensor | None,
        frame_mask: Tensor | None,
        iters: int,
    ) -> tuple[list[Tensor], Tensor]:
        """M iterations of one window (section 3.4): tracks of each, and the last visibility.

        maps: b S h w C a level.
        track_feat: Q of the queries, B N C.
        tracks: B S N 2 pixels to start from, as each of what comes out.
        flags: B S N 2, mask and visibility.
        active, frame_mask: B N and B S, the points and frames that others may read; None: all.
        """
        look_up = recomputed(correlate, self.config.recompute)
        update = recomputed(self.update, self.config.recompute)
        coords = tracks / self.stride  # in cells
        track_feat = track_feat[:, None].expand(-1, tracks.shape[1], -1, -1)  # B S N C
        pos_embed = self.embed_place(coords, maps[0])
        outputs = []
        for _ in range(iters):
            coords = coords.detach()
            corr = look_up(maps, track_feat, coords, *self.neighbourhood)
            delta_coords, delta_feat = update(
                coords, corr, track_feat, flags, pos_embed, active, frame_mask
            )
            coords = coords + delta_coords
            track_feat = track_feat + delta_feat
            outputs.append(coords * self.stride)
        return outputs, self.visibility(track_feat)[..., 0].float()

    def update(
        self,
        coords: Tensor,
        corr: Tensor,
        track_feat: Tensor,
        flags: Tensor,
        pos_embed: Tensor,
        active: Tensor | None,
        frame_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Changes of positions B S N 2, in cells, and of features B S N C, in float32 (eq. 3)."""
        tokens = self.make_tokens(self.embed_moves(coords), corr, track_feat, flags, pos_embed)
        return self.read_delta(self.transformer(tokens, active, frame_mask))

    def embed_moves(self, coords: Tensor) -> Tensor:
        """eta(P - P_1) of positions B S N 2 in cells."""
        return embed_motion(coords - coords[:, :1], self.frequencies)

    def make_tokens(
        self, moves: Tensor, corr: Tensor, track_feat: Tensor, flags: Tensor, pos_embed: Tensor
    ) -> Tensor:
        """Tokens B S N G; moves: of `embed_moves`; pos_embed: of `embed_place`; see `refine`."""
        return torch.cat([moves, corr, track_feat.float(), flags], dim=-1).add_(pos_embed)

    def read_delta(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """Changes of positions and features, of what the transformer gives."""
        delta = out.float()
        delta_feat = F.gelu(self.feature_update(self.feature_norm(delta[..., 2:])))
        return delta[..., :2], delta_feat.float()

    def sample_track_feat(
        self, maps: list[Tensor], queries: Tensor, point_mask: Tensor | None = None
    ) -> Tensor:
        """Q of eq. 1 for all queries at once, B N C, from the maps of the whole video."""
        state = self.begin(queries, point_mask)
        return self._sample_new(state, maps[0], torch.zeros_like(state.point_mask))

    def _sample_new(self, state: WindowState, base: Tensor, carried: Tensor) -> Tensor:
        """Q of eq. 1, B N C: sampled for queries whose frame is first seen here, else kept."""
        height, width = base.shape[2:4]
        here, which = find_queries(state, base, carried)
        x, y = (state.queries[..., 1:] / self.stride).unbind(-1)
        cells = torch.stack([x.clamp(0, width - 1), y.clamp(0, height - 1)], dim=-1)  # held inside
        sampled = sample_maps(base.flatten(0, 1), which, cells)
        return torch.where(here[..., None], sampled, state.track_feat)

    def _flags(self, predicted: Tensor, logits: Tensor, time: Tensor, active: Tensor) -> Tensor:
        """B S N 2: the mask of what is to be predicted, and the visibility logit."""
        mask = predicted.to(logits.dtype)
        if self.config.scrambled_flags:
            return scramble_flags(mask, logits, time, active)
        return torch.stack([mask, logits], dim=-1)

    def embed_place(self, coords: Tensor, base: Tensor) -> Tensor:
        """The position code of tracks B S N 2 in cells; base: the finest map."""
        width = self.transformer.embed.in_features
        size = self.config.position_table or tuple(base.shape[2:4])
        return embed_position(coords[:, 0], coords.shape[1], size, width)

    @property
    def neighbourhood(self) -> tuple[str, int, bool]:
        """What `correlate` takes last."""
        return self.config.neighbourhood, self.config.radius, self.config.corr_border
