"""CoTracker: the paper as mathematics (sections 3.1 to 3.4). `CoTracker()` is the paper's model.

`forward` is `encode`, then a loop of `step` over windows overlapping by half; `step` is `refine`, M
iterations of one.  Nothing is stored between calls; all that one window hands to the next is the
WindowState.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker.geometry import sample_maps
from cotracker.model import runtime
from cotracker.model.config import CoTrackerConfig
from cotracker.model.correlation import correlate, offsets
from cotracker.model.dinov2 import DinoEncoder
from cotracker.model.embeddings import embed_motion, embed_position, wave_frequencies
from cotracker.model.encoder import Encoder, pyramid
from cotracker.model.runtime import as_weight, recomputed
from cotracker.model.transformer import Transformer
from cotracker.model.v1_compat import linear_frequencies, scramble_flags
from cotracker.model.windows import (
    Estimate,
    WindowState,
    repeat_last_frame,
    split_windows,
    start_state,
    start_tracks,
)


class CoTracker(nn.Module):
    """The tracker network of a CoTrackerConfig, or of its fields by name."""

    def __init__(self, config: CoTrackerConfig | None = None, **fields):
        super().__init__()
        self.config = config = config or CoTrackerConfig(**fields)
        self.stride, self.window, self.iters = config.stride, config.window, config.iters
        waves = config.motion_waves
        make = linear_frequencies if config.linear_motion_waves else wave_frequencies
        self.register_buffer("frequencies", make(waves), persistent=False)
        self.encoder = _build_encoder(config)
        corr = config.levels * len(offsets(config.neighbourhood, config.radius))
        self.transformer = Transformer(
            inputs=2 + 4 * waves + corr + config.channels + 2,
            outputs=2 + config.channels,
            width=config.hidden,
            heads=config.heads,
            time_layers=config.time_layers,
            group_layers=config.group_layers,
            mlp_ratio=config.mlp_ratio,
        )
        self.feature_norm = nn.LayerNorm(config.channels)
        self.feature_update = nn.Linear(config.channels, config.channels)
        self.visibility = nn.Linear(config.channels, 1)

    @property
    def dtype(self) -> torch.dtype:
        """Of encoder, maps and the transformer's blocks."""
        return self.encoder.project.weight.dtype

    def forward(
        self,
        video: Tensor,
        queries: Tensor,
        iters: int | None = None,
        point_mask: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> list[Estimate]:
        """The Estimates of all windows, in order, for queries B N 3 (t, x, y).

        Windows start at 0, S/2, S, … (section 3.2); the last is shorter where S/2 does not fit T.

        video: B T 3 H W of 0..255.
        iters: M; None: the config's.
        point_mask: B N, False for padded points.
        lengths: B, frames that are real, where clips were padded to one T.
        """
        if video.ndim != 5 or video.shape[2] != 3:
            raise ValueError(f"video must have shape (B, T, 3, H, W), not {tuple(video.shape)}")
        return self.track(self.encode(video), queries, iters, point_mask, lengths)

    def encode(self, video: Tensor, frames_at_once: int | None = None) -> list[Tensor]:
        """The pyramid of feature maps, B T h w C a level, of a video B T 3 H W of 0..255.

        frames_at_once: None: what suits the machine.  Frames do not see each other.
        """
        frames = video.flatten(0, 1)
        encode = recomputed(self._encode, self.config.recompute)
        chunk = frames_at_once or runtime.frames_at_once(frames, self.config.recompute)
        parts = [encode(some) for some in frames.split(chunk)]
        return [torch.cat(level).unflatten(0, video.shape[:2]) for level in zip(*parts)]

    def _encode(self, frames: Tensor) -> list[Tensor]:
        frames = frames.float() * (2 / 255) - 1
        maps = self.encoder(as_weight(frames, self.encoder.project.weight))
        return pyramid(maps, self.config.levels)

    def track(
        self,
        maps: list[Tensor],
        queries: Tensor,
        iters: int | None = None,
        point_mask: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> list[Estimate]:
        """As `forward`, on encoded maps; maps of batch 1 serve any number of sets of queries."""
        if queries.ndim != 3 or queries.shape[-1] != 3:
            raise ValueError(f"queries must have shape (B, N, 3), not {tuple(queries.shape)}")
        if len(maps[0]) not in (1, len(queries)):
            raise ValueError(
                f"queries are for {len(queries)} videos, but the video holds {len(maps[0])}"
            )
        if iters is not None and iters < 1:
            raise ValueError(f"iters must be at least 1, not {iters}")
        state = self.begin(queries, point_mask)
        estimates = []
        for window in split_windows(maps, self.window):
            frame_mask = None
            if lengths is not None:
                frames = torch.arange(window[0].shape[1], device=lengths.device)
                frame_mask = state.start + frames < lengths[:, None]
            state, estimate = self.step(state, window, iters, frame_mask)
            estimates.append(estimate)
        return estimates

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
    ) -> tuple[WindowState, Estimate]:
        """The next WindowState and this window's Estimate.

        maps: of its frames, b S h w C a level, b = B or 1.  Those from half a window on are the
        next call's first.
        iters: M; None: the config's.
        frame_mask: B S, frames that are not padding; None: all.
        refine: takes the place of this model's own, as its CudaGraphs.
        """
        time, start, length = state.queries[..., 0], state.start, maps[0].shape[1]
        maps = _clear_padding(maps, frame_mask)
        carried = self._carried(state)
        active = state.point_mask & (time < start + length)
        track_feat = self._sample_new(state, maps[0], carried)
        tracks, logits = start_tracks(state, carried)
        predicted = self._predicted(state, carried)
        if self.config.repeat_last_frame:
            maps = [repeat_last_frame(level, self.window) for level in maps]
            predicted = predicted & (self._frames(state) < start + length)
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
        """M iterations of one window (section 3.4): tracks of each, and the visibility logits.

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
        pos_embed = self._embed_position(coords, maps[0])
        outputs = []
        for _ in range(iters):
            coords = coords.detach()
            corr = look_up(maps, track_feat, coords, *self._neighbourhood)
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
        motion = embed_motion(coords - coords[:, :1], self.frequencies)
        tokens = torch.cat([motion, corr, track_feat.float(), flags], dim=-1) + pos_embed
        delta = self.transformer(tokens, active, frame_mask).float()
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
        batch, length, height, width, _ = base.shape
        frame = (state.queries[..., 0].round() - state.start).long()
        here = state.point_mask & ~carried & (frame >= 0) & (frame < length)
        clip = (
            torch.arange(batch, device=frame.device)[:, None] * length
        )  # b = 1: all share a video
        x, y = (state.queries[..., 1:] / self.stride).unbind(-1)
        cells = torch.stack([x.clamp(0, width - 1), y.clamp(0, height - 1)], dim=-1)  # held inside
        sampled = sample_maps(base.flatten(0, 1), clip + frame.clamp(0, length - 1), cells)
        return torch.where(here[..., None], sampled, state.track_feat)

    def _carried(self, state: WindowState) -> Tensor:
        """B N: the points that were active in the window before."""
        if state.start == 0:
            return torch.zeros_like(state.point_mask)
        return state.queries[..., 0] < state.start + self.window // 2

    def _frames(self, state: WindowState) -> Tensor:
        """S 1: the window's frames, counted from the video's first."""
        frames = torch.arange(self.window, device=state.queries.device)
        return state.start + frames[:, None]

    def _predicted(self, state: WindowState, carried: Tensor) -> Tensor:
        """B S N: from the query on, less what the window before has told (section 3.2)."""
        frames = self._frames(state)
        told = carried[:, None] & (frames < state.start + self.window // 2)
        return (frames >= state.queries[:, None, :, 0]) & ~told

    def _flags(self, predicted: Tensor, logits: Tensor, time: Tensor, active: Tensor) -> Tensor:
        """B S N 2: the mask of what is to be predicted, and the visibility logit."""
        mask = predicted.to(logits.dtype)
        if self.config.scrambled_flags:
            return scramble_flags(mask, logits, time, active)
        return torch.stack([mask, logits], dim=-1)

    def _embed_position(self, coords: Tensor, base: Tensor) -> Tensor:
        width = self.transformer.embed.in_features
        return embed_position(coords[:, 0], coords.shape[1], tuple(base.shape[2:4]), width)

    @property
    def _neighbourhood(self) -> tuple[str, int]:
        return self.config.neighbourhood, self.config.radius


def _clear_padding(maps: list[Tensor], frame_mask: Tensor | None) -> list[Tensor]:
    """Maps b S h w C with zeros in padded frames: a weight of zero times NaN would be NaN."""
    if frame_mask is None:
        return maps
    shared = len(maps[0]) != len(frame_mask)  # one video for all
    held = frame_mask.any(dim=0, keepdim=True) if shared else frame_mask
    return [torch.where(held[..., None, None, None], level, 0.0) for level in maps]


def _build_encoder(config: CoTrackerConfig) -> nn.Module:
    stride, channels, normalise = config.stride, config.channels, config.normalise_features
    if config.encoder == "dinov2":
        layer, weights = config.encoder_layer, config.encoder_weights
        return DinoEncoder(stride, channels, layer, weights, normalise)
    return Encoder(stride, channels, config.widths, config.fuse_width, normalise)
