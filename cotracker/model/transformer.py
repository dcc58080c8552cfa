"""The network Psi: attention over time and attention over tracks, in turn (section 3.4)."""

from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker.model import fused
from cotracker.model.runtime import (
    as_weight,
    faster,
    for_gradients,
    for_onednn,
    for_short_rows,
    sequences_at_once,
)


@faster(fused.attend_by_products, where=for_short_rows)
def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k / sqrt(d) + bias) v of K heads L d; bias K 1 1 L, or None."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


@faster(fused.mlp_for_gradients, where=for_gradients)
@faster(fused.mlp_by_onednn, where=for_onednn)
def mlp(x: Tensor, expand: nn.Linear, contract: nn.Linear) -> Tensor:
    """Two linear layers with GELU, by its tanh formula, between them."""
    return contract(F.gelu(expand(x), approximate="tanh"))


class Attention(nn.Module):
    """Multi-head self-attention; keys whose mask is False get no weight."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """K L D of x K L D; bias K 1 1 L is added to the logits (see `key_bias`)."""
        count, length, width = x.shape
        heads = self.qkv(x).view(count, length, 3, self.heads, width // self.heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each K heads L d
        # in float32 the bias would make float32 of bfloat16 logits, at twice the time
        bias = None if bias is None else bias.to(q.dtype)
        x = attend(q, k, v, bias)
        return self.out(x.transpose(1, 2).reshape(count, length, width))


class Block(nn.Module):
    """Attention, then a two-layer MLP, each normalised before and added after."""

    def __init__(self, width: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.attention = Attention(width, heads)
        self.expand = nn.Linear(width, int(width * mlp_ratio))
        self.contract = nn.Linear(int(width * mlp_ratio), width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """K L D of x K L D; bias as in Attention.  Sequences do not see each other."""
        chunk = sequences_at_once(x)
        if len(x) <= chunk:
            return self._answer(x, bias)
        parts = x.split(chunk)
        biases = [None] * len(parts) if bias is None else bias.split(chunk)
        return torch.cat([self._answer(*part) for part in zip(parts, biases)])

    def _answer(self, x: Tensor, bias: Tensor | None) -> Tensor:
        x = x + self.attention(F.layer_norm(x, x.shape[-1:], eps=1e-6), bias)
        return x + mlp(F.layer_norm(x, x.shape[-1:], eps=1e-6), self.expand, self.contract)


def key_bias(key_mask: Tensor | None) -> Tensor | None:
    """K 1 1 L for a mask K L: 0 where True, else so negative that the key's weight is zero.

    Finite, so that a row with no key at all still gives finite numbers (which nobody reads).
    """
    return None if key_mask is None else torch.where(key_mask, 0.0, -1e9)[:, None, None, :]


class Transformer(nn.Module):
    """Tokens G to O, both B S N *: time and group attention in turn, between two linear layers."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        heads: int,
        time_layers: int,
        group_layers: int,
        mlp_ratio: float,
    ):
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.time = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(time_layers))
        self.group = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(group_layers))
        self.head = nn.Linear(width, outputs)

    def blocks(self) -> list[nn.Module]:
        """What may be lower than float32.

        The two layers around it see positions, and eight bits of a distance of 60 cells leave a
        quarter of a cell.
        """
        return [*self.time, *self.group]

    def forward(
        self, tokens: Tensor, point_mask: Tensor | None = None, frame_mask: Tensor | None = None
    ) -> Tensor:
        """Tokens B S N O of tokens B S N G.

        point_mask: B N, the points that others may read; None: all.
        frame_mask: B S, the frames that others may read; None: all.
        """
        batch, window, points, _ = tokens.shape
        time_mask = None if frame_mask is None else frame_mask.repeat_interleave(points, dim=0)
        group_mask = None if point_mask is None else point_mask.repeat_interleave(window, dim=0)
        time_bias, group_bias = key_bias(time_mask), key_bias(group_mask)
        x = as_weight(self.embed(tokens), self.time[0].expand.weight)
        width = x.shape[-1]
        for time, group in zip_longest(self.time, self.group):
            if time is not None:
                y = x.transpose(1, 2).reshape(batch * points, window, width)  # BN S D
                x = time(y, time_bias).view(batch, points, window, width).transpose(1, 2)
            if group is not None:
                y = group(x.reshape(batch * window, points, width), group_bias)  # BS N D
                x = y.view(batch, window, points, width)
        return self.head(as_weight(x, self.head.weight))
