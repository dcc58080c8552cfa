"""The network Psi: attention over time and attention over tracks, in turn (section 3.4)."""

from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker.model.fused import gelu_linear, linear_gelu

SHORT = 128  # up to this length plain matrix products beat the fused kernel on a CPU, where gradients are wanted
SHORT_INFERENCE = {torch.float32: 8, torch.bfloat16: 512}  # and where none are, by the dtype
CACHED_TOKENS = 2048  # so many tokens, and a block's temporaries of them, stay in a CPU's cache


class Attention(nn.Module):
    """Multi-head self-attention; keys whose mask is False get no weight."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """K L D of x K L D; bias K 1 1 L is added to the logits (0, or very negative for keys left out)."""
        count, length, width = x.shape
        q, k, v = (
            self.qkv(x)
            .view(count, length, 3, self.heads, width // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        bias = (
            None if bias is None else bias.to(q.dtype)
        )  # or bfloat16 logits would become float32, at twice the time
        if x.device.type == "cpu" and length <= self._short(q):
            logits = (q * (width // self.heads) ** -0.5) @ k.transpose(-1, -2)
            x = (logits if bias is None else logits + bias).softmax(dim=-1).to(v.dtype) @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(x.transpose(1, 2).reshape(count, length, width))

    @staticmethod
    def _short(q: Tensor) -> int:
        return SHORT if torch.is_grad_enabled() else SHORT_INFERENCE.get(q.dtype, SHORT)


class Block(nn.Module):
    """Attention, then a two-layer MLP, each normalised before and added after."""

    def __init__(self, width: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.attention = Attention(width, heads)
        self.expand = nn.Linear(width, int(width * mlp_ratio))
        self.contract = nn.Linear(int(width * mlp_ratio), width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """K L D of x K L D; bias as in Attention. For inference on a CPU sequences are taken in turns."""
        turn = max(1, CACHED_TOKENS // max(1, x.shape[1]))
        whole = (
            len(x) <= turn
            or x.device.type != "cpu"
            or torch.is_grad_enabled()
            or torch.compiler.is_compiling()
        )
        if whole:
            return self._answer(x, bias)
        biases = [None] * -(-len(x) // turn) if bias is None else bias.split(turn)
        return torch.cat([self._answer(*some) for some in zip(x.split(turn), biases)])

    def _answer(self, x: Tensor, bias: Tensor | None) -> Tensor:
        x = x + self.attention(F.layer_norm(x, x.shape[-1:], eps=1e-6), bias)
        y = F.layer_norm(x, x.shape[-1:], eps=1e-6)
        if torch.is_grad_enabled():
            return x + gelu_linear(self.expand(y), self.contract)
        return x + self.contract(linear_gelu(y, self.expand))


def key_bias(known: Tensor | None) -> Tensor | None:
    """K 1 1 L for a mask K L: 0 where True, else so negative that the key's weight is exactly zero.

    Finite, so that a row with no key at all still gives finite numbers (which nobody reads).
    """
    return None if known is None else torch.where(known, 0.0, -1e9)[:, None, None, :]


class Transformer(nn.Module):
    """Tokens G to tokens O, both B S N *: time and group attention interleaved between two linear layers."""

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

    def forward(
        self,
        tokens: Tensor,
        asked: Tensor | None = None,
        frames: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """asked B N: the points that others may read.  frames B S: the frames that others may read.  None: all.

        dtype: of the blocks, where it is not that of the two layers around them: those see positions, and eight bits
        of a distance of 60 cells leave a quarter of a cell.
        """
        batch, window, points, _ = tokens.shape
        time_bias = None if frames is None else key_bias(frames.repeat_interleave(points, dim=0))
        group_bias = None if asked is None else key_bias(asked.repeat_interleave(window, dim=0))
        x = self.embed(tokens)
        if dtype != torch.float32:
            x = x.to(dtype)
        width = x.shape[-1]
        for time, group in zip_longest(self.time, self.group):
            if time is not None:
                y = x.transpose(1, 2).reshape(batch * points, window, width)  # BN S D
                x = time(y, time_bias).view(batch, points, window, width).transpose(1, 2)
            if group is not None:
                y = group(x.reshape(batch * window, points, width), group_bias)  # BS N D
                x = y.view(batch, window, points, width)
        return self.head(x if dtype == torch.float32 else x.to(self.head.weight.dtype))
