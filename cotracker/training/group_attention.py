"""The weights of the group attention (section 3.4), for pictures of them."""

import torch
from torch import Tensor

from cotracker.model.cotracker import CoTracker


@torch.no_grad()
def group_attention(
    model: CoTracker, video: Tensor, queries: Tensor, point_mask: Tensor | None = None
) -> Tensor | None:
    """B N N: the share of each point's attention that each point gets.

    None for a model without group layers.

    video B T 3 H W, queries B N 3. point_mask: B N, False for padding.
    Mean over layers, heads and frames of the last iteration in the last window.
    """
    if not len(model.transformer.group) or model.transformer.virtual_tracks is not None:
        return None
    inputs_of: dict[torch.nn.Module, tuple] = {}

    def keep(module: torch.nn.Module, inputs: tuple, output: Tensor) -> None:
        inputs_of[module] = inputs

    handles = [block.attention.register_forward_hook(keep) for block in model.transformer.group]
    try:
        model(video, queries, point_mask=point_mask)
    finally:
        for handle in handles:
            handle.remove()
    layers = [_weights(module, *inputs) for module, inputs in inputs_of.items()]
    return torch.stack(layers).mean(dim=(0, 2)).unflatten(0, (len(queries), -1)).mean(dim=1)


def _weights(attention: torch.nn.Module, x: Tensor, bias: Tensor | None) -> Tensor:
    """K heads L L: the softmax of one Attention for its input K L D."""
    count, length, width = x.shape
    q, k, _ = (
        attention.qkv(x).float().view(count, length, 3, attention.heads, -1).permute(2, 0, 3, 1, 4)
    )
    logits = q @ k.transpose(-1, -2) * (width // attention.heads) ** -0.5
    return (logits if bias is None else logits + bias).softmax(dim=-1)
