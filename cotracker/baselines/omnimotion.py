"""OmniMotion (Wang et al. 2023): one network fitted to each video, from optical flow of all pairs.

A point of a frame maps, by an invertible network, into one volume that all frames share, and from
there into any other frame. Colour and density in that volume say which point a pixel shows.
The fit itself is in omnimotion_fit.py.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, WAVES = 256, 4  # of the published network; frequencies of coordinates
SAMPLES, FAR = 32, 2.0  # of a ray, at depths from 0 to FAR
MARGIN = 1.1 * FAR / SAMPLES  # of depth, within which a point does not hide itself
OCCLUDED = 0.99  # above this sum of weights in front of it


class Gabor(nn.Module):
    """A multiplicative filter network of `layers` Gabor filters."""

    def __init__(self, inputs: int, hidden: int, outputs: int, layers: int, alpha: float):
        super().__init__()
        self.filters = nn.ModuleList(
            Filter(inputs, hidden, alpha / layers, 256 / math.sqrt(layers)) for _ in range(layers)
        )
        self.linear = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers - 1))
        self.output_linear = nn.Linear(hidden, outputs)
        for linear in self.linear:
            nn.init.uniform_(linear.weight, -(hidden**-0.5), hidden**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        z = self.filters[0](x)
        for linear, one in zip(self.linear, list(self.filters)[1:]):
            z = one(x) * linear(z)
        return self.output_linear(z)


class Filter(nn.Module):
    """sin(W x + b) exp(-gamma / 2 |x - mu|^2), for each of the hidden units."""

    def __init__(self, inputs: int, hidden: int, alpha: float, scale: float):
        super().__init__()
        self.linear = nn.Linear(inputs, hidden)
        self.mu = nn.Parameter(2 * torch.rand(hidden, inputs) - 1)
        self.gamma = nn.Parameter(torch.distributions.Gamma(alpha, 1.0).sample((hidden,)))
        self.linear.weight.data *= scale * self.gamma.data.sqrt()[:, None]
        nn.init.uniform_(self.linear.bias, -math.pi, math.pi)

    def forward(self, x: Tensor) -> Tensor:
        apart = x.square().sum(-1, keepdim=True) + self.mu.square().sum(-1) - 2 * x @ self.mu.T
        return self.linear(x).sin() * (-0.5 * self.gamma * apart).exp()


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with LeakyReLU between them."""
    parts = []
    for inputs, outputs in zip(widths, widths[1:]):
        parts += [nn.Linear(inputs, outputs), nn.LeakyReLU()]
    return nn.Sequential(*parts[:-1])


class Coupling(nn.Module):
    """Scales and shifts one coordinate by a function of the two others and of the frame's code."""

    def __init__(self, moved: int, width: int):
        super().__init__()
        kept = torch.ones(1, 1, 1, 3)
        kept[..., moved] = 0
        self.register_buffer("mask", kept)
        self.map_st = mlp(width // 2 + width, width, width, width, 2)
        self.projection = nn.Linear(2 * (1 + 2 * WAVES), width)

    def scale_shift(self, x: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Each (..., 1), of points F P S 3 and codes F P S C."""
        u = x[..., self.mask.flatten() > 0]
        angle = math.pi * 2.0 ** torch.arange(WAVES, device=x.device) * u[..., None]  # ... 2 WAVES
        waves = torch.cat([angle.sin(), angle.cos()], dim=-1).flatten(-2)
        known = F.leaky_relu(self.projection(torch.cat([u, waves], dim=-1)))
        s, t = self.map_st(torch.cat([code, known], dim=-1)).split(1, dim=-1)
        return s.clamp(-8, 8), t

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        s, t = self.scale_shift(x, code)
        return torch.where(self.mask.flatten() > 0, x, (x - t) * (-s).exp())

    def inverse(self, x: Tensor, code: Tensor) -> Tensor:
        s, t = self.scale_shift(x, code)
        return torch.where(self.mask.flatten() > 0, x, x * s.exp() + t)


class Deform(nn.Module):
    """The invertible map between frames and the shared volume, and its codes."""

    def __init__(self, moved: list[int], width: int):
        super().__init__()
        code = width // 2
        self.layers1 = nn.ModuleList(Coupling(one, width) for one in moved)
        self.code_projectors = nn.ModuleList(mlp(code, code, code) for _ in moved)
        widths = [2 + 2 * WAVES] + [width] * 7
        steps = [nn.Linear(i, o) for i, o in zip(widths, widths[1:])]
        self.affine_mlp = nn.ModuleList([*steps, nn.Linear(width, 5)])

    def forward(self, x: Tensor, code: Tensor, time: Tensor) -> Tensor:
        """Points F P S 3 of frames with codes F C and times F, in the shared volume."""
        x = self._affine(x, time, invert=False)
        for layer, own in zip(self.layers1, self._codes(code, x)):
            x = layer(x, own)
        return x

    def inverse(self, x: Tensor, code: Tensor, time: Tensor) -> Tensor:
        """Points of the volume in the frames."""
        codes = list(self._codes(code, x))
        for layer, own in zip(reversed(self.layers1), reversed(codes)):
            x = layer.inverse(x, own)
        return self._affine(x, time, invert=True)

    def _codes(self, code: Tensor, x: Tensor):
        for project in self.code_projectors:
            yield project(code)[:, None, None].expand(*x.shape[:3], -1)

    def _affine(self, x: Tensor, time: Tensor, invert: bool) -> Tensor:
        """(x, y) through the affine map of each depth and time; the depth stays."""
        xy, depth = x.split([2, 1], dim=-1)
        angle = math.pi * 2.0 ** torch.arange(WAVES, device=x.device) * depth
        waves = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
        y = torch.cat([waves, time[:, None, None, None].expand_as(depth), depth], dim=-1)
        for layer in self.affine_mlp[:-1]:
            y = F.relu(layer(y))
        turn, log_x, shift_x, log_y, shift_y = self.affine_mlp[-1](y).unbind(-1)
        rows = torch.stack(
            [turn.cos() * log_x.exp(), -turn.sin() * log_x.exp(),
             turn.sin() * log_y.exp(), turn.cos() * log_y.exp()], dim=-1
        ).unflatten(-1, (2, 2))  # fmt: skip
        shift = torch.stack([shift_x, shift_y], dim=-1)
        if invert:
            determinant = rows[..., 0, 0] * rows[..., 1, 1] - rows[..., 0, 1] * rows[..., 1, 0]
            a, b, c, d = rows.flatten(-2).unbind(-1)
            rows = torch.stack([d, -b, -c, a], dim=-1).unflatten(-1, (2, 2))
            moved = (rows @ (xy - shift)[..., None])[..., 0] / determinant[..., None]
        else:
            moved = (rows @ xy[..., None])[..., 0] + shift
        return torch.cat([moved, depth], dim=-1)


class OmniMotionNetwork(nn.Module):
    """frames: of the video.  moved: which coordinate each coupling layer changes.

    width: of its layers; codes have half, the colour network twice as many numbers.

    Frames are batched: F frames, P rays in each, S samples on each ray. Positions in a frame are
    x and y from -1 to 1 between the centres of the outer pixels, and depth from 0 to 2.
    """

    def __init__(self, frames: int, moved: list[int], width: int = WIDTH):
        super().__init__()
        self.frames = frames
        self.feature_mlp = Gabor(1, width, width // 2, 3, 4.5)
        self.deform_mlp = Deform(moved, width)
        self.color_mlp = Gabor(3, 2 * width, 4, 4, 3.0)

    def to_canonical(self, x: Tensor, frames: Tensor) -> Tensor:
        """Points F P S 3 of these frames F in the shared volume."""
        time = self._time(frames)
        return self.deform_mlp(x, self.feature_mlp(time[:, None]), time)

    def from_canonical(self, x: Tensor, frames: Tensor) -> Tensor:
        time = self._time(frames)
        return self.deform_mlp.inverse(x, self.feature_mlp(time[:, None]), time)

    def _time(self, frames: Tensor) -> Tensor:
        return (frames + 1) / self.frames

    def look_up(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Colour (..., 3) in 0..1 and density (...) of points (..., 3) of the shared volume."""
        far = x.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        x = torch.where(far > 1, (2 - 1 / far) * x / far, x)
        out = self.color_mlp(x)
        return out[..., :3].sigmoid(), F.softplus(out[..., 3] - 1)

    def rays(self, xy: Tensor, jitter: Tensor | None = None) -> Tensor:
        """Samples F P S 3 along the rays of positions F P 2 in -1..1.

        jitter: F P S in 0..1, where within its interval each sample lies; None: evenly spaced.
        """
        depth = torch.linspace(0, FAR, SAMPLES, device=xy.device).expand(*xy.shape[:2], SAMPLES)
        if jitter is not None:
            middle = (depth[..., 1:] + depth[..., :-1]) / 2
            low = torch.cat([depth[..., :1], middle], dim=-1)
            high = torch.cat([middle, depth[..., -1:]], dim=-1)
            depth = low + (high - low) * jitter
        return torch.cat([xy[:, :, None].expand(-1, -1, SAMPLES, -1), depth[..., None]], dim=-1)

    def weigh(self, canonical: Tensor) -> tuple[Tensor, Tensor]:
        """Weights F P S of a ray's samples, and their colours."""
        colour, density = self.look_up(canonical)
        alpha = 1 - (-density).exp()
        clear = torch.cumprod(1 - alpha + 1e-10, dim=-1)
        clear = torch.cat([torch.ones_like(clear[..., :1]), clear[..., :-1]], dim=-1)
        return alpha * clear, colour

    def follow(self, xy: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Positions F P 3 in the target frames of what pixels show, and how much hides each, F P.

        xy: F P 2 in -1..1 of the source frames F. The sample of largest weight is followed.
        """
        canonical = self.to_canonical(self.rays(xy), source)
        best = self.weigh(canonical)[0].argmax(-1)[..., None, None].expand(-1, -1, 1, 3)
        there = self.from_canonical(canonical.gather(2, best), target)[:, :, 0]
        return there, self.hidden(there, target)

    def hidden(self, there: Tensor, frames: Tensor) -> Tensor:
        """F P: the sum of the weights in front of points F P 3 of frames F."""
        rays = self.rays(there[..., :2])
        weights, _ = self.weigh(self.to_canonical(rays, frames))
        front = rays[..., 2] < there[..., 2:] - MARGIN
        return (weights * front).sum(-1)


def to_units(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels (..., 2) of a frame of `size` (H, W) as positions in -1..1."""
    return 2 * pixels / pixels.new_tensor([size[1] - 1, size[0] - 1]) - 1


def to_pixels(xy: Tensor, size: tuple[int, int]) -> Tensor:
    """The inverse of to_units."""
    return (xy + 1) / 2 * xy.new_tensor([size[1] - 1, size[0] - 1])
