"""Blocks of attention, over time or across points, and the biases that say who sees whom."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker.model import fused
from cotracker.model.runtime import (
    faster,
    for_gradients,
    for_onednn,
    for_short_rows,
    for_sigmoid,
    in_chunks,
    sequences_at_once,
)


@faster(fused.attend_by_products, where=for_short_rows)
def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k / sqrt(d) + bias) v, K heads L d, of q K heads L d and k, v K heads M d.

    bias: K 1 1 M, or K heads L M, or None.
    """
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


@faster(fused.mlp_for_gradients, where=for_gradients)
@faster(fused.mlp_by_onednn, where=for_onednn)
@faster(fused.mlp_by_sigmoid, where=for_sigmoid)
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

    def extend(self, x: Tensor, memory: Tensor, start: int, bias: Tensor | None) -> Tensor:
        """As forward, of tokens that see those before them too.

        memory: K M 2D, keys and values; its first `start` are those before, and x's come next.
        bias: K 1 1 (start + L), or of all heads and L.
        """
        count, length, width = x.shape
        each = self.heads, width // self.heads
        q, keys = self.qkv(x).split([width, 2 * width], dim=-1)
        memory[:, start : start + length] = keys
        k, v = memory[:, : start + length].unflatten(-1, (2, *each)).permute(2, 0, 3, 1, 4)
        q, bias = q.unflatten(-1, each).transpose(1, 2), None if bias is None else bias.to(q.dtype)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # one token: faster so
        return self.out(x.transpose(1, 2).reshape(count, length, width))

    def remember(self, x: Tensor, memory: Tensor, start: int) -> None:
        """Writes keys and values as `extend` does, without an answer."""
        width = x.shape[-1]
        keys = F.linear(x, self.qkv.weight[width:], self.qkv.bias[width:])
        memory[:, start : start + x.shape[1]] = keys


class Block(nn.Module):
    """Attention, then a two-layer MLP, each normalised before and added after."""

    def __init__(self, width: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.attention = Attention(width, heads)
        self.expand = nn.Linear(width, int(width * mlp_ratio))
        self.contract = nn.Linear(int(width * mlp_ratio), width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """K L D of x K L D; bias as in Attention.  Sequences do not see each other."""
        return in_chunks(self._answer, sequences_at_once(x), 0, x, bias)

    def extend(self, x: Tensor, memory: Tensor, start: int, bias: Tensor | None) -> Tensor:
        """As forward, of tokens that see those before them too; as Attention.extend."""
        y = F.layer_norm(x, x.shape[-1:], eps=1e-6)
        x = x + self.attention.extend(y, memory, start, bias)
        return x + mlp(F.layer_norm(x, x.shape[-1:], eps=1e-6), self.expand, self.contract)

    def remember(self, x: Tensor, memory: Tensor, start: int) -> None:
        """As Attention.remember."""
        self.attention.remember(F.layer_norm(x, x.shape[-1:], eps=1e-6), memory, start)

    def _answer(self, x: Tensor, bias: Tensor | None) -> Tensor:
        x = x + self.attention(F.layer_norm(x, x.shape[-1:], eps=1e-6), bias)
        return x + mlp(F.layer_norm(x, x.shape[-1:], eps=1e-6), self.expand, self.contract)


class CrossAttention(nn.Module):
    """Multi-head attention of tokens to a context."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None) -> Tensor:
        """K L D of x K L D and a context K M D; bias K 1 1 M is added to the logits."""
        count, length, width = x.shape
        each = self.heads, width // self.heads
        q = self.q(x).view(count, length, *each).transpose(1, 2)  # K heads L d
        kv = self.kv(context).view(count, context.shape[1], 2, *each)
        k, v = kv.permute(2, 0, 3, 1, 4)
        x = attend(q, k, v, None if bias is None else bias.to(q.dtype))
        return self.out(x.transpose(1, 2).reshape(count, length, width))


class CrossBlock(nn.Module):
    """As Block, with attention to a context, which has a norm with weights."""

    def __init__(self, width: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.context_norm = nn.LayerNorm(width)
        self.attention = CrossAttention(width, heads)
        self.expand = nn.Linear(width, int(width * mlp_ratio))
        self.contract = nn.Linear(int(width * mlp_ratio), width)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None) -> Tensor:
        """K L D of x K L D and a context K M D; bias as in CrossAttention."""
        longer = x if x.shape[1] > context.shape[1] else context
        return in_chunks(self._answer, sequences_at_once(longer), 0, x, context, bias)

    def _answer(self, x: Tensor, context: Tensor, bias: Tensor | None) -> Tensor:
        y = F.layer_norm(x, x.shape[-1:], eps=1e-6)
        x = x + self.attention(y, self.context_norm(context), bias)
        return x + mlp(F.layer_norm(x, x.shape[-1:], eps=1e-6), self.expand, self.contract)


def key_bias(key_mask: Tensor | None) -> Tensor | None:
    """K 1 1 L for a mask K L: 0 where True, else so negative that the key's weight is zero.

    Finite, so that a row with no key at all still gives finite numbers (which nobody reads).
    """
    return None if key_mask is None else torch.where(key_mask, 0.0, -1e9)[:, None, None, :]


def time_slopes(heads: int) -> Tensor:
    """One slope a head, 1/2 to 1/256: half of the heads look back, the others, below 0, ahead."""
    half = heads // 2
    slopes = 2.0 ** -torch.linspace(1, 8, half)
    return torch.cat([slopes, -slopes])


def time_bias(slopes: Tensor, window: int) -> Tensor:
    """1 heads S S: -|slope| |i - j| from frame i to frame j, or so that j gets no weight.

    A head looks back, j <= i, where its slope is above 0, and ahead, j >= i, where it is below
    (ALiBi, signed).
    """
    frames = torch.arange(window, device=slopes.device)
    distance = slopes.sign()[:, None, None] * (frames[:, None] - frames)
    return torch.where(distance >= 0, -slopes.abs()[:, None, None] * distance, -1e9)[None]
