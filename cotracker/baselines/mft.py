"""MFT (Neoral et al. 2024), multi-flow tracking: of several chains of flow the most certain one.

RAFT with two more heads says of each flow where it is occluded and how far it may be off. A frame
is reached from the query's frame and from frames 1, 2, 4, … before; each point takes the chain of
least uncertainty among those that are not occluded.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker import checks
from cotracker.baselines.by_clip import Answer, ByClip, read_frames
from cotracker.baselines.raft import RENAMES, Frame
from cotracker.baselines.weights import Published, Source, seeded
from cotracker.geometry import rescale_points, sample_maps
from cotracker.model.raft import RAFT, STRIDE, Maps, Update
from cotracker.trackers.options import check_resolution
from cotracker.trackers.views import FeatureCache, resize_view
from cotracker.types import Video

DELTAS = (math.inf, 1, 2, 4, 8, 16, 32)  # frames back; infinity is the query's own frame
OCCLUDED = 0.02  # a chain is left out above this probability
HEAD_INPUTS = 128 + 128 + 324 + 2 + 2 + 128
PUBLISHED = Published(
    "MFT",
    "raft-things-sintel-kubric-splitted-occlusion-uncertainty-non-occluded-base-sintel.pth",
    "CC BY-NC-SA 4.0",
    renames=RENAMES,
)
Pair = Callable[[int, int], Tensor]  # frames -> 1 H W 4: flow x and y, occlusion, sigma


class Head(nn.Module):
    """Two convolutions on RAFT's inner state."""

    def __init__(self, outputs: int):
        super().__init__()
        self.conv1 = nn.Conv2d(HEAD_INPUTS, 128, 3, padding=1)
        self.conv2 = nn.Conv2d(128, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(x)))


class MFTNetwork(RAFT):
    """RAFT, and of each flow the logits of occlusion and the logarithm of its variance."""

    def __init__(self):
        super().__init__()
        heads = {"occl_head": Head(2), "uncertainty_head": Head(1)}
        self.occlusion_block = nn.ModuleDict(heads)

    def heads(self, update: Update) -> tuple[Tensor, Tensor]:
        """Logits B 2 h w, of which the second says occluded, and log variance B 1 h w, at 1/8."""
        flow, delta, hidden, context, correlation, motion = update
        x = torch.cat([hidden, context, correlation, flow, delta, motion], dim=1)
        return self.occlusion_block["occl_head"](x), self.occlusion_block["uncertainty_head"](x)

    def pair(self, first: Maps, second: Maps, iters: int) -> tuple[Tensor, Tensor, Tensor]:
        """Flow B 2 H W, probability of occlusion and sigma B 1 H W of the encoded frames."""
        *_, last = self.updates(first, second, iters)
        logits, log_variance = (self.upsample(x, last) for x in self.heads(last))
        flow = self.upsample(last.flow, last, STRIDE)
        return flow, logits.softmax(1)[:, 1:], (log_variance / 2).exp()


def chain(
    pair: Pair,
    points: Tensor,
    start: Tensor,
    frames: int,
    size: tuple[int, int],
    deltas: Sequence[float] = DELTAS,
    threshold: float = OCCLUDED,
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions T N 2, occlusion and sigma T N of points N 2 from their frames N on.

    Where a point lands outside a picture of `size` (H, W) it is occluded, and so are chains on
    from there. Equal candidates: the first of the deltas.
    """
    flow = torch.zeros_like(points).repeat(frames, 1, 1)
    occlusion, sigma = torch.zeros_like(flow[..., 0]), torch.zeros_like(flow[..., 0])
    height, width = size
    for t in range(1, frames):
        moving = start < t
        if not moving.any():
            continue
        state = (flow, occlusion, sigma)
        found = [_candidate(pair, t, delta, points, start, state) for delta in deltas]
        scores = torch.stack([_score(one, threshold) for one in found])  # deltas N
        best = scores.argmax(0)
        values = torch.stack([torch.cat([x, o[:, None], s[:, None]], 1) for x, o, s, _ in found])
        chosen = values[best, torch.arange(len(best), device=best.device)]
        (x, y), (hidden, spread) = (points + chosen[:, :2]).T, chosen[:, 2:].T
        outside = (x < 0) | (y < 0) | (x >= width) | (y >= height)
        flow[t, moving] = chosen[moving, :2]
        occlusion[t, moving] = torch.where(outside, 1.0, hidden)[moving]
        sigma[t, moving] = spread[moving]
    return points + flow, occlusion, sigma


def _candidate(
    pair: Pair,
    t: int,
    delta: float,
    points: Tensor,
    start: Tensor,
    state: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Flow N 2, occlusion, sigma N through the frame `delta` before; where there is one."""
    left = start if delta == math.inf else torch.full_like(start, t - int(delta))
    there = (left >= start) & (left < t)
    every = torch.arange(len(start), device=start.device)
    flow, occlusion, sigma = (values[left.clamp(min=0), every] for values in state)
    for frame in left[there].unique().tolist():
        own = there & (left == frame)
        zero = torch.zeros(int(own.sum()), dtype=torch.long, device=start.device)
        values = sample_maps(pair(frame, t), zero, points[own] + flow[own])
        flow[own] = flow[own] + values[:, :2]
        occlusion[own] = torch.maximum(occlusion[own], values[:, 2])
        sigma[own] = (sigma[own].square() + values[:, 3].square()).sqrt()
    return flow, occlusion, sigma, there


def _score(candidate: tuple[Tensor, Tensor, Tensor, Tensor], threshold: float) -> Tensor:
    _, occlusion, sigma, there = candidate
    return torch.where(there & (occlusion <= threshold), -sigma, -torch.inf)


class MFT(ByClip):
    """MFT from each query on; visible where occlusion is less likely than not.

    checkpoint: the file, or "random".  iters: of each flow.
    resolution: (H, W) that flow is computed at; None for the video's own.
    """

    def __init__(
        self,
        checkpoint: Source | None,
        iters: int = 12,
        resolution: tuple[int, int] | None = (512, 512),
        device: str = "auto",
    ):
        super().__init__()
        self.iters = checks.whole("iters", iters, 1)
        self.resolution = check_resolution(resolution)
        self.network = seeded(MFTNetwork)
        self.checkpoint = PUBLISHED.load(self.network, checkpoint)
        self.place(device)

    def track_clip(self, video: Video, queries: Tensor) -> Answer:
        size = tuple(video.shape[-2:])
        to = self.resolution or size
        points = rescale_points(queries[:, 1:], size, to)
        pair = self._pairs(resize_view(video, to), Frame(to))
        xy, occlusion, _ = chain(pair, points, queries[:, 0].long(), video.shape[1], to)
        return rescale_points(xy, to, size), 1 - occlusion, occlusion <= 0.5

    def _pairs(self, video: Video, frame: Frame) -> Pair:
        """pair(left, right) of a video; what was computed last is kept."""
        encoded, pairs = FeatureCache(), {}

        def encode(number: int) -> Maps:
            if encoded.get(number) is None:
                picture = frame.prepare(read_frames(video, number, number + 1).to(self.device))
                encoded.put(number, list(self.network.encode_frames(picture)))
            return Maps(*encoded.get(number))

        def pair(left: int, right: int) -> Tensor:
            if (left, right) not in pairs:
                for old in [key for key in pairs if key[1] != right]:
                    del pairs[old]
                flow, *others = self.network.pair(encode(left), encode(right), self.iters)
                maps = [frame.restore_flow(flow), *(frame.restore(x) for x in others)]
                pairs[left, right] = torch.cat(maps, dim=1).movedim(1, -1)
            return pairs[left, right]

        return pair

    def describe(self) -> dict:
        resolution = None if self.resolution is None else list(self.resolution)
        return super().describe() | {"iters": self.iters, "resolution": resolution}
