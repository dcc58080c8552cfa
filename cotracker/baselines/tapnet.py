"""TAP-Net (Doersch et al. 2022): each frame alone is matched with the query's feature.

The published file is one of JAX's: nested dicts of arrays in an .npy file, read without JAX.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker import checkpoint as checkpoints
from cotracker.baselines.by_clip import Answer
from cotracker.baselines.tap import (
    Match,
    SquareTracker,
    conv_same,
    normalise,
    pad_same,
    pin,
    sample_queries,
    soft_argmax,
)
from cotracker.baselines.weights import Published, Source, seeded
from cotracker.data.pickles import load_npy_dict

TEMPERATURE = 10.0  # of the softmax
SHIFTED = 8  # one in so many channels comes from the frame after, another from the one before
REACH = 4  # frames that features depend on, on both sides: one a block that shifts channels
FRAMES_AT_ONCE = 16
PUBLISHED = Published(
    "TAP-Net",
    "checkpoint.npy",
    "Apache-2.0",
    renames=(
        (r"^tap_net/~/", ""),
        (r"^tsm_resnet_video/tsm_resnet_stem/", "resnet.stem."),
        (r"^tsm_resnet_video/tsm_resnet_unit_(\d)/block_(\d)/", r"resnet.blocks.\1\2."),
        (r"blocks\.(\d)(\d)", lambda m: f"blocks.{2 * int(m[1]) + int(m[2])}"),
        (r"\.shortcut_conv/", ".shortcut."),
        (r"\.conv_0/", ".first."),
        (r"\.conv_2/", ".second."),
        (r"\.batch_norm/", ".norm_first."),
        (r"\.batch_norm_1/", ".norm_second."),
        (r"\.scale$", ".weight"),
        (r"\.offset$", ".bias"),
        (r"\.~/mean_ema/average$", ".running_mean"),
        (r"\.~/var_ema/average$", ".running_var"),
        (r"^cost_volume_regression_(\d)/", r"match.hid\1."),
        (r"^cost_volume_occlusion_1/", "match.hid3."),
        (r"^cost_volume_occlusion_2/", "match.hid4."),
        (r"^occlusion_out/", "match.occ_out."),
        (r"\.w$", ".weight"),
        (r"\.b$", ".bias"),
    ),
)


class Norm(nn.Module):
    """Channels scaled by stored averages."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(f(channels)) for f in (torch.ones, torch.zeros))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)


def shift(x: Tensor) -> Tensor:
    """Maps T C h w, some of whose channels are those of neighbouring frames; outside it is zero.

    The last eighth of the channels of the frame after comes first, the first eighth of the one
    before last.
    """
    some = x.shape[1] // SHIFTED
    after = F.pad(x[1:, -some:], (0, 0, 0, 0, 0, 0, 0, 1))
    before = F.pad(x[:-1, :some], (0, 0, 0, 0, 0, 0, 1, 0))
    return torch.cat([after, x[:, some:-some], before], dim=1)


class Block(nn.Module):
    """A residual block, norms before its convolutions.  shifts: it reads neighbouring frames."""

    def __init__(self, inputs: int, outputs: int, stride: int, first: bool, shifts: bool):
        super().__init__()
        self.shifts = shifts
        self.norm_first, self.norm_second = Norm(inputs), Norm(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if first else None
        self.first = nn.Conv2d(inputs, outputs, 3, stride, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm_first(x))
        shortcut = x if self.shortcut is None else self.shortcut(y)
        y = conv_same(shift(y) if self.shifts else y, self.first)
        return shortcut + conv_same(F.relu(self.norm_second(y)), self.second)


class TSMResNet(nn.Module):
    """Frames T 3 H W in -1..1 to features T 256 h w of unit length, at 1/8."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, bias=False)
        units = ((64, 64, 1, True), (64, 128, 2, True), (128, 256, 1, False))
        blocks = []
        for inputs, outputs, stride, shifts in units:
            blocks.append(Block(inputs, outputs, stride, True, shifts))
            blocks.append(Block(outputs, outputs, 1, False, shifts))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, frames: Tensor) -> Tensor:
        x = pad_same(conv_same(frames, self.stem), (3, 3), (2, 2), -torch.inf)
        return normalise(self.blocks(F.max_pool2d(x, 3, 2)), 1)


class TAPNetNetwork(nn.Module):
    """Features of all frames, and where in them a query's is."""

    def __init__(self):
        super().__init__()
        self.resnet = TSMResNet()
        self.match = Match(logits=1, rectified=False)

    def encode(self, frames: Tensor) -> Tensor:
        """Features T 256 h w of frames T 3 H W in -1..1; some at a time, which changes none."""
        parts, count = [], len(frames)
        for start in range(0, count, FRAMES_AT_ONCE):
            first, stop = max(0, start - REACH), min(count, start + FRAMES_AT_ONCE)
            maps = self.resnet(frames[first : stop + REACH])
            parts.append(maps[start - first : stop - first])
        return torch.cat(parts)

    def forward(
        self, maps: Tensor, queries: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Positions N T 2, raster, and logits N T of occlusion, in the encoded frames.

        queries: N 3, raster (t, x, y) of frames of `size` (H, W).
        """
        features = sample_queries(maps, queries, size)
        costs = torch.einsum("nc,tchw->nthw", features, maps)
        heat, logits = self.match(costs.flatten(0, 1))
        xy = soft_argmax(heat, TEMPERATURE, size).unflatten(0, costs.shape[:2])
        return pin(xy, queries, size, size), logits[:, 0].unflatten(0, costs.shape[:2])


class TAPNet(SquareTracker):
    """TAP-Net at 256 x 256, over the whole clip."""

    def __init__(self, checkpoint: Source | None, device: str = "auto"):
        super().__init__()
        self.network = seeded(TAPNetNetwork)
        self.checkpoint = PUBLISHED.load(self.network, checkpoint, read)
        self.place(device)

    def track_square(self, frames: Tensor, queries: Tensor) -> Answer:
        maps = self.network.encode(frames)
        parts = [self.network(maps, some, self.size) for some in queries.split(self.points_at_once)]
        xy, occlusion = (torch.cat(values).transpose(0, 1) for values in zip(*parts))
        score = 1 - occlusion.sigmoid()
        return xy, score, score > 0.5


def read(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file by their published names, in PyTorch's order of axes."""
    if not str(path).endswith(".npy"):
        return checkpoints.load_state(path)
    held, tensors = load_npy_dict(path), {}
    for part in ("params", "state"):
        for name, value in _flatten(held.get(part)):
            if not name.endswith(("/counter", "/hidden")):  # of how averages came about
                tensors[name] = _reorder(name, torch.from_numpy(value))
    return tensors


def _flatten(value: object, name: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of numbers in nested dicts, with the names that lead to them."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(item, f"{name}/{key}" if name else str(key))
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        yield name, value


def _reorder(name: str, value: Tensor) -> Tensor:
    """A kernel as outputs inputs h w, a matrix as outputs inputs, all else as a vector."""
    if not name.endswith("/w"):
        return value.flatten()
    if value.ndim == 5:  # one frame long
        value = value[0]
    return value.movedim((-1, -2), (0, 1)).contiguous()
