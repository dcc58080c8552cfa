"""TAP-Net (Doersch et al. 2022): each frame matched alone, by features of its neighbours too."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker.baselines.by_clip import Answer
from cotracker.baselines.tap import (
    Match,
    SquareTracker,
    conv_same,
    normalise,
    sample_queries,
    soft_argmax,
)
from cotracker.baselines.weights import Published, Source, seeded
from cotracker.data.pickles import load_npy_dict

TEMPERATURE = 10.0  # of the softmax
SHIFTED = 8  # one channel in eight comes from the frame before, one from the frame after
RENAMES = (  # Haiku's names -> ours
    (r"^tap_net/~/", ""),
    (r"^tsm_resnet_video/tsm_resnet_stem/", "stem/"),
    (r"^tsm_resnet_video/tsm_resnet_unit_(\d)/block_(\d)/", r"units/\1/\2/"),
    (r"/~/mean_ema/average$", "/running_mean"),
    (r"/~/var_ema/average$", "/running_var"),
    (r"^cost_volume_regression_(\d)/", r"match/hid\1/"),
    (r"^cost_volume_occlusion_1/", "match/hid3/"),
    (r"^cost_volume_occlusion_2/", "match/hid4/"),
    (r"^occlusion_out/", "match/occ_out/"),
    (r"/(w|scale)$", "/weight"),
    (r"/(b|offset)$", "/bias"),
    (r"/", "."),
)
PUBLISHED = Published("TAP-Net", "checkpoint.npy of TAP-Net", "Apache-2.0", renames=RENAMES)


class Block(nn.Module):
    """A residual block, batch norms before its convolutions; `shift`: frames exchange channels."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, dilation: int, shift: bool, first: bool
    ):
        super().__init__()
        self.shift = shift
        self.shortcut_conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if first else None
        self.batch_norm = nn.BatchNorm2d(inputs)
        self.conv_0 = nn.Conv2d(inputs, outputs, 3, stride, dilation=dilation, bias=False)
        self.batch_norm_1 = nn.BatchNorm2d(outputs)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, dilation=dilation, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.batch_norm(x))
        shortcut = x if self.shortcut_conv is None else self.shortcut_conv(y)
        y = conv_same(exchange(y) if self.shift else y, self.conv_0)
        return shortcut + conv_same(F.relu(self.batch_norm_1(y)), self.conv_2)


def exchange(x: Tensor) -> Tensor:
    """Maps T C h w; an eighth of the channels the next frame's, an eighth the last frame's."""
    part = x.shape[1] // SHIFTED
    after = F.pad(x[1:, :part], (0, 0, 0, 0, 0, 0, 0, 1))
    before = F.pad(x[:-1, part : 2 * part], (0, 0, 0, 0, 0, 0, 1, 0))
    return torch.cat([after, before, x[:, 2 * part :]], dim=1)


class TAPNetNetwork(nn.Module):
    """Frames to features at 1/8, and their products with a query's to positions."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, bias=False)
        sizes = ((64, 64, 1, 1, True), (64, 128, 2, 1, True), (128, 256, 1, 1, False))
        self.units = nn.ModuleList(
            nn.ModuleList([Block(i, o, s, d, shift, True), Block(o, o, 1, d, shift, False)])
            for i, o, s, d, shift in sizes
        )
        self.match = Match(outputs=1)

    def encode(self, frames: Tensor) -> Tensor:
        """Features T 256 h w, of unit length, of frames T 3 H W in -1..1."""
        x = pool_same(conv_same(frames, self.stem))
        for unit in self.units:
            for block in unit:
                x = block(x)
        return normalise(x, 1)

    def forward(
        self, maps: Tensor, queries: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Positions N T 2, raster pixels, and occlusion logits N T, of queries N 3 (t, x, y)."""
        features = sample_queries(maps, queries, size)
        costs = torch.einsum("nc,tchw->nthw", features, maps)
        heat, occlusion = self.match(costs.flatten(0, 1))
        weights = (TEMPERATURE * heat).flatten(1).softmax(-1).unflatten(1, heat.shape[1:])
        height, width = heat.shape[1:]
        xy = soft_argmax(weights) * heat.new_tensor([size[1] / width, size[0] / height])
        xy = xy.unflatten(0, costs.shape[:2])
        time = torch.arange(len(maps), device=maps.device)
        own = (time == queries[:, :1])[..., None]
        return torch.where(own, queries[:, None, 1:], xy), occlusion.view(costs.shape[:2])


def pool_same(x: Tensor) -> Tensor:
    """The maximum of 3 x 3 cells, every second, of even maps."""
    return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)


def read_npy(path: str | Path) -> dict[str, Tensor]:
    """Haiku's parameters and averages, module/name, of a file of numpy.save; no code is run."""
    tree = load_npy_dict(path)
    flat = {}
    for part in ("params", "state"):
        for module, values in tree.get(part, {}).items():
            flat |= {f"{module}/{name}": np.asarray(value) for name, value in values.items()}
    return from_haiku(flat)


def from_haiku(flat: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Tensors with PyTorch's order of axes; counters and the unused sums are left out."""
    out = {}
    for name, value in flat.items():
        if name.endswith(("/counter", "/hidden")):
            continue
        tensor = torch.from_numpy(np.array(value, dtype=np.float32))
        if name.endswith("/w"):
            tensor = tensor[0] if tensor.ndim == 5 else tensor  # a time axis of one
            tensor = tensor.movedim((-1, -2), (0, 1)) if tensor.ndim > 1 else tensor
        else:
            tensor = tensor.flatten()
        out[name] = tensor.contiguous()
        if name.endswith("/~/mean_ema/average"):
            counter = name.replace("/~/mean_ema/average", "/num_batches_tracked")
            out[counter] = torch.zeros((), dtype=torch.long)
    return out


class TAPNet(SquareTracker):
    """TAP-Net at 256 x 256; visible where occlusion is less likely than not."""

    def __init__(self, checkpoint: Source | None, device: str = "auto"):
        super().__init__()
        self.network = seeded(TAPNetNetwork)
        self.checkpoint = PUBLISHED.load(self.network, checkpoint, read_npy)
        self.place(device)

    def track_square(self, frames: Tensor, queries: Tensor) -> Answer:
        maps = self.network.encode(frames)
        parts = [self.network(maps, some, self.size) for some in queries.split(self.points_at_once)]
        xy, occlusion = (torch.cat(values).transpose(0, 1) for values in zip(*parts))
        score = 1 - occlusion.sigmoid()
        return xy, score, score > 0.5
