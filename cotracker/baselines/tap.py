"""What TAP-Net, TAPIR, LocoTrack and TAPNext share: raster coordinates, backbone, cost volumes.

Raster coordinates count from the outer corner of the first pixel: its centre is at 0.5.
"""

from abc import abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker.baselines.by_clip import Answer, ByClip, read_frames
from cotracker.geometry import inside_frame
from cotracker.types import Video

REACH = 5  # cells around the maximum of a heat map that its position is a mean of
FRAMES_AT_ONCE = 8


def conv_same(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv(x) with zeros around x, so that a side becomes ceil(side / stride)."""
    return conv(pad_same(x, conv.kernel_size, conv.stride))


def pad_same(
    x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], value: float = 0.0
) -> Tensor:
    """Maps x with `value` around them; of an odd number of rows or columns the last is at the end.

    kernel, stride: of the layer that reads them, which then gives ceil(side / stride) values a
    side.
    """
    padding = []
    for side, reach, step in zip(x.shape[:1:-1], kernel[::-1], stride[::-1]):
        total = max((-(-side // step) - 1) * step + reach - side, 0)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding, value=value)


def normalise(x: Tensor, dim: int) -> Tensor:
    """Vectors of length one along `dim`."""
    return x * x.square().sum(dim, keepdim=True).clamp(min=1e-12).rsqrt()


class Block(nn.Module):
    """A residual block, norms before its convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int, first: bool):
        super().__init__()
        self.proj_conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if first else None
        self.bn_0 = nn.InstanceNorm2d(inputs, affine=True)
        self.conv_0 = nn.Conv2d(inputs, outputs, 3, stride, bias=False)
        self.bn_1 = nn.InstanceNorm2d(outputs, affine=True)
        self.conv_1 = nn.Conv2d(outputs, outputs, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn_0(x))
        shortcut = x if self.proj_conv is None else self.proj_conv(y)
        y = F.relu(self.bn_1(conv_same(y, self.conv_0)))
        return shortcut + conv_same(y, self.conv_1)


class Group(nn.Module):
    """Two blocks."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        pair = Block(inputs, outputs, stride, True), Block(outputs, outputs, 1, False)
        self.blocks = nn.ModuleList(pair)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class ResNet(nn.Module):
    """Frames K 3 H W in -1..1 to the four groups' maps, at 1/2, 1/4, 1/8 and 1/8."""

    def __init__(self):
        super().__init__()
        self.initial_conv = nn.Conv2d(3, 64, 7, 2, bias=False)
        sizes = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 256, 1))
        self.block_groups = nn.ModuleList(Group(*size) for size in sizes)

    def forward(self, frames: Tensor) -> list[Tensor]:
        x, maps = conv_same(frames, self.initial_conv), []
        for group in self.block_groups:
            x = group(x)
            maps.append(x)
        return maps


def sample_raster(maps: Tensor, xy: Tensor, padding: str = "zeros") -> Tensor:
    """Values K P C of maps K C h w, bilinear at raster positions K P 2, in cells."""
    height, width = maps.shape[-2:]
    grid = 2 * xy / xy.new_tensor([width, height]) - 1
    values = F.grid_sample(maps, grid[:, :, None], padding_mode=padding, align_corners=False)
    return values[..., 0].transpose(1, 2)


def sample_queries(maps: Tensor, queries: Tensor, size: tuple[int, int]) -> Tensor:
    """Features N C of maps T C h w at queries N 3, raster (t, x, y) of frames of `size` (H, W)."""
    cells = to_cells(queries[:, 1:], size, maps)
    return sample_raster(maps[queries[:, 0].long()], cells[:, None], "border")[:, 0]


def to_cells(xy: Tensor, size: tuple[int, int], maps: Tensor) -> Tensor:
    """Raster positions (..., 2) of frames of `size` (H, W) in cells of maps … h w."""
    height, width = maps.shape[-2:]
    return xy * xy.new_tensor([width / size[1], height / size[0]])


def read_window(maps: Tensor, cells: Tensor, radius: int = 3, stretch: float = 1.0) -> Tensor:
    """Features N T (2 radius + 1)^2 C of maps T C h w around cells N T 2, y the slow index.

    stretch: by which x is multiplied before it is read.
    """
    side = torch.arange(-radius, radius + 1.0, device=cells.device)
    y, x = torch.meshgrid(side, side, indexing="ij")
    reach = torch.stack([x, y], dim=-1).flatten(0, 1)  # K 2
    xy = cells.transpose(0, 1)[:, :, None] + reach  # T N K 2
    xy = xy * xy.new_tensor([stretch, 1.0])
    values = sample_raster(maps, xy.flatten(1, 2))
    return values.unflatten(1, xy.shape[1:3]).transpose(0, 1)


def soft_argmax(heat: Tensor, temperature: float, size: tuple[int, int]) -> Tensor:
    """Raster positions K 2 in frames of `size` (H, W), of logits K h w of where points are.

    Each is the mean of softmax(temperature x logits) near its maximum.
    """
    height, width = heat.shape[-2:]
    y, x = (torch.arange(side, device=heat.device) + 0.5 for side in (height, width))
    cells = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)  # hw 2
    flat = (temperature * heat).flatten(-2).softmax(-1)
    best = cells[flat.argmax(-1)]  # K 2
    near = (cells - best[..., None, :]).square().sum(-1) < REACH**2
    weight = flat * near
    mean = weight @ cells / weight.sum(-1, keepdim=True).clamp(min=1e-12)
    return mean * heat.new_tensor([size[1] / width, size[0] / height])


class Match(nn.Module):
    """A cost volume to a heat map, and to logits: of occlusion, and from TAPIR on of distance.

    rectified: the last convolution is, before its mean; in TAP-Net it is not.
    """

    def __init__(self, logits: int = 2, rectified: bool = True):
        super().__init__()
        self.rectified = rectified
        self.hid1 = nn.Conv2d(1, 16, 3)
        self.hid2 = nn.Conv2d(16, 1, 3)
        self.hid3 = nn.Conv2d(16, 32, 3, 2)
        self.hid4 = nn.Linear(32, 16)
        self.occ_out = nn.Linear(16, logits)

    def forward(self, costs: Tensor) -> tuple[Tensor, Tensor]:
        """Heat map logits K h w and the other logits K n, of costs K h w."""
        x = F.relu(conv_same(costs[:, None], self.hid1))
        heat = conv_same(x, self.hid2)[:, 0]
        x = conv_same(x, self.hid3)
        x = (F.relu(x) if self.rectified else x).mean((-2, -1))
        return heat, self.occ_out(F.relu(self.hid4(x)))


class Estimate(NamedTuple):
    """Of N points in T frames; positions are raster (x, y) of the initial resolution."""

    xy: Tensor  # N T 2
    occlusion: Tensor  # N T, logits
    distance: Tensor  # N T, logits of an error above some pixels


def pin(xy: Tensor, queries: Tensor, size: tuple[int, int], to: tuple[int, int]) -> Tensor:
    """Positions N T 2 in pixels of `to`, with the queries, of `size`, in their frames."""
    own = queries[:, 1:] * queries.new_tensor([to[1] / size[1], to[0] / size[0]])
    time = torch.arange(xy.shape[1], device=xy.device)
    return torch.where((time == queries[:, :1])[..., None], own[:, None], xy)


def resize(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames as the published code resizes them: bilinear, without smoothing."""
    if tuple(frames.shape[-2:]) == tuple(size):
        return frames
    return F.interpolate(frames, size, mode="bilinear", align_corners=False)


def visibility(estimate: Estimate) -> Tensor:
    """N T in 0..1: the probability that a point is neither occluded nor far off."""
    return (1 - estimate.occlusion.sigmoid()) * (1 - estimate.distance.sigmoid())


class SquareTracker(ByClip):
    """Trackers that see the whole clip resized to `size`, in both directions of time."""

    both_directions = True
    size = (256, 256)
    points_at_once = 64

    @abstractmethod
    def track_square(self, frames: Tensor, queries: Tensor) -> Answer:
        """The Answer for queries N 3, raster (t, x, y), in frames T 3 H W of -1..1, raster too."""

    def track_clip(self, video: Video, queries: Tensor) -> Answer:
        size = tuple(video.shape[-2:])
        scale = queries.new_tensor([self.size[1] / size[1], self.size[0] / size[0]])
        raster = torch.cat([queries[:, :1], (queries[:, 1:] + 0.5) * scale], dim=1)
        xy, visibility, visible = self.track_square(self._read(video), raster)
        xy = xy / scale - 0.5
        return xy, visibility, visible & inside_frame(xy, size)

    def _read(self, video: Video) -> Tensor:
        """All frames, T 3 H W of -1..1, at the tracker's size."""
        parts = []
        for start in range(0, video.shape[1], FRAMES_AT_ONCE):
            frames = read_frames(video, start, start + FRAMES_AT_ONCE).to(self.device)
            parts.append(resize_raster(frames, self.size) * (2 / 255) - 1)
        return torch.cat(parts)

    def describe(self) -> dict:
        return super().describe() | {"resolution": list(self.size)}


def resize_raster(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames n 3 H W at another size, corner to corner of the outer pixels, smooth when smaller."""
    if tuple(frames.shape[-2:]) == tuple(size):
        return frames
    return F.interpolate(frames, size, mode="bilinear", align_corners=False, antialias=True)
