"""The one pixel convention: an integer is a pixel centre, and sizes map corner to corner."""

import torch
import torch.nn.functional as F
from torch import Tensor


def rescale_points(xy: Tensor, size: tuple[int, int], to: tuple[int, int]) -> Tensor:
    """Points (..., 2) of a frame of `size` (H, W) in the pixels of the frame resized to `to`.

    Corner centres map to corner centres, x (W'-1)/(W-1), as in `resize_video`.
    """
    (height, width), (new_height, new_width) = size, to
    scale_x = (new_width - 1) / max(width - 1, 1)
    scale_y = (new_height - 1) / max(height - 1, 1)
    return xy * xy.new_tensor([scale_x, scale_y])


def resize_video(video: Tensor, size: tuple[int, int], align_corners: bool = True) -> Tensor:
    """Float video (..., 3, H, W) resized bilinearly to `size` (H', W'); range kept."""
    *lead, channels, height, width = video.shape
    flat = video.reshape(-1, channels, height, width).float()
    if (height, width) != tuple(size):
        flat = F.interpolate(flat, size=tuple(size), mode="bilinear", align_corners=align_corners)
    return flat.reshape(*lead, channels, *size)


def inside_frame(xy: Tensor, size: tuple[int, int]) -> Tensor:
    """Bool (...): the point (..., 2) lies within the pixel centres of a frame of `size` (H, W)."""
    height, width = size
    x, y = xy.unbind(-1)
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def sample_maps(maps: Tensor, which: Tensor, xy: Tensor) -> Tensor:
    """Values (..., C) of maps (K, h, w, C), read bilinearly at cells `xy` (..., 2).

    which: (...) the map that each point is read in. Outside a map counts as zero. Four gathers
    and no normalised grid: a whole position returns its cell exactly.
    """
    _, height, width, channels = maps.shape
    rows = maps.reshape(-1, channels)
    far = max(height, width) + 2
    xy = xy.float().clamp(-far, far)
    corner = xy.floor()
    fraction = xy - corner
    total = 0
    for dx in (0, 1):
        for dy in (0, 1):
            x = corner[..., 0].long() + dx
            y = corner[..., 1].long() + dy
            weight_x = fraction[..., 0] if dx else 1 - fraction[..., 0]
            weight_y = fraction[..., 1] if dy else 1 - fraction[..., 1]
            in_bounds = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            weight = (weight_x * weight_y * in_bounds)[..., None]
            index = (which * height + y.clamp(0, height - 1)) * width + x.clamp(0, width - 1)
            total = total + weight * F.embedding(index, rows).float()
    return total


def reverse_time(queries: Tensor, frames: int) -> Tensor:
    """Queries B N 3 of the same points in the reversed video: t becomes frames - 1 - t."""
    return torch.cat([frames - 1 - queries[..., :1], queries[..., 1:]], dim=-1)


def flip_points(points: Tensor, width: int) -> Tensor:
    """Points (..., x, y), or queries (..., t, x, y), in the frame with left and right exchanged."""
    return torch.cat([points[..., :-2], width - 1 - points[..., -2:-1], points[..., -1:]], dim=-1)
