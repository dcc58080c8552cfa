"""Numbers as waves: where a token stands (its position code), how far its point moved (eta)."""

import math

import torch
from torch import Tensor


def wave_frequencies(waves: int) -> Tensor:
    """Frequencies of eta in radians a cell: geometric, from pi (2 cells) to pi / 512."""
    return math.pi * 512 ** (-torch.arange(waves) / max(waves - 1, 1))


def embed_motion(offset: Tensor, frequencies: Tensor) -> Tensor:
    """eta(P - P_1), B S N (2 + 4 waves), of offsets B S N 2 in cells (section 3.4).

    The offset itself, then sine and cosine in turn for x, then for y.
    """
    angle = offset[..., None] * frequencies  # B S N 2 waves
    waves = torch.stack([angle.sin(), angle.cos()], dim=-1)
    return torch.cat([offset, waves.flatten(-3)], dim=-1)


def embed_position(cells: Tensor, window: int, size: tuple[int, int], width: int) -> Tensor:
    """Position codes B S N width: of the frame, and of the point's first position (section 3.4).

    cells: B N 2, the first positions in cells.  window: S.  size: (h, w) of the map.
    """
    frames = torch.arange(window, device=cells.device, dtype=torch.float32)
    time = embed_sine(frames, width)  # S width
    half = 2 * math.ceil(width / 4)
    x = _embed_cells(cells[..., 0], half, size[1])
    y = _embed_cells(cells[..., 1], half, size[0])
    space = torch.cat([x, y], dim=-1)[..., :width]
    return time[None, :, None] + space[:, None]


def embed_sine(position: Tensor, width: int) -> Tensor:
    """The sinusoidal code (..., width) of positions (...): sines, then cosines; base 10000."""
    half = math.ceil(width / 2)
    exponent = torch.arange(half, device=position.device, dtype=torch.float32) / (width / 2)
    angle = position[..., None] * 10000.0**-exponent
    return torch.cat([angle.sin(), angle.cos()], dim=-1)[..., :width]


def _embed_cells(cells: Tensor, width: int, size: int) -> Tensor:
    """The code of whole cells 0..size-1, linear between, held beyond: (..., width)."""
    cells = cells.clamp(0, size - 1)
    below = cells.floor()
    fraction = (cells - below)[..., None]
    return embed_sine(below, width) * (1 - fraction) + embed_sine(below + 1, width) * fraction
