"""Frames to feature maps: the paper's phi(I_t) and its average-pooled scales (section 3.1, appendix A)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker.model.fused import fuse, norm_relu, norm_relu_conv, residual


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance norm, added to the input."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = (
            None
            if stride == 1 and inputs == outputs
            else nn.Conv2d(inputs, outputs, 1, stride=stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = norm_relu_conv(self.conv1(x), self.conv2)
        return residual(x, y, None if self.shortcut is None else self._shortened(x))

    def _shortened(self, x: Tensor) -> Tensor:
        """The shortcut, as a product at the cells it keeps.

        PyTorch 2.14's strided 1x1 convolution writes beyond its memory in the backward pass where maps lie channels
        last and widths are no multiples of 16. The weight is laid out so that its gradient has its strides.
        """
        weight, step = self.shortcut.weight.flatten(1)[..., None, None], self.shortcut.stride[0]
        if step > 1:
            last = x.is_contiguous(memory_format=torch.channels_last)
            x = x[..., ::step, ::step].contiguous(
                memory_format=torch.channels_last if last else torch.contiguous_format
            )
        return F.conv2d(x, weight, self.shortcut.bias)


class Encoder(nn.Module):
    """Frame to map of `channels` at 1/stride: 7x7 stride 2, eight residual blocks, four levels fused (appendix A)."""

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
        """Maps K C h w, h = ceil(H / stride), of frames K 3 H W in -1..1; cell (x, y) is at pixel stride (x, y)."""
        size = [-(-side // self.stride) for side in frames.shape[-2:]]
        if (
            frames.device.type == "cpu"
        ):  # there convolutions read maps that lie channels last at 1.5 times the pace
            frames = frames.contiguous(memory_format=torch.channels_last)
        x = norm_relu(self.stem(frames))
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        x = norm_relu_conv(fuse(levels, size, self.fuse), self.project)
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
