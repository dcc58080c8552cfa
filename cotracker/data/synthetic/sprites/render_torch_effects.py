"""The effects of appearance.py as tensor operations: the same pictures within rounding."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cotracker.data.synthetic.camera_effects import Look

LUMINANCE = [  # quantisation tables of the JPEG standard, annex K, quality 50
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
]  # fmt: skip
CHROMINANCE = [
    [17, 18, 24, 47, 99, 99, 99, 99], [18, 21, 26, 66, 99, 99, 99, 99], [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99], *[[99] * 8] * 4,
]  # fmt: skip
TO_YCC = [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]


def look_at(looks: list[Look], video: Tensor) -> Tensor:
    """Videos B T 3 H W uint8 as the looks make them of `video` B T 3 H W, float in 0..255, which is written over."""
    for frames, look in zip(video, looks):
        frames.copy_(frames.round())
        if look.field is not None:
            frames.copy_(lit(frames, torch.from_numpy(look.field)))
        if look.tone is not None:
            frames.copy_(toned(frames, torch.from_numpy(look.tone)))
        if look.focus is not None:
            frames.copy_(blurred(frames, torch.from_numpy(look.focus)))
        if look.grain is not None:
            frames.add_(grain(look, frames)).clamp_(0, 255)
        if look.quality is not None:
            frames.copy_(through_jpeg(frames, look.quality))
    return video.to(torch.uint8)


def lit(frames: Tensor, field: Tensor) -> Tensor:
    """Frames T 3 H W under a field of light T 3 3."""
    light = F.interpolate(
        field[:, None].to(frames.device), frames.shape[2:], mode="bicubic", align_corners=False
    )
    return (frames * light).round().clamp(0, 255)


def toned(frames: Tensor, tone: Tensor) -> Tensor:
    """Frames T 3 H W, whole numbers, through their tables T 256 3."""
    table = tone.to(frames.device).permute(0, 2, 1).reshape(-1).float()
    first = torch.arange(frames.shape[0] * 3, device=frames.device).view(-1, 3, 1, 1) * 256
    return table[frames.long() + first]


def blurred(frames: Tensor, sigma: Tensor) -> Tensor:
    """Frames T 3 H W after a Gaussian of `sigma` (T,) pixels, cut off where OpenCV does."""
    reach = (sigma * 6 + 1).round().long() // 2
    most = int(reach.max())
    at = torch.arange(-most, most + 1, dtype=torch.float64)
    weight = torch.exp(-(at**2) / (2 * sigma.double()[:, None] ** 2)) * (at.abs() <= reach[:, None])
    weight = (
        (weight / weight.sum(1, keepdim=True))
        .float()
        .to(frames.device)
        .repeat_interleave(3, 0)[:, None, None]
    )
    flat = F.pad(frames.flatten(0, 1)[None], (most,) * 4, mode="reflect")
    flat = F.conv2d(
        F.conv2d(flat, weight, groups=len(weight)), weight.transpose(2, 3), groups=len(weight)
    )
    return flat.view(frames.shape).round()


def grain(look: Look, frames: Tensor) -> Tensor:
    """The noise T 3 H W of the look."""
    tile, offsets = look.grain
    height, width = frames.shape[2:]
    tile = torch.from_numpy(tile).to(frames.device).permute(2, 0, 1)
    return torch.stack(
        [tile[:, row : row + height, column : column + width] for row, column in offsets.tolist()]
    )


def through_jpeg(frames: Tensor, quality: int) -> Tensor:
    """Frames T 3 H W after JPEG of `quality`: 8x8 cosine transforms, colours at half the size."""
    height, width = frames.shape[2:]
    matrix = frames.new_tensor(TO_YCC)
    padded = F.pad(frames, (0, -width % 16, 0, -height % 16), mode="replicate")
    ycc = torch.einsum("ij,tjhw->tihw", matrix, padded)
    light = _quantised(ycc[:, :1].round() - 128, LUMINANCE, quality) + 128
    colour = _quantised(F.avg_pool2d(ycc[:, 1:].round(), 2).round(), CHROMINANCE, quality)
    colour = F.interpolate(colour.round(), scale_factor=2, mode="bilinear", align_corners=False)
    back = torch.cat([light.round().clamp(0, 255), colour.round()], dim=1)
    rgb = torch.einsum("ij,tjhw->tihw", torch.linalg.inv(matrix), back)
    return rgb[:, :, :height, :width].round().clamp(0, 255)


def _quantised(values: Tensor, table: list[list[int]], quality: int) -> Tensor:
    """Values T c H W after their 8x8 cosine coefficients are rounded to the steps of `quality`."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = values.new_tensor(np.clip((np.array(table) * scale + 50) // 100, 1, 255))
    at = torch.arange(8, dtype=torch.float64)
    basis = torch.cos((2 * at + 1) * at[:, None] * (math.pi / 16)) / 2
    basis[0] /= math.sqrt(2)
    basis = basis.to(values)
    frames, channels, height, width = values.shape
    blocks = values.reshape(frames, channels, height // 8, 8, width // 8, 8)
    cosines = torch.einsum("ux,vy,tciykx->tcivku", basis, basis, blocks)
    rounded = (cosines / steps[:, None]).round() * steps[:, None]
    return torch.einsum("ux,vy,tcivku->tciykx", basis, basis, rounded).reshape(values.shape)
