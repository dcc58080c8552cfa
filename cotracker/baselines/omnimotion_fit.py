"""The fit of OmniMotion to one video: flow of all pairs made consistent, losses, schedule.

Where the paper is silent the published code is followed; what differs is in docs/trackers.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cotracker.baselines.omnimotion import FAR, OmniMotionNetwork, to_pixels, to_units
from cotracker.geometry import inside_frame, sample_maps

CLOSES, OPEN = 3.0, 4.5  # pixels: flow there and back agrees below, and is occluded above
NEAR = 3  # frames between which occluded flow is trusted
ALIKE, SAME_COLOUR = 0.5, 0.3  # cosine of features, distance of colours, that go on with a chain
RATES = {"feature_mlp": 1e-3, "deform_mlp": 1e-4, "color_mlp": 3e-4}  # of Adam
EPOCH = 20_000  # steps, of 100,000, after which rates are halved and errors are measured
STEPS = 100_000


@dataclass(frozen=True)
class Flows:
    """Flow of every ordered pair of frames, in pixels, and where it is trusted.

    flow: T T H W 2.
    cycle: T T H W, there and back closes.  occluded: T T H W, hidden there, but known.
    """

    flow: Tensor
    cycle: Tensor
    occluded: Tensor

    @property
    def counts(self) -> Tensor:
        """T H W: to how many frames a pixel's flow is trusted."""
        return (self.cycle | self.occluded).sum(1)


def filter_flows(flow: Tensor, features: Tensor | None = None) -> Flows:
    """The Flows of flow T T H W 2: what closes there and back, and what is hidden there.

    features: T H W C of unit length, which must be alike between frames further apart.
    """
    frames = len(flow)
    cycle = torch.zeros(flow.shape[:-1], dtype=torch.bool)
    occluded = torch.zeros_like(cycle)
    grid = pixel_grid(flow)
    for i in range(frames):
        for j in range(frames):
            if i == j:
                continue
            there = grid + flow[i, j]
            back = read(flow[j, i], there)
            error = (flow[i, j] + back).norm(dim=-1)
            cycle[i, j] = error < CLOSES
            if abs(i - j) >= NEAR:
                if features is not None:
                    alike = (features[i] * read(features[j], there)).sum(-1)
                    cycle[i, j] &= alike > ALIKE
                continue
            home = there + back
            again = (home + read(flow[i, j], home) - there).norm(dim=-1)
            inside = inside_frame(there, tuple(flow.shape[2:4]))
            occluded[i, j] = (error > OPEN) & (again < CLOSES) & inside
    return Flows(flow, cycle, occluded)


def chain_flows(flows: Flows, colours: Tensor, features: Tensor | None = None) -> Flows:
    """The Flows with steps between neighbours added up where direct flow is not trusted.

    colours: T H W 3 in 0..1.
    """
    flow, cycle = flows.flow.clone(), flows.cycle.clone()
    grid = pixel_grid(flow)
    frames = len(flow)
    for i in range(frames):
        for step in (1, -1):
            total, kept = None, None
            for j in range(i + step, frames if step > 0 else -1, step):
                direct = flows.cycle[i, j] | flows.occluded[i, j]
                if total is None:
                    total, kept = flows.flow[i, j], flows.cycle[i, j]
                    continue
                there = grid + total
                total = total + read(flows.flow[j - step, j], there)
                sure = read(flows.cycle[j - step, j, ..., None].float(), there)[..., 0] == 1
                landed = grid + total
                apart = (colours[i] - read(colours[j], landed)).norm(dim=-1)
                kept = kept & sure & (apart < SAME_COLOUR)
                if features is not None:
                    kept = kept & ((features[i] * read(features[j], landed)).sum(-1) > ALIKE)
                total = torch.where(direct[..., None], flows.flow[i, j], total)
                kept = (kept | flows.cycle[i, j]) & ~flows.occluded[i, j]
                flow[i, j], cycle[i, j] = total, kept
    return replace(flows, flow=flow, cycle=cycle)


@dataclass(frozen=True)
class Pairs:
    """Correspondences of F pairs of frames, P points in each."""

    first: Tensor  # F
    second: Tensor  # F
    here: Tensor  # F P 2, pixels
    there: Tensor  # F P 2
    colour: Tensor  # F P 3 in 0..1, of `here`
    weight: Tensor  # F P


class Sampler:
    """Pairs for each step, by how much flow is trusted; later by the errors that are left."""

    def __init__(self, flows: Flows, colours: Tensor, pairs: int, points: int, seed: int = 0):
        self.flows, self.colours, self.pairs, self.points = flows, colours, pairs, points
        self.rng = torch.Generator().manual_seed(seed)
        self.counts = flows.counts.float()
        self.trusted = (flows.cycle | flows.occluded).sum((-2, -1)).float()  # T T
        self.errors: Tensor | None = None  # T H W, of the flow to a neighbour

    def sample(self, step: int) -> Pairs:
        """A batch; step counts as in a fit of STEPS."""
        widest = 20 + step // 2000
        parts = [self._pair(widest) for _ in range(self.pairs)]
        return Pairs(*(torch.stack(values) for values in zip(*parts)))

    def _pair(self, widest: int) -> tuple[Tensor, ...]:
        frames, _, height, width, _ = self.flows.flow.shape
        i = self._draw(torch.ones(frames) if self.errors is None else self.errors.mean((1, 2)))
        j = self._draw(self._partners(i, widest))
        cycle = self.flows.cycle[i, j]
        known = torch.ones_like(cycle) if abs(i - j) == 1 else cycle | self.flows.occluded[i, j]
        index = self._points(i, known.flatten())
        here = torch.stack([index % width, index // width], dim=-1).float()
        there = here + self.flows.flow[i, j].reshape(-1, 2)[index]
        weight = torch.full(index.shape, math.cos((abs(i - j) - 1) / widest * math.pi / 2))
        if torch.rand(1, generator=self.rng) < 0.5:
            weight = weight * cycle.flatten()[index]
            i, j, here, there = j, i, there, here
        colour = read(self.colours[i], here)
        return torch.tensor(i), torch.tensor(j), here, there, colour, weight

    def _partners(self, i: int, widest: int) -> Tensor:
        """The chance of each frame as the partner of frame i: its neighbours have half of 2."""
        gap = (torch.arange(len(self.trusted)) - i).abs()
        chance = self.trusted[i] * ((gap > 0) & (gap <= widest))
        chance = chance / chance.sum().clamp(min=1)
        return torch.where(gap == 1, 0.5, chance)

    def _points(self, i: int, known: Tensor) -> Tensor:
        chance = known / (self.counts[i].flatten() + 1).sqrt()
        if not known.any():
            chance = torch.ones_like(chance)
        if self.errors is None:
            return self._draw_many(chance, self.points)
        half = self.points // 2
        hard = self._draw_many(known * self.errors[i].flatten() + 1e-9, half)
        return torch.cat([hard, self._draw_many(known + 1e-9, self.points - half)])

    def _draw(self, chance: Tensor) -> int:
        return int(torch.multinomial(chance, 1, generator=self.rng))

    def _draw_many(self, chance: Tensor, count: int) -> Tensor:
        return torch.multinomial(chance, count, replacement=True, generator=self.rng)


def losses(
    network: OmniMotionNetwork, pairs: Pairs, size: tuple[int, int], step: int, jitter: Tensor
) -> Tensor:
    """The loss of a batch, as of this step of STEPS."""
    rays = network.rays(to_units(pairs.here, size), jitter)
    canonical = network.to_canonical(rays, pairs.first)
    weights, colours = network.weigh(canonical)
    there = network.from_canonical(canonical, pairs.second)
    in_range = (there[..., 2] >= 0) & (there[..., 2] <= FAR)
    weights_in = weights * in_range
    landed = to_pixels((weights_in[..., None] * there[..., :2]).sum(2), size)  # F P 2
    inside = inside_frame(landed, size)
    flow = trimmed((landed - pairs.there).abs().mean(-1)[inside], pairs.weight[inside])
    seen = (weights[..., None] * colours).sum(2)
    rgb = (seen - pairs.colour).square().mean()
    change = differences(seen) - differences(pairs.colour)
    moved = differences(landed - pairs.here) - differences(pairs.there - pairs.here)
    outside = (there[..., 2] - FAR).clamp(min=0) + (-there[..., 2]).clamp(min=0)
    spread = distortion(rays[..., 2], weights_in)
    smooth = smoothness(network, canonical[:, :64], pairs.first)
    return (
        flow
        + min(step / 5000, 10) * (rgb + trimmed(change.abs()))
        + 10 * outside.mean()
        + min(max(step - 40_000, 0) / 2000, 10) * spread
        + 20 * smooth
        + min(step / 500_000, 0.1) * trimmed(moved.abs())
    )


def trimmed(error: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean of all but the largest error, weighted."""
    if error.numel() < 2:
        return error.sum() * 0
    kept = error < error.max()
    weight = torch.ones_like(error) if weight is None else weight
    return (error * weight * kept).sum() / kept.sum().clamp(min=1)


def differences(values: Tensor) -> Tensor:
    """Of values F P C, those between consecutive points of the whole list."""
    flat = values.flatten(0, 1)
    return flat[1:] - flat[:-1]


def distortion(depth: Tensor, weights: Tensor) -> Tensor:
    """How far the weights F P S of rays are spread in depth (mip-NeRF 360)."""
    edges = torch.cat([depth, 2 * depth[..., -1:] - depth[..., -2:-1]], dim=-1) / FAR
    middle, width = (edges[..., 1:] + edges[..., :-1]) / 2, edges.diff(dim=-1)
    apart = (middle[..., :, None] - middle[..., None, :]).abs()
    between = (weights[..., :, None] * weights[..., None, :] * apart).sum((-1, -2))
    return (between + (weights.square() * width).sum(-1) / 3).mean()


def smoothness(network: OmniMotionNetwork, canonical: Tensor, frames: Tensor) -> Tensor:
    """How unlike a point's motion into a frame and out of it are, of frames with two neighbours."""
    between = (frames > 0) & (frames < network.frames - 1)
    if not between.any():
        return canonical.sum() * 0
    at, points = frames[between], canonical[between]
    before, now, after = (network.from_canonical(points, at + d) for d in (-1, 0, 1))
    return ((now - before) - (after - now)).abs().mean()


def fit(
    network: OmniMotionNetwork,
    sampler: Sampler,
    iters: int,
    progress: Callable[[int], object] = lambda step: None,
) -> OmniMotionNetwork:
    """The network, fitted in `iters` steps; a shorter fit runs through the schedule of STEPS."""
    parts = [{"params": getattr(network, k).parameters(), "lr": r} for k, r in RATES.items()]
    optimiser = torch.optim.Adam(parts)
    epoch = max(1, round(EPOCH * iters / STEPS))
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, epoch, 0.5)
    size, device = tuple(sampler.colours.shape[1:3]), next(network.parameters()).device
    for k in range(iters):
        if k and k % epoch == 0:
            sampler.errors = remaining_errors(network, sampler.flows)
        step = k * STEPS // iters
        pairs = Pairs(*(value.to(device) for value in vars(sampler.sample(step)).values()))
        shape = (*pairs.here.shape[:2], 32)
        jitter = torch.rand(shape, generator=sampler.rng).to(device)
        optimiser.zero_grad()
        losses(network, pairs, size, step, jitter).backward()
        optimiser.step()
        schedule.step()
        progress(k)
    return network


@torch.no_grad()
def remaining_errors(network: OmniMotionNetwork, flows: Flows) -> Tensor:
    """T H W: how far the fit is from the flow to the next frame, of the last one to the one before.

    Smoothed over 5 x 5 pixels.
    """
    frames, size = len(flows.flow), tuple(flows.flow.shape[2:4])
    grid, errors = pixel_grid(flows.flow), []
    device = next(network.parameters()).device
    for i in range(frames):
        j = i + 1 if i + 1 < frames else i - 1
        ends = [torch.tensor([n], device=device) for n in (i, j)]
        units = to_units(grid.reshape(1, -1, 2), size).to(device)
        parts = [network.follow(some, *ends)[0] for some in units.split(4096, dim=1)]
        landed = to_pixels(torch.cat(parts, dim=1)[0, :, :2].cpu(), size).view(*size, 2)
        error = (landed - grid - flows.flow[i, j]).norm(dim=-1)
        known = flows.cycle[i, j] | flows.occluded[i, j]
        errors.append(error * known)
    maps = torch.stack(errors)[:, None]
    return torch.nn.functional.avg_pool2d(maps, 5, 1, 2)[:, 0]


def pixel_grid(flow: Tensor) -> Tensor:
    """H W 2: the (x, y) of each pixel of flow … H W 2."""
    y, x = (torch.arange(side, dtype=torch.float32) for side in flow.shape[-3:-1])
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def read(maps: Tensor, xy: Tensor) -> Tensor:
    """Values (..., C) of a map H W C at pixels (..., 2); zeros outside."""
    return sample_maps(maps[None], torch.zeros(xy.shape[:-1], dtype=torch.long), xy)
