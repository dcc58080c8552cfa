"""LocoTrack (Cho et al. 2024): correlations of all pairs of two windows, refined over frames."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker import checks
from cotracker.baselines.by_clip import Answer
from cotracker.baselines.tap import (
    FRAMES_AT_ONCE,
    Estimate,
    ResNet,
    SquareTracker,
    conv_same,
    normalise,
    pin,
    read_window,
    resize,
    sample_raster,
    soft_argmax,
    to_cells,
    visibility,
)
from cotracker.baselines.weights import Published, Source, seeded
from cotracker.model.embeddings import NEIGHBOUR_PIXELS, embed_neighbours

TEMPERATURE = 20.0
SIDE = 7  # of the windows of cells around a query and around its estimate
HEADS = {256: 4, 384: 6}  # of the small and the base model, by width
REDUCE = {  # (outputs, kernel, stride) of the convolutions that reduce a window to one cell
    256: ((64, 5, 4), (128, 2, 2)),
    384: ((64, 3, 2), (128, 3, 2), (128, 2, 2)),
}
LAYERS, WAVES = 3, 10
PUBLISHED = Published(
    "LocoTrack",
    "locotrack_small.ckpt and locotrack_base.ckpt",
    "Apache-2.0",
    container="state_dict",
    renames=(
        (r"(^|\.)model\.", r"\1"),
        (r"^resnet_torch\.", "resnet."),
        (r"^torch_pips_mixer\.transformer\.", "mixer."),
        (r"^torch_pips_mixer\.", "mixer."),
        (r"^cmdtop\.", "reduce."),
    ),
)


class Attention(nn.Module):
    """Half of the heads read the past and present, half the present and future; nearer is more."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query_proj = nn.Linear(width, width)
        self.key_proj = nn.Linear(width, width)
        self.value_proj = nn.Linear(width, width)
        self.final_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = (self.query_proj(x), self.key_proj(x), self.value_proj(x))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self._bias(x))
        return self.final_proj(y.transpose(1, 2).flatten(-2))

    def _bias(self, x: Tensor) -> Tensor:
        """heads T T, added to the logits: minus slope x distance, or minus infinity."""
        time = torch.arange(x.shape[1], device=x.device)
        ahead = time - time[:, None]
        half = self.heads // 2
        slopes = 24.0 ** -((torch.arange(half, device=x.device) + 1) / half)
        near = -slopes[:, None, None] * ahead.abs()
        past = near.masked_fill(ahead > 0, -torch.inf)
        return torch.cat([past, near.masked_fill(ahead < 0, -torch.inf)])


class Layer(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = Attention(width, heads)
        self.dense = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.layer_norm1 = nn.LayerNorm(width)
        self.layer_norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.layer_norm1(x))
        return x + self.dense(self.layer_norm2(x))


class Mixer(nn.Module):
    """Tokens N T 854 to changes N T 388, each point alone; the last 384 are not used."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.input_proj = nn.Linear(2 + 3 * 256 + 4 + 8 * WAVES, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(LAYERS))
        self.ln_out = nn.LayerNorm(width)
        self.output_proj = nn.Linear(width, 4 + 384)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_proj(x)
        for layer in self.layers:
            x = layer(x)
        return self.output_proj(self.ln_out(x))


class Reduce(nn.Module):
    """Correlations K 49 49 (target, support) to K 256, by convolutions over either window."""

    def __init__(self, width: int):
        super().__init__()
        layers, inputs = [], SIDE**2
        for outputs, kernel, stride in REDUCE[width]:
            conv = nn.Conv2d(inputs, outputs, kernel, stride)
            layers.append(nn.ModuleList([conv, nn.GroupNorm(outputs // 16, outputs)]))
            inputs = outputs
        self.conv = nn.ModuleList(layers)

    def forward(self, corr: Tensor) -> Tensor:
        seen = (corr.mT, corr)  # the support as channels, the target as channels
        return torch.cat([self._reduce(x.unflatten(-1, (SIDE, SIDE))) for x in seen], dim=-1)

    def _reduce(self, x: Tensor) -> Tensor:
        for conv, norm in self.conv:
            x = F.relu(norm(conv_same(x, conv)))
        return x.mean((-2, -1))


class LocoTrackNetwork(nn.Module):
    """width: 256 for the small model, 384 for the base one."""

    def __init__(self, width: int = 256, iters: int = 4):
        super().__init__()
        self.iters = iters
        self.resnet = ResNet()
        self.mixer = Mixer(width, HEADS[width])
        self.reduce = nn.ModuleList(Reduce(width) for _ in range(3))
        self.cost_conv = nn.Conv2d(2, 1, 3)
        self.occ_linear = nn.Linear(6, 2)

    def encode(self, frames: Tensor) -> list[Tensor]:
        """Features of unit length of frames T 3 H W in -1..1: at 1/4, 1/8 and 1/2."""
        parts = [self.resnet(some) for some in frames.split(FRAMES_AT_ONCE)]
        highest, hires, _, lowres = (torch.cat(group) for group in zip(*parts))
        return [normalise(level, 1) for level in (hires, lowres, highest)]

    def support(self, maps: list[Tensor], queries: Tensor, size: tuple[int, int]) -> list[Tensor]:
        """Features N 49 C of each level around queries N 3, raster (t, x, y) of `size`."""
        side = torch.arange(SIDE, device=queries.device) - SIDE // 2
        y, x = torch.meshgrid(side, side, indexing="ij")
        reach = torch.stack([x, y], dim=-1).flatten(0, 1)
        frame = queries[:, 0].long()
        return [
            sample_raster(m[frame], to_cells(queries[:, 1:], size, m)[:, None] + reach, "border")
            for m in maps
        ]

    def start(self, maps: list[Tensor], support: list[Tensor], size: tuple[int, int]) -> Estimate:
        """The Estimate by matching each frame alone, in pixels of `size`."""
        centre = SIDE**2 // 2
        high, low = (
            torch.einsum("nc,tchw->nthw", near[:, centre], level)
            for near, level in zip(support[:2], maps[:2])
        )
        height, width = high.shape[-2:]
        low = F.interpolate(low, (height, width), mode="bilinear", align_corners=False)
        costs = torch.stack([low, high], dim=2)  # N T 2 h w
        heat = conv_same(costs.flatten(0, 1), self.cost_conv)[:, 0]
        xy = soft_argmax(heat, TEMPERATURE, size).unflatten(0, costs.shape[:2])
        flat = costs.flatten(-2)
        known = torch.cat([flat.mean(-1), flat.amax(-1), flat.amin(-1)], dim=-1)
        return Estimate(xy, *self.occ_linear(known).unbind(-1))

    def refine(
        self,
        estimate: Estimate,
        maps: list[Tensor],
        support: list[Tensor],
        size: tuple[int, int],
        resized: tuple[int, int],
    ) -> list[Estimate]:
        """The Estimates of all iterations in pixels of `size`; maps are of `resized` frames."""
        shrink = estimate.xy.new_tensor([size[1] / resized[1], size[0] / resized[0]])
        unit = 1 / (shrink * shrink.new_tensor(size[::-1]))  # of the offsets between frames
        waves = 2.0 ** torch.arange(WAVES, device=shrink.device)
        estimates = []
        for _ in range(self.iters):
            xy, occlusion, distance = estimate
            parts = [torch.stack([occlusion, distance], dim=-1)]
            for level, near, reduce in zip(maps, support, self.reduce):
                window = read_window(level, to_cells(xy, size, level))  # N T 49 C
                corr = torch.einsum("ntkc,njc->ntkj", window, near)
                parts.append(reduce(corr.flatten(0, 1)).unflatten(0, corr.shape[:2]))
            moved = (xy * unit * xy.new_tensor(NEIGHBOUR_PIXELS)).transpose(0, 1)[None]
            parts.append(embed_neighbours(moved, waves)[0].transpose(0, 1))
            delta = self.mixer(torch.cat(parts, dim=-1))
            estimate = Estimate(
                xy + delta[..., :2] * shrink, occlusion + delta[..., 2], distance + delta[..., 3]
            )
            estimates.append(estimate)
        return estimates

    def forward(
        self,
        frames: Tensor,
        queries: Tensor,
        first: tuple[int, int],
        last: tuple[int, int],
    ) -> list[Estimate]:
        """All Estimates in pixels of the frames T 3 H W, -1..1, for queries N 3, raster (t, x, y).

        first, last: the resolutions of the matching and of the refinement.
        """
        size = tuple(frames.shape[-2:])
        maps = self.encode(resize(frames, first))
        estimate = self.start(maps, self.support(maps, queries, size), first)
        estimate = estimate._replace(xy=pin(estimate.xy, queries, size, first))
        maps = maps if first == last else self.encode(resize(frames, last))
        support = self.support(maps, queries, size)
        found = [estimate, *self.refine(estimate, maps, support, first, last)]
        scale = queries.new_tensor([size[1] / first[1], size[0] / first[0]])
        return [e._replace(xy=e.xy * scale) for e in found]


class LocoTrack(SquareTracker):
    """LocoTrack at 256 x 256; small or base, as the file is."""

    points_at_once = 16

    def __init__(self, checkpoint: Source | None, iters: int = 4, device: str = "auto"):
        super().__init__()
        checks.whole("iters", iters, 1)
        state = PUBLISHED.rename(PUBLISHED.read(checkpoint))
        width = len(state.get("mixer.input_proj.bias", range(256)))
        if width not in HEADS:
            raise ValueError(f"LocoTrack has width 256 or 384, and {checkpoint} has {width}")
        self.network = seeded(lambda: LocoTrackNetwork(width, iters))
        self.checkpoint = PUBLISHED.load(self.network, checkpoint)
        self.place(device)

    def track_square(self, frames: Tensor, queries: Tensor) -> Answer:
        network, size = self.network, self.size
        maps, parts = network.encode(frames), []
        for some in queries.split(self.points_at_once):
            support = network.support(maps, some, size)
            start = network.start(maps, support, size)
            start = start._replace(xy=pin(start.xy, some, size, size))
            parts.append(network.refine(start, maps, support, size, size)[-1])
        last = Estimate(*(torch.cat(values) for values in zip(*parts)))
        score = visibility(last).T
        return last.xy.transpose(0, 1), score, score >= 0.5

    def describe(self) -> dict:
        return super().describe() | {"iters": self.network.iters}
