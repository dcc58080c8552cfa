"""Frames to feature maps: the paper's phi(I_t) and its average-pooled scales (section 3.1, appendix A)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def instance_norm(x: Tensor) -> Tensor:
    """K C h w with mean 0 and variance 1 over each channel's cells; written so that a single cell is allowed."""
    return F.layer_norm(x, x.shape[-2:], eps=1e-5)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance norm, added to the input."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = None if stride == 1 and inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(instance_norm(self.conv1(x)))
        y = F.relu(instance_norm(self.conv2(y)))
        if self.shortcut is not None:
            x = instance_norm(self.shortcut(x))
        return F.relu(x + y)


class Encoder(nn.Module):
    """Frame to map of `channels` at 1/stride: 7x7 stride 2, eight residual blocks, four levels fused (appendix A)."""

    def __init__(self, stride: int, channels: int, widths: tuple[int, int, int, int], fuse_width: int, normalise: bool):
        super().__init__()
        self.stride, self.normalise = stride, normalise
        self.stem = nn.Conv2d(3, widths[0], 7, stride=2, padding=3)
        inputs = (widths[0], *widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(ResidualBlock(i, o, s), ResidualBlock(o, o, 1))
            for i, o, s in zip(inputs, widths, (1, 2, 2, 2))
        )
        self.fuse = nn.Conv2d(sum(widths), fuse_width, 3, padding=1)
        self.project = nn.Conv2d(fuse_width, channels, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Maps K C h w, h = ceil(H / stride), of frames K 3 H W in -1..1; cell (x, y) is at pixel stride (x, y)."""
        size = [-(-side // self.stride) for side in frames.shape[-2:]]
        x = F.relu(instance_norm(self.stem(frames)))
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(F.interpolate(x, size=size, mode="bilinear", align_corners=True))
        x = F.relu(instance_norm(self.fuse(torch.cat(levels, dim=1))))
        x = self.project(x)
        if self.normalise:
            x = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2]).permute(0, 3, 1, 2)
        return x


def pyramid(maps: Tensor, levels: int) -> list[Tensor]:
    """`levels` maps K h/s w/s C (channels last), s = 1, 2, 4, …: repeated 2x2 averages of maps K C h w.

    An odd last row or column is averaged over what is there, so that no side vanishes.
    """
    out = []
    for level in range(levels):
        if level:
            maps = F.avg_pool2d(maps, 2, ceil_mode=True, count_include_pad=False)
        out.append(maps.permute(0, 2, 3, 1).contiguous())
    return out
