"""TAPIR (Doersch et al. 2023) and BootsTAPIR (2024): match each frame, then refine over time."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker import checks
from cotracker.baselines.by_clip import Answer
from cotracker.baselines.tap import (
    FRAMES_AT_ONCE,
    Estimate,
    Match,
    ResNet,
    SquareTracker,
    normalise,
    pin,
    read_window,
    resize,
    sample_queries,
    soft_argmax,
    to_cells,
    visibility,
)
from cotracker.baselines.weights import Published, Source, seeded

HIRES, LOWRES, HIDDEN, LAYERS = 128, 256, 512, 12
TEMPERATURES = {False: 20.0, True: 10.0}  # of the softmax, as TAPIR and BootsTAPIR were trained
PUBLISHED = Published(
    "TAPIR",
    "tapir_checkpoint_panning.pt, bootstapir_checkpoint_v2.pt, causal_bootstapir_checkpoint.pt",
    "Apache-2.0",
    renames=(
        (r"^resnet_torch\.", "resnet."),
        (r"^torch_cost_volume_track_mods\.", "match."),
        (r"^torch_pips_mixer\.", "mixer."),
    ),
)


class Maps(NamedTuple):
    """Features of T frames at one resolution, of unit length."""

    hires: Tensor  # T 128 h w, at 1/4
    lowres: Tensor  # T 256 h w, at 1/8
    size: tuple[int, int]  # H, W of the frames


class ExtraConv(nn.Module):
    """BootsTAPIR's block after the backbone."""

    def __init__(self):
        super().__init__()
        self.layer_norm = nn.LayerNorm(LOWRES)
        self.conv = nn.Conv2d(LOWRES, 4 * LOWRES, 3, padding=1)
        self.conv_1 = nn.Conv2d(4 * LOWRES, LOWRES, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer_norm(x.movedim(1, -1)).movedim(-1, 1)
        return x + self.conv_1(F.gelu(self.conv(x), approximate="tanh"))


class ExtraConvs(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(ExtraConv() for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class MixerBlock(nn.Module):
    """Convolutions over time for each channel, then an MLP over channels."""

    def __init__(self, causal: bool):
        super().__init__()
        self.causal = causal
        self.layer_norm = nn.LayerNorm(HIDDEN, bias=False)
        self.mlp1_up = nn.Conv1d(HIDDEN, 4 * HIDDEN, 3, groups=HIDDEN)
        self.mlp1_up_1 = nn.Conv1d(4 * HIDDEN, 4 * HIDDEN, 3, groups=4 * HIDDEN)
        self.layer_norm_1 = nn.LayerNorm(HIDDEN, bias=False)
        self.conv_channels_mixer = nn.ModuleDict(
            {
                "mlp2_up": nn.Linear(HIDDEN, 4 * HIDDEN),
                "mlp2_down": nn.Linear(4 * HIDDEN, HIDDEN),
            }
        )

    def forward(self, x: Tensor, past: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Tokens N T C, and the last two frames of what each convolution read.

        past: the same of the frames before, where a causal network goes on; else [].
        """
        y = self.layer_norm(x).mT
        y, first = self._over_time(y, self.mlp1_up, past[:1])
        y, second = self._over_time(F.gelu(y, approximate="tanh"), self.mlp1_up_1, past[1:])
        x = x + y.unflatten(1, (HIDDEN, 4)).sum(2).mT
        mixer = self.conv_channels_mixer
        y = F.gelu(mixer["mlp2_up"](self.layer_norm_1(x)), approximate="tanh")
        return x + mixer["mlp2_down"](y), [first, second]

    def _over_time(self, y: Tensor, conv: nn.Conv1d, past: list[Tensor]) -> tuple[Tensor, Tensor]:
        if past:
            y = torch.cat([*past, y], dim=-1)
        else:
            y = F.pad(y, (2, 0) if self.causal else (1, 1))
        return conv(y), y[..., -2:]


class Mixer(nn.Module):
    """Tokens N T inputs to changes N T 4 + 384."""

    def __init__(self, inputs: int, causal: bool):
        super().__init__()
        self.linear = nn.Linear(inputs, HIDDEN)
        self.blocks = nn.ModuleList(MixerBlock(causal) for _ in range(LAYERS))
        self.layer_norm = nn.LayerNorm(HIDDEN, bias=False)
        self.linear_1 = nn.Linear(HIDDEN, 4 + HIRES + LOWRES)

    def forward(self, x: Tensor, past: list) -> tuple[Tensor, list]:
        """As MixerBlock.forward, with a list of its lists."""
        x, kept = self.linear(x), []
        for i, block in enumerate(self.blocks):
            x, own = block(x, past[i] if past else [])
            kept.append(own)
        return self.linear_1(self.layer_norm(x)), kept


class TAPIRNetwork(nn.Module):
    """boots: BootsTAPIR's extra convolutions and third scale.  causal: reads no later frame.

    height_only: lookups off the square read x as published in PyTorch, divided by the height.
    """

    def __init__(
        self,
        boots: bool = True,
        causal: bool = False,
        temperature: float = 20.0,
        iters: int = 4,
        height_only: bool = False,
    ):
        super().__init__()
        self.temperature, self.iters, self.height_only = temperature, iters, height_only
        self.levels = 3 if boots else 2
        self.resnet = ResNet()
        self.match = Match()
        self.mixer = Mixer(4 + HIRES + LOWRES + 49 * self.levels, causal)
        if boots:
            self.extra_convs = ExtraConvs()

    def encode(self, frames: Tensor) -> Maps:
        """The Maps of frames T 3 H W in -1..1."""
        hires, lowres = [], []
        for some in frames.split(FRAMES_AT_ONCE):
            _, second, _, last = self.resnet(some)
            hires.append(normalise(second, 1))
            lowres.append(normalise(self.extra_convs(last) if self.levels == 3 else last, 1))
        return Maps(torch.cat(hires), torch.cat(lowres), tuple(frames.shape[-2:]))

    def query(self, maps: Maps, queries: Tensor, size: tuple[int, int]) -> list[Tensor]:
        """Features N 128 and N 256 of queries N 3, raster (t, x, y) of frames of `size`."""
        return [sample_queries(level, queries, size) for level in (maps.hires, maps.lowres)]

    def start(self, maps: Maps, features: list[Tensor]) -> Estimate:
        """The Estimate by matching each frame alone, in pixels of maps.size."""
        costs = torch.einsum("nc,tchw->nthw", features[1], maps.lowres)
        heat, logits = self.match(costs.flatten(0, 1))
        xy = soft_argmax(heat, self.temperature, maps.size).unflatten(0, costs.shape[:2])
        return Estimate(xy, *logits.unflatten(0, costs.shape[:2]).unbind(-1))

    def refine(
        self,
        estimate: Estimate,
        maps: Maps,
        features: list[Tensor],
        size: tuple[int, int],
        past: list | None = None,
    ) -> tuple[list[Estimate], list]:
        """The Estimates of all iterations at one resolution, and what a causal network carries on.

        size: whose pixels the positions are in.
        past: what the call for the frames before gave.
        """
        pyramid = [maps.hires, maps.lowres]
        if self.levels == 3:
            pyramid.append(F.avg_pool2d(maps.lowres, 2))
        frames = len(maps.hires)
        memory = torch.cat(features, dim=-1)[:, None].expand(-1, frames, -1)
        scale = memory.new_tensor([size[1] / maps.size[1], size[0] / maps.size[0]])
        estimates, kept = [], []
        for m in range(self.iters):
            corrs = self._look_up(pyramid, memory, estimate.xy, size)
            flags = torch.stack([estimate.occlusion, estimate.distance], dim=-1)
            tokens = torch.cat([torch.zeros_like(estimate.xy), flags, memory, corrs], dim=-1)
            delta, own = self.mixer(tokens, past[m] if past else [])
            kept.append(own)
            memory = memory + delta[..., 4:]
            estimate = Estimate(
                estimate.xy + delta[..., :2] * scale,
                estimate.occlusion + delta[..., 2],
                estimate.distance + delta[..., 3],
            )
            estimates.append(estimate)
        return estimates, kept

    def _look_up(
        self, pyramid: list[Tensor], memory: Tensor, xy: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """Correlations N T (levels x 49) of memory N T 384 around positions N T 2."""
        hires, lowres = memory.split([HIRES, LOWRES], dim=-1)
        out = []
        for level, feature in zip(pyramid, (hires, lowres, lowres)):
            cells = to_cells(xy, size, level)
            height, width = level.shape[-2:]
            window = read_window(level, cells, stretch=width / height if self.height_only else 1.0)
            out.append(torch.einsum("ntkc,ntc->ntk", window, feature))
        return torch.cat(out, dim=-1)

    def forward(
        self, frames: Tensor, queries: Tensor, sizes: list[tuple[int, int]]
    ) -> list[Estimate]:
        """All Estimates in pixels of the frames; the last is the answer.

        frames: T 3 H W in -1..1.  queries: N 3, raster (t, x, y).
        sizes: the first resolution, and those of the refinements.
        """
        size, first = tuple(frames.shape[-2:]), sizes[0]
        maps = [self.encode(resize(frames, one)) for one in sizes[:1]]
        estimate = self.start(maps[0], self.query(maps[0], queries, size))
        estimate = estimate._replace(xy=pin(estimate.xy, queries, size, first))
        found, start = [estimate], estimate
        ends = []
        for one in sizes[1:]:
            fine = maps[0] if one == first else self.encode(resize(frames, one))
            features = self.query(fine, queries, size)
            begin = start._replace(xy=found[-1].xy)
            more, _ = self.refine(begin, fine, features, first)
            found += more
            ends.append(more[-1])
        mean = Estimate(*(torch.stack(parts).mean(0) for parts in zip(*ends)))
        scale = queries.new_tensor([size[1] / first[1], size[0] / first[0]])
        return [e._replace(xy=e.xy * scale) for e in [*found, mean]]


class TAPIR(SquareTracker):
    """TAPIR at 256 x 256, over the whole clip; a causal file also frame by frame.

    checkpoint: the file, or "random"; whether it is a BootsTAPIR is seen from it.
    iters: of the refinement.  temperature: of the softmax; None: that of the file's training.
    causal: None: what the file's name says.
    per_frame: a causal one gets each frame once, as in a live video; forward only.
    """

    def __init__(
        self,
        checkpoint: Source | None,
        iters: int = 4,
        temperature: float | None = None,
        causal: bool | None = None,
        per_frame: bool = False,
        device: str = "auto",
    ):
        super().__init__()
        checks.whole("iters", iters, 1)
        boots = any(name.startswith("extra_convs.") for name in PUBLISHED.read(checkpoint))
        named = not isinstance(checkpoint, dict) and "causal" in str(checkpoint).lower()
        self.causal = named if causal is None else checks.switch("causal", causal)
        self.per_frame = checks.switch("per_frame", per_frame)
        if per_frame and not self.causal:
            raise ValueError("per_frame=true needs a causal file: others read later frames")
        self.both_directions = not per_frame
        temperature = TEMPERATURES[boots] if temperature is None else temperature
        checks.number("temperature", temperature, 0.01, 1000)
        self.network = seeded(lambda: TAPIRNetwork(boots, self.causal, temperature, iters))
        self.checkpoint = PUBLISHED.load(self.network, checkpoint)
        self.place(device)

    def track_square(self, frames: Tensor, queries: Tensor) -> Answer:
        maps = self.network.encode(frames)
        run = self._stream if self.per_frame else self._whole
        parts = [run(maps, some) for some in queries.split(self.points_at_once)]
        last = Estimate(*(torch.cat(values) for values in zip(*parts)))
        score = visibility(last).T
        return last.xy.transpose(0, 1), score, score > 0.5

    def _whole(self, maps: Maps, queries: Tensor) -> Estimate:
        features = self.network.query(maps, queries, self.size)
        start = self.network.start(maps, features)
        start = start._replace(xy=pin(start.xy, queries, self.size, self.size))
        return self.network.refine(start, maps, features, self.size)[0][-1]

    def _stream(self, maps: Maps, queries: Tensor) -> Estimate:
        """Each frame by itself, from that of the query on; before it zeros."""
        frames = len(maps.hires)
        zeros = queries.new_zeros(len(queries), frames)
        out = Estimate(queries.new_zeros(*zeros.shape, 2), zeros, zeros.clone())
        for first in queries[:, 0].unique().long().tolist():
            chosen, past = queries[:, 0] == first, None
            features = self.network.query(maps, queries[chosen], self.size)
            for t in range(first, frames):
                now = Maps(maps.hires[t : t + 1], maps.lowres[t : t + 1], maps.size)
                start = self.network.start(now, features)
                if t == first:
                    start = start._replace(xy=queries[chosen, None, 1:])
                estimates, past = self.network.refine(start, now, features, self.size, past)
                for whole, part in zip(out, estimates[-1]):
                    whole[chosen, t] = part[:, 0]
        return out

    def describe(self) -> dict:
        net = self.network
        settings = {"iters": net.iters, "temperature": net.temperature, "causal": self.causal}
        return super().describe() | settings | {"per_frame": self.per_frame}
