"""The network Psi: attention over time and attention over tracks, in turn (section 3.4)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cotracker.model.attention import Block, CrossBlock, key_bias, time_bias, time_slopes
from cotracker.model.config import CoTracker3Config, CoTrackerConfig
from cotracker.model.runtime import as_weight


class Past(NamedTuple):
    """What attention over time reads of the frames before."""

    layers: list[Tensor]  # keys and values (B(N+V)) S 2D a layer, room for S frames
    frames: int  # so many are there


class VirtualExchange(nn.Module):
    """Points look at each other through virtual tracks: cost linear in points (CoTracker2).

    Virtual tracks read from the points, then attend to each other; then points read from them.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.virtual_from_points = CrossBlock(width, heads, mlp_ratio)
        self.virtual = Block(width, heads, mlp_ratio)
        self.points_from_virtual = CrossBlock(width, heads, mlp_ratio)

    def forward(self, points: Tensor, virtual: Tensor, bias: Tensor | None) -> Tensor:
        """K (N + V) D of points K N D and virtual tracks K V D; bias K 1 1 N of who may be read."""
        virtual = self.virtual(self.virtual_from_points(virtual, points, bias), None)
        return torch.cat([self.points_from_virtual(points, virtual, None), virtual], dim=1)


class Transformer(nn.Module):
    """Tokens G to tokens O, both B S N *: time and group attention interleaved between two layers.

    inputs, outputs: G and O.
    config: has the sizes.  Its virtual_tracks are learned tracks beside the points', through which
    points see each other; 0: all see all.
    relative_time: attention over time is biased by how far frames are apart (see `time_bias`).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        config: CoTrackerConfig | CoTracker3Config,
        relative_time: bool = False,
    ):
        super().__init__()
        sizes = config.hidden, config.heads, config.mlp_ratio
        across = VirtualExchange if config.virtual_tracks else Block
        self.embed = nn.Linear(inputs, config.hidden)
        self.time = nn.ModuleList(Block(*sizes) for _ in range(config.time_layers))
        self.group = nn.ModuleList(across(*sizes) for _ in range(config.group_layers))
        self.head = nn.Linear(config.hidden, outputs)
        tracks = torch.randn(config.virtual_tracks, config.hidden)
        self.virtual_tracks = nn.Parameter(tracks) if config.virtual_tracks else None
        slopes = time_slopes(config.heads) if relative_time else None
        self.register_buffer("slopes", slopes, persistent=False)

    def blocks(self) -> list[nn.Module]:
        """What may be lower than float32.

        The two layers around it see positions, and eight bits of a distance of 60 cells leave a
        quarter of a cell.
        """
        return [*self.time, *self.group]

    def forward(
        self,
        tokens: Tensor,
        point_mask: Tensor | None = None,
        frame_mask: Tensor | None = None,
        past: Past | None = None,
    ) -> Tensor:
        """Tokens B S N O of tokens B S N G.

        point_mask: B N, the points that others may read; None: all.
        frame_mask: B S, the frames that others may read; None: all.
        past: of frames before these, which see them; what is read of these is written behind.
        """
        points = tokens.shape[2]
        x = self._look(tokens, point_mask, frame_mask, past, True)
        return self.head(as_weight(x[:, :, :points], self.head.weight))

    def remember(self, tokens: Tensor, point_mask: Tensor | None, past: Past) -> None:
        """Writes into `past` what later frames read of these, without an answer."""
        self._look(tokens, point_mask, None, past, False)

    def _look(
        self,
        tokens: Tensor,
        point_mask: Tensor | None,
        frame_mask: Tensor | None,
        past: Past | None,
        answer: bool,
    ) -> Tensor | None:
        """B S N+V D of all layers; without an answer it ends where the last one has read."""
        batch, window, points, _ = tokens.shape
        x = self._with_virtual(self.embed(tokens))
        x = as_weight(x, self.time[0].expand.weight)
        tracks, width = x.shape[2:]
        before = 0 if past is None else past.frames
        over_time = self._time_bias(frame_mask, batch, before + window, tracks, before)
        group_mask = None if point_mask is None else point_mask.repeat_interleave(window, dim=0)
        across = key_bias(group_mask)
        for layer in range(max(len(self.time), len(self.group))):
            if layer < len(self.time):
                y = x.transpose(1, 2).reshape(batch * tracks, window, width)  # B(N+V) S D
                block = self.time[layer]
                if past is None:
                    y = block(y, over_time)
                elif answer or layer + 1 < len(self.time):
                    y = block.extend(y, past.layers[layer], before, over_time)
                else:
                    return block.remember(y, past.layers[layer], before)
                x = y.view(batch, tracks, window, width).transpose(1, 2)
            if layer < len(self.group):
                y = x.reshape(batch * window, tracks, width)  # BS (N+V) D
                y = self._look_across(self.group[layer], y, points, across)
                x = y.view(batch, window, tracks, width)
        return x

    def make_past(self, like: Tensor, tracks: int, frames: int) -> Past:
        """The Past of no frame yet, with room for `frames` of so many points; on like's device."""
        weight = self.time[0].expand.weight
        count = tracks + (0 if self.virtual_tracks is None else len(self.virtual_tracks))
        shape = (count, frames, 2 * weight.shape[1])
        return Past([like.new_empty(shape, dtype=weight.dtype) for _ in self.time], 0)

    def _with_virtual(self, x: Tensor) -> Tensor:
        if self.virtual_tracks is None:
            return x
        virtual = self.virtual_tracks.to(x.dtype).expand(*x.shape[:2], -1, -1)
        return torch.cat([x, virtual], dim=2)

    def _look_across(self, block: nn.Module, x: Tensor, points: int, bias: Tensor | None) -> Tensor:
        if self.virtual_tracks is None:
            return block(x, bias)
        return block(x[:, :points], x[:, points:], bias)

    def _time_bias(
        self, frame_mask: Tensor | None, batch: int, window: int, tracks: int, first: int
    ) -> Tensor | None:
        """Of the frames from `first` on."""
        bias = None
        if frame_mask is not None:
            bias = key_bias(frame_mask.repeat_interleave(tracks, dim=0))
        if self.slopes is None:
            return bias
        relative = time_bias(self.slopes, window)[:, :, first:]
        return relative.expand(batch * tracks, -1, -1, -1) if bias is None else relative + bias
