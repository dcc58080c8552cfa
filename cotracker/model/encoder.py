"""Frames to feature maps: phi(I_t) and its average-pooled scales (section 3.1, appendix A)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker.model import fused, winograd
from cotracker.model.runtime import faster, for_convolutions, for_tiles


def instance_norm(x: Tensor) -> Tensor:
    """Maps K C h w with mean 0 and variance 1 over each channel's cells; one cell is allowed.

    Statistics are float32 whatever the dtype of the maps.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = torch.var_mean(wide, dim=(2, 3), correction=0, keepdim=True)
    return ((wide - mean) * (variance + fused.EPS).rsqrt()).to(x.dtype)


@faster(fused.norm_relu)
def norm_relu(x: Tensor) -> Tensor:
    """relu(norm(x)) of maps K C h w."""
    return F.relu(instance_norm(x))


@faster(winograd.convolve, where=for_tiles)
def convolve(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv of maps K C h w."""
    return conv(x)


@faster(fused.norm_relu_conv_by_tiles, where=for_tiles)
@faster(fused.norm_relu_conv)
def norm_relu_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv(relu(norm(x))) of maps K C h w."""
    return conv(norm_relu(x))


@faster(fused.add_residual)
def add_residual(x: Tensor, y: Tensor, shortcut: Tensor | None) -> Tensor:
    """relu(x + relu(norm(y))) of maps K C h w; norm(shortcut) in place of x where there is one."""
    x = x if shortcut is None else instance_norm(shortcut)
    return F.relu(x + norm_relu(y))


@faster(fused.fuse_levels_by_tiles, where=lambda levels, _, conv: for_tiles(levels[1], conv))
@faster(fused.fuse_levels)
def fuse_levels(levels: list[Tensor], size: tuple[int, int], conv: nn.Conv2d) -> Tensor:
    """conv of the levels K C_i h_i w_i, resized to `size` (corners on corners) and joined."""
    resized = [F.interpolate(x, size, mode="bilinear", align_corners=True) for x in levels]
    return conv(torch.cat(resized, dim=1))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance norm, added to the input."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = norm_relu_conv(convolve(x, self.conv1), self.conv2)
        return add_residual(x, y, None if self.shortcut is None else self._shorten(x))

    def _shorten(self, x: Tensor) -> Tensor:
        """The shortcut, as a product at the cells it keeps.

        PyTorch 2.14's strided 1x1 convolution writes beyond its memory in the backward pass where
        maps lie channels last and widths are no multiples of 16.  The weight is laid out so that
        its gradient has its strides.
        """
        weight = self.shortcut.weight.flatten(1)[..., None, None]
        step = self.shortcut.stride[0]
        if step > 1:
            last = x.is_contiguous(memory_format=torch.channels_last)
            layout = torch.channels_last if last else torch.contiguous_format
            x = x[..., ::step, ::step].contiguous(memory_format=layout)
        return F.conv2d(x, weight, self.shortcut.bias)


class Encoder(nn.Module):
    """Frame to map of `channels` at 1/stride (appendix A).

    7x7 convolution of stride 2, eight residual blocks, four levels fused.
    """

    def __init__(
        self,
        stride: int,
        channels: int,
        widths: tuple[int, int, int, int],
        fuse_width: int,
        normalise: bool,
    ):
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
        """Maps K C h w, h = ceil(H / stride), of frames K 3 H W in -1..1.

        Cell (x, y) is at pixel stride (x, y).
        """
        size = [-(-side // self.stride) for side in frames.shape[-2:]]
        x = norm_relu(self.stem(for_convolutions(frames)))
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        x = norm_relu_conv(fuse_levels(levels, size, self.fuse), self.project)
        if self.normalise:
            x = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2]).permute(0, 3, 1, 2)
        return x


def pyramid(maps: Tensor, levels: int) -> list[Tensor]:
    """`levels` maps K h/s w/s C, s = 1, 2, 4, …: repeated 2x2 averages of maps K C h w.

    An odd last row or column is averaged over what is there, so that no side vanishes.
    """
    out = []
    for level in range(levels):
        if level:
            maps = F.avg_pool2d(maps, 2, ceil_mode=True, count_include_pad=False)
        out.append(maps.permute(0, 2, 3, 1).contiguous())
    return out
