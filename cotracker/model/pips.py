"""PIPs (Harley et al. 2022), persistent independent particles: each point alone, eight frames long.

CoTracker's encoder and correlations, with an MLP-Mixer over the frames of one point in place of the
transformer.  A window refines all frames at once; how windows are chained is the tracker's
(cotracker/baselines/pips.py).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker import checks
from cotracker.geometry import sample_maps
from cotracker.model.config import LARGEST
from cotracker.model.correlation import correlate
from cotracker.model.runtime import recomputed
from cotracker.model.v1_compat import linear_frequencies
from cotracker.model.windowed import WindowedNetwork, clear_padding, find_queries
from cotracker.model.windows import (
    Estimate,
    WindowState,
    repeat_last_frame,
    start_state,
    start_tracks,
)

WAVES = 32  # of each of dx, dy and time


@dataclass(frozen=True)
class PIPsConfig:
    """What a PIPs is built from: fields as of CoTrackerConfig; hidden, layers: of the mixer."""

    stride: int = 4
    window: int = 8
    iters: int = 6
    channels: int = 128
    widths: tuple[int, int, int, int] = (64, 96, 128, 128)
    fuse_width: int = 256
    levels: int = 4
    radius: int = 3
    hidden: int = 512
    layers: int = 12
    encoder: str = "cnn"
    recompute: bool = False

    def __post_init__(self):
        checks.choice("model.stride", self.stride, (4, 8))
        checks.choice("model.encoder", self.encoder, ("cnn",))
        checks.whole("model.window", self.window, 2, 64)
        checks.whole("model.layers", self.layers, 1, 64)
        checks.switch("model.recompute", self.recompute)
        for name in ("iters", "channels", "fuse_width", "levels", "radius", "hidden"):
            checks.whole(f"model.{name}", getattr(self, name), 1, LARGEST[name])
        object.__setattr__(self, "widths", tuple(self.widths))


class Mix(nn.Module):
    """x + MLP(LayerNorm(x)), for x K S C; the MLP is over frames or over channels."""

    def __init__(self, channels: int, size: int, across_frames: bool):
        super().__init__()
        self.across_frames = across_frames
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(size, 4 * size)
        self.contract = nn.Linear(4 * size, size)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        y = y.mT if self.across_frames else y
        y = self.contract(F.gelu(self.expand(y)))
        return x + (y.mT if self.across_frames else y)


class Mixer(nn.Module):
    """Tokens K S inputs to K S outputs: layers that mix frames, then channels; then their mean."""

    def __init__(self, inputs: int, outputs: int, window: int, hidden: int, layers: int):
        super().__init__()
        self.window = window
        self.embed = nn.Linear(inputs, hidden)
        mixes = [(Mix(hidden, window, True), Mix(hidden, hidden, False)) for _ in range(layers)]
        self.layers = nn.Sequential(*(mix for pair in mixes for mix in pair))
        self.norm = nn.LayerNorm(hidden)
        self.head = nn.Linear(hidden, window * outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.norm(self.layers(self.embed(tokens)))
        return self.head(x.mean(dim=1)).unflatten(-1, (self.window, -1))


class PIPs(WindowedNetwork):
    """The network of a PIPsConfig, or of its fields by name."""

    def __init__(self, config: PIPsConfig | None = None, **fields):
        config = config or PIPsConfig(**fields)
        super().__init__(config, config.window, normalise=False)
        self.register_buffer("frequencies", linear_frequencies(WAVES), persistent=False)
        correlations = config.levels * (2 * config.radius + 1) ** 2
        inputs = config.channels + correlations + 3 * 2 * WAVES + 3
        outputs = 2 + config.channels
        self.mixer = Mixer(inputs, outputs, config.window, config.hidden, config.layers)
        self.feature_norm = nn.LayerNorm(config.channels)
        self.feature_update = nn.Linear(config.channels, config.channels)
        self.visibility = nn.Linear(config.channels, 1)

    def build_pyramid(self, maps: Tensor) -> list[Tensor]:
        """The levels K h w C of maps K C h w; an odd last row or column is left out."""
        levels = [maps]
        for _ in range(self.config.levels - 1):
            levels.append(F.avg_pool2d(levels[-1], 2))
        return [level.permute(0, 2, 3, 1).contiguous() for level in levels]

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
        start, length = state.start, maps[0].shape[1]
        maps = clear_padding(maps, frame_mask)
        carried = self._carried(state)
        active = state.point_mask & (state.queries[..., 0] < start + length)
        here, which = find_queries(state, maps[0], carried)
        cells = state.queries[..., 1:] / self.stride
        sampled = self.sample(maps[0].flatten(0, 1), which, cells)
        track_feat = torch.where(here[..., None], sampled, state.track_feat)
        tracks, _ = start_tracks(state, carried)
        maps = [repeat_last_frame(level, self.window) for level in maps]
        tracks, logits = self.refine(maps, track_feat, tracks, iters or self.iters)
        estimate = Estimate(start, [t[:, :length] for t in tracks], logits[:, :length], active)
        state = state._replace(
            track_feat=track_feat,
            tracks=tracks[-1],
            logits=logits,
            start=start + self.window // 2,
        )
        return state, estimate

    def sample(self, maps: Tensor, which: Tensor, cells: Tensor) -> Tensor:
        """Features (..., C) of maps K h w C at cells (..., 2), held at the border."""
        limits = cells.new_tensor([maps.shape[2] - 1, maps.shape[1] - 1])
        return sample_maps(maps, which, torch.minimum(cells.clamp(min=0), limits))

    def refine(
        self, maps: list[Tensor], track_feat: Tensor, tracks: Tensor, iters: int
    ) -> tuple[list[Tensor], Tensor]:
        """Tracks B S N 2 of each iteration, in pixels, and the logits B S N of visibility.

        maps: b S h w C a level.  track_feat: B N C.  tracks: B S N 2 pixels to start from.
        In evaluation mode the first frame stays as it is given.
        """
        look_up = recomputed(correlate, self.config.recompute)
        update = recomputed(self.update, self.config.recompute)
        first, coords = tracks[:, :1] / self.stride, tracks / self.stride
        track_feat = track_feat[:, None].expand(-1, tracks.shape[1], -1, -1)
        outputs = []
        for _ in range(iters):
            coords = coords.detach()
            corr = look_up(maps, track_feat, coords, "square", self.config.radius)
            delta_coords, delta_feat = update(coords, corr, track_feat)
            coords, track_feat = coords + delta_coords, track_feat + delta_feat
            if not self.training:
                coords = torch.cat([first, coords[:, 1:]], dim=1)
            outputs.append(coords * self.stride)
        return outputs, self.visibility(track_feat)[..., 0].float()

    def update(self, coords: Tensor, corr: Tensor, track_feat: Tensor) -> tuple[Tensor, Tensor]:
        """Changes of positions B S N 2, in cells, and of features B S N C."""
        batch, frames, points, _ = coords.shape
        tokens = torch.cat([track_feat.float(), corr, self.embed_motion(coords)], dim=-1)
        delta = self.mixer(tokens.transpose(1, 2).flatten(0, 1)).float()
        delta = delta.unflatten(0, (batch, points)).transpose(1, 2)  # B S N (2 + C)
        delta_feat = F.gelu(self.feature_update(self.feature_norm(delta[..., 2:])))
        return delta[..., :2], delta_feat.float()

    def embed_motion(self, coords: Tensor) -> Tensor:
        """B S N (6 WAVES + 3): waves of dx, dy and time, then these themselves.

        dx, dy: cells since the window's first frame.  time: from 0 to S, evenly.
        """
        frames = coords.shape[1]
        time = torch.linspace(0, frames, frames, device=coords.device)[:, None, None]
        time = time.expand(*coords.shape[:3], 1)
        raw = torch.cat([coords - coords[:, :1], time], dim=-1)  # B S N 3
        angle = raw[..., None] * self.frequencies
        waves = torch.stack([angle.sin(), angle.cos()], dim=-1)  # B S N 3 WAVES 2
        return torch.cat([waves.flatten(-3), raw], dim=-1)
