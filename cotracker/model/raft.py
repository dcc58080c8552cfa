"""RAFT (Teed and Deng 2020): optical flow between two frames by iterative refinement.

The layers are torchvision's; the loop of updates is here, as other systems read its inner state.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker import checks
from cotracker.geometry import sample_maps
from cotracker.model.config import LARGEST
from cotracker.model.windows import Estimate

STRIDE = 8  # of the grid that flow is refined on
LEAST = 128  # pixels of a side, below which the coarsest correlations have one row or column


@dataclass(frozen=True)
class RAFTConfig:
    """What a RAFT is built from.

    size: "large", the published raft-things; "small", the paper's of 1 M parameters.
    iters: updates of a flow in training.
    """

    size: str = "large"
    iters: int = 12

    def __post_init__(self):
        checks.choice("model.size", self.size, ("large", "small"))
        checks.whole("model.iters", self.iters, 1, LARGEST["iters"])


class Maps(NamedTuple):
    """What RAFT reads of frames B 3 H W, at 1/8; channels of the large one."""

    features: Tensor  # B 256 h w
    hidden: Tensor  # B 128 h w
    context: Tensor  # B 128 h w


class Update(NamedTuple):
    """The state after one update, at 1/8; flow in cells."""

    flow: Tensor  # B 2 h w
    delta: Tensor  # B 2 h w, what this update added
    hidden: Tensor  # B 128 h w
    context: Tensor  # B 128 h w
    correlation: Tensor  # B 324 h w, read at the flow before this update
    motion: Tensor  # B 128 h w, of these correlations and that flow


class RAFT(nn.Module):
    """The network of a RAFTConfig, or of its fields by name: frames to Maps, pairs to flow.

    `encode` and `track` are what train.py calls: a window is two frames, and flow is trained where
    points are queried, in the first of them.
    """

    has_confidence = False
    window = 2
    stride = STRIDE

    def __init__(self, config: RAFTConfig | None = None, **fields):
        super().__init__()
        from torchvision.models import optical_flow  # slow to import

        self.config = config or RAFTConfig(**fields)
        self.iters = self.config.iters
        large = self.config.size == "large"
        self.raft = (optical_flow.raft_large if large else optical_flow.raft_small)(weights=None)

    def encode_frames(self, frames: Tensor) -> Maps:
        """The Maps of frames B 3 H W in 0..255, H and W multiples of 8, at least 128."""
        frames = 2 * frames / 255 - 1
        context = self.raft.context_encoder(frames)
        hidden = self.raft.update_block.hidden_state_size
        hidden, context = context.split([hidden, context.shape[1] - hidden], dim=1)
        return Maps(self.raft.feature_encoder(frames), hidden.tanh(), context.relu())

    def encode(self, video: Tensor) -> list[Tensor]:
        """The Maps of a video B T 3 H W of 0..255, each B T h w C.

        ValueError: of sides that are no multiples of 8, or below 128.
        """
        if any(side % STRIDE or side < LEAST for side in video.shape[-2:]):
            raise ValueError(
                f"RAFT is trained on sides that are multiples of {STRIDE}, at least {LEAST}, not "
                f"{tuple(video.shape[-2:])}: set data.height and data.width"
            )
        maps = self.encode_frames(video.flatten(0, 1).float())
        return [one.movedim(1, -1).unflatten(0, video.shape[:2]) for one in maps]

    def track(
        self,
        maps: list[Tensor],
        queries: Tensor,
        iters: int | None = None,
        point_mask: Tensor | None = None,
    ) -> list[Estimate]:
        """One Estimate of two frames, for queries B N 3 of which those of frame 0 are active.

        maps: as `encode` makes them, B 2 h w C.  Its visibility says nothing.
        """
        if maps[0].shape[1] != 2:
            raise ValueError(
                "RAFT is trained on pairs of frames: set objective.unrolled=false and data.frames "
                "to at least 2"
            )
        active = queries[..., 0].round() == 0
        active = active if point_mask is None else active & point_mask
        start = torch.where(active[..., None], queries[..., 1:].float(), 0.0)
        first, second = (Maps(*(one[:, t].movedim(-1, 1) for one in maps)) for t in (0, 1))
        clip = torch.arange(len(start), device=start.device)[:, None].expand(start.shape[:2])
        tracks = []
        for update in self.updates(first, second, iters or self.iters):
            flow = self.upsample(update.flow, update, STRIDE).movedim(1, -1)
            limits = start.new_tensor([flow.shape[2] - 1, flow.shape[1] - 1])
            step = sample_maps(flow, clip, torch.minimum(start.clamp(min=0), limits))
            tracks.append(torch.stack([start, start + step], dim=1))
        return [Estimate(0, tracks, torch.zeros_like(tracks[-1][..., 0]), active)]

    def updates(
        self, first: Maps, second: Maps, iters: int, flow: Tensor | None = None
    ) -> Iterator[Update]:
        """The states of `iters` updates of the flow from `first` to `second`, which starts at 0.

        flow: B 2 h w cells, another start.
        """
        raft, hidden = self.raft, first.hidden
        raft.corr_block.build_pyramid(first.features, second.features)
        cells = _grid(hidden)
        flow = torch.zeros_like(hidden[:, :2]) if flow is None else flow
        for _ in range(iters):
            flow = flow.detach()
            correlation = raft.corr_block.index_pyramid(cells + flow)
            motion = raft.update_block.motion_encoder(flow, correlation)
            inputs = torch.cat([first.context, motion], dim=1)
            hidden = raft.update_block.recurrent_block(hidden, inputs)
            delta = raft.update_block.flow_head(hidden)
            flow = flow + delta
            yield Update(flow, delta, hidden, first.context, correlation, motion)

    def upsample(self, values: Tensor, update: Update, factor: float = 1) -> Tensor:
        """Values B C h w at full size B C 8h 8w: each a convex mixture of 3 x 3 coarse ones.

        The small one interpolates them bilinearly.
        """
        if self.raft.mask_predictor is None:
            larger = F.interpolate(values, scale_factor=STRIDE, mode="bilinear", align_corners=True)
            return factor * larger
        batch, channels, height, width = values.shape
        mask = self.raft.mask_predictor(update.hidden)
        mask = mask.view(batch, 1, 9, STRIDE, STRIDE, height, width).softmax(dim=2)
        near = F.unfold(factor * values, 3, padding=1)
        near = near.view(batch, channels, 9, 1, 1, height, width)
        mixed = (mask * near).sum(2).permute(0, 1, 4, 2, 5, 3)  # B C h 8 w 8
        return mixed.reshape(batch, channels, STRIDE * height, STRIDE * width)

    def flow(self, first: Maps, second: Maps, iters: int) -> Tensor:
        """Flow B 2 H W in pixels of the encoded frames."""
        *_, last = self.updates(first, second, iters)
        return self.upsample(last.flow, last, STRIDE)


def _grid(maps: Tensor) -> Tensor:
    """1 2 h w: the x and y of each cell."""
    y, x = (torch.arange(side, device=maps.device, dtype=maps.dtype) for side in maps.shape[-2:])
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))[None]
