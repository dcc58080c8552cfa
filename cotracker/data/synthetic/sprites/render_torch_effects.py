"""The effects of camera_effects.py as tensor operations: the same pictures within rounding."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cotracker.data.synthetic.camera_effects import CameraEffects

# quantisation tables of the JPEG standard, annex K, quality 50
LUMINANCE = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
]
CHROMINANCE = [
    [17, 18, 24, 47, 99, 99, 99, 99],
    [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99],
    *[[99] * 8] * 4,
]
TO_YCC = [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]


def apply_effects(batch: list[CameraEffects], video: Tensor) -> Tensor:
    """Videos B T 3 H W uint8 after the effects of each.

    video: B T 3 H W float in 0..255, which is overwritten.
    """
    for frames, effects in zip(video, batch):
        frames.copy_(frames.round())
        if effects.light_field is not None:
            frames.copy_(apply_light_field(frames, torch.from_numpy(effects.light_field)))
        if effects.tone_curve is not None:
            frames.copy_(apply_tone_curve(frames, torch.from_numpy(effects.tone_curve)))
        if effects.blur_sigma is not None:
            frames.copy_(blur_frames(frames, torch.from_numpy(effects.blur_sigma)))
        if effects.noise is not None:
            frames.add_(cut_noise(*effects.noise, frames)).clamp_(0, 255)
        if effects.jpeg_quality is not None:
            frames.copy_(compress_jpeg(frames, effects.jpeg_quality))
    return video.to(torch.uint8)


def apply_light_field(frames: Tensor, field: Tensor) -> Tensor:
    """Frames T 3 H W under a field of light T 3 3."""
    light = F.interpolate(
        field[:, None].to(frames.device), frames.shape[2:], mode="bicubic", align_corners=False
    )
    return (frames * light).round().clamp(0, 255)


def apply_tone_curve(frames: Tensor, tone: Tensor) -> Tensor:
    """Frames T 3 H W, whole numbers, through their tables T 256 3."""
    table = tone.to(frames.device).permute(0, 2, 1).reshape(-1).float()
    first = torch.arange(frames.shape[0] * 3, device=frames.device).view(-1, 3, 1, 1) * 256
    return table[frames.long() + first]


def blur_frames(frames: Tensor, sigma: Tensor) -> Tensor:
    """Frames T 3 H W after a Gaussian of `sigma` (T,) pixels, cut off where OpenCV does."""
    reach = (sigma * 6 + 1).round().long() // 2
    most = int(reach.max())
    at = torch.arange(-most, most + 1, dtype=torch.float64)
    weight = torch.exp(-(at**2) / (2 * sigma.double()[:, None] ** 2)) * (at.abs() <= reach[:, None])
    weight = (weight / weight.sum(1, keepdim=True)).float().to(frames.device)
    weight = weight.repeat_interleave(3, 0)[:, None, None]
    flat = F.pad(frames.flatten(0, 1)[None], (most,) * 4, mode="reflect")
    flat = F.conv2d(flat, weight, groups=len(weight))
    flat = F.conv2d(flat, weight.transpose(2, 3), groups=len(weight))
    return flat.view(frames.shape).round()


def cut_noise(tile: np.ndarray, offsets: np.ndarray, frames: Tensor) -> Tensor:
    """The noise T 3 H W at the offsets of the tile."""
    height, width = frames.shape[2:]
    tile = torch.from_numpy(tile).to(frames.device).permute(2, 0, 1)
    cuts = [tile[:, row : row + height, left : left + width] for row, left in offsets.tolist()]
    return torch.stack(cuts)


def compress_jpeg(frames: Tensor, quality: int) -> Tensor:
    """Frames T 3 H W after JPEG of `quality`: 8x8 cosine transforms, colours at half the size."""
    height, width = frames.shape[2:]
    matrix = frames.new_tensor(TO_YCC)
    padded = F.pad(frames, (0, -width % 16, 0, -height % 16), mode="replicate")
    ycc = torch.einsum("ij,tjhw->tihw", matrix, padded)
    light = _quantise(ycc[:, :1].round() - 128, LUMINANCE, quality) + 128
    colour = _quantise(F.avg_pool2d(ycc[:, 1:].round(), 2).round(), CHROMINANCE, quality)
    colour = F.interpolate(colour.round(), scale_factor=2, mode="bilinear", align_corners=False)
    back = torch.cat([light.round().clamp(0, 255), colour.round()], dim=1)
    rgb = torch.einsum("ij,tjhw->tihw", torch.linalg.inv(matrix), back)
    return rgb[:, :, :height, :width].round().clamp(0, 255)


def _quantise(values: Tensor, table: list[list[int]], quality: int) -> Tensor:
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
