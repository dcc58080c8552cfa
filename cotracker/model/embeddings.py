"""Numbers as waves: a token's position code, and how far its point has moved (eta)."""

import math

import torch
from torch import Tensor

NEIGHBOUR_PIXELS = (512.0, 384.0)  # offsets between frames are parts of a frame of this size


def wave_frequencies(waves: int) -> Tensor:
    """Frequencies of eta in radians a cell: a geometric series from pi down to pi / 512."""
    return math.pi * 512 ** (-torch.arange(waves) / max(waves - 1, 1))


def embed_motion(offset: Tensor, frequencies: Tensor) -> Tensor:
    """eta(P - P_1), B S N (2 + 4 waves), of offsets B S N 2 in cells (section 3.4).

    The offset itself, then sine and cosine in turn for x, then for y.
    """
    angle = offset[..., None] * frequencies  # B S N 2 waves
    waves = torch.stack([angle.sin(), angle.cos()], dim=-1)
    return torch.cat([offset, waves.flatten(-3)], dim=-1)


def embed_position(cells: Tensor, window: int, size: tuple[int, int], width: int) -> Tensor:
    """Position codes B S N width: of the frame and of the point's first cell (section 3.4).

    cells: B N 2, the first positions in cells.  window: S.  size: (h, w) of the map.
    """
    space = embed_cells(cells, size, width)
    return embed_frames(window, width, cells.device)[None, :, None] + space[:, None]


def embed_cells(cells: Tensor, size: tuple[int, int], width: int) -> Tensor:
    """The 2-D code (..., width) of positions (..., 2) in cells of a map of `size` (h, w)."""
    half = 2 * math.ceil(width / 4)
    x = _embed_axis(cells[..., 0], half, size[1])
    y = _embed_axis(cells[..., 1], half, size[0])
    return torch.cat([x, y], dim=-1)[..., :width]


def embed_frames(window: int, width: int, device: torch.device) -> Tensor:
    """The code S width of a window's frames."""
    return embed_sine(torch.arange(window, device=device, dtype=torch.float32), width)


def stretch_frames(
    window: int, width: int, table: int, device: torch.device, frame_mask: Tensor | None = None
) -> Tensor:
    """The codes of `table` frames, stretched over a window's: B S width; 1 S width without a mask.

    frame_mask: B S, the frames that the codes are stretched over; None: all.
    """
    codes = embed_frames(table, width, device)
    frames = torch.arange(window, device=device)
    length = torch.full((1, 1), window, device=device)
    if frame_mask is not None:
        length = frame_mask.sum(dim=1, keepdim=True).clamp(min=1)
    place = ((frames + 0.5) * (table / length) - 0.5).clamp(0, table - 1)
    below = place.long()
    above = (below + 1).clamp(max=table - 1)
    return torch.lerp(codes[below], codes[above], (place - below)[..., None])


def embed_neighbours(
    tracks: Tensor, frequencies: Tensor, frame_mask: Tensor | None = None
) -> Tensor:
    """B S N (4 + 8 waves) of tracks B S N 2 pixels: offsets from the frames after and before.

    Offsets in parts of NEIGHBOUR_PIXELS, then their sines, then their cosines, wave by wave.
    Beyond the window's ends, and in frames that frame_mask B S leaves out, a point stands still.
    """
    x, y = (tracks[:, 1:] - tracks[:, :-1]).unbind(-1)
    step = torch.stack([x / NEIGHBOUR_PIXELS[0], y / NEIGHBOUR_PIXELS[1]], dim=-1)
    if frame_mask is not None:
        step = step * (frame_mask[:, 1:] & frame_mask[:, :-1])[..., None, None]
    still = torch.zeros_like(tracks[:, :1])
    after, before = torch.cat([-step, still], dim=1), torch.cat([still, step], dim=1)
    offsets = torch.cat([after, before], dim=-1)  # B S N 4
    angle = (frequencies[:, None] * offsets[..., None, :]).flatten(-2)  # B S N (waves x 4)
    return torch.cat([offsets, angle.sin(), angle.cos()], dim=-1)


def embed_sine(position: Tensor, width: int) -> Tensor:
    """The sinusoidal code (..., width) of positions (...): sines, then cosines; base 10000."""
    half = math.ceil(width / 2)
    exponent = torch.arange(half, device=position.device, dtype=torch.float32) / (width / 2)
    angle = position[..., None] * 10000.0**-exponent
    return torch.cat([angle.sin(), angle.cos()], dim=-1)[..., :width]


def _embed_axis(cells: Tensor, width: int, size: int) -> Tensor:
    """The code of whole cells 0..size-1, linear between and held beyond them: (..., width)."""
    cells = cells.clamp(0, size - 1)
    below = cells.floor()
    fraction = (cells - below)[..., None]
    return embed_sine(below, width) * (1 - fraction) + embed_sine(below + 1, width) * fraction
