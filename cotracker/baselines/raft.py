"""RAFT (Teed and Deng 2020): optical flow by iterative refinement, followed by each point.

The layers are torchvision's; the loop of updates is here, as other systems read its inner state.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_large

from cotracker import checks
from cotracker.baselines.by_clip import Answer, ByClip, read_frames
from cotracker.baselines.chain import Chain
from cotracker.baselines.weights import Published, Source, seeded
from cotracker.geometry import inside_frame, resize_video, sample_maps
from cotracker.trackers.live import Live, LiveOptions, join_frames
from cotracker.types import Video

STRIDE = 8  # of the grid that flow is refined on
LEAST = 128  # pixels of a side, below which the coarsest correlations have one row or column
RENAMES = (  # princeton-vl's names -> torchvision's
    (r"^module\.", ""),
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    (r"(encoder\.layer\d\.\d)\.norm3\.", r"\1.downsample.1."),
    (r"(encoder\.layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
    (r"(encoder\.layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
    (r"_encoder\.conv1\.", "_encoder.convnormrelu.0."),
    (r"_encoder\.norm1\.", "_encoder.convnormrelu.1."),
    (r"_encoder\.conv2\.", "_encoder.conv."),
    (r"block\.encoder\.convc(\d)\.", r"block.motion_encoder.convcorr\1.0."),
    (r"block\.encoder\.convf(\d)\.", r"block.motion_encoder.convflow\1.0."),
    (r"block\.encoder\.conv\.", "block.motion_encoder.conv.0."),
    (r"block\.gru\.conv([zrq])(\d)\.", r"block.recurrent_block.convgru\2.conv\1."),
    (r"update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"update_block\.mask\.2\.", "mask_predictor.conv."),
    (r"^(?=(feature_encoder|context_encoder|update_block|mask_predictor)\.)", "raft."),
)  # fmt: skip
PUBLISHED = Published("RAFT", "raft-things.pth or torchvision's C_T_V1", "BSD-3", renames=RENAMES)


class Maps(NamedTuple):
    """What RAFT reads of frames B 3 H W, at 1/8."""

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


class RAFTNetwork(nn.Module):
    """Frames to Maps, and pairs of Maps to flow."""

    def __init__(self):
        super().__init__()
        self.raft = raft_large(weights=None)

    def encode(self, frames: Tensor) -> Maps:
        """The Maps of frames B 3 H W in 0..255, H and W multiples of 8, at least 128."""
        frames = 2 * frames / 255 - 1
        hidden, context = self.raft.context_encoder(frames).split(128, dim=1)
        return Maps(self.raft.feature_encoder(frames), hidden.tanh(), context.relu())

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
        """Values B C h w at full size B C 8h 8w: each a convex mixture of 3 x 3 coarse ones."""
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


class Frame:
    """How frames of one size are brought to one that RAFT reads, and flow back.

    A side below 128 pixels is enlarged with the other; then both are padded to multiples of 8 by
    repeating the border, evenly on both sides.
    """

    def __init__(self, size: tuple[int, int]):
        self.size, self.enlarged = size, size
        least = min(-(-side // STRIDE) * STRIDE for side in size)  # once padded
        if least < LEAST:
            scale = LEAST / min(size)
            self.enlarged = tuple(max(LEAST, round(side * scale)) for side in size)
        height, width = (-side % STRIDE for side in self.enlarged)
        self.padding = (width // 2, width - width // 2, height // 2, height - height // 2)

    def prepare(self, frames: Tensor) -> Tensor:
        """Frames n 3 H' W' of frames n 3 H W."""
        return F.pad(resize_video(frames, self.enlarged), self.padding, mode="replicate")

    def restore(self, values: Tensor) -> Tensor:
        """Maps n C H W of maps n C H' W'."""
        left, right, top, bottom = self.padding
        height, width = values.shape[-2:]
        values = values[..., top : height - bottom, left : width - right]
        if self.enlarged == self.size:
            return values
        return F.interpolate(values, self.size, mode="bilinear", align_corners=True)

    def restore_flow(self, flow: Tensor) -> Tensor:
        """Flow n 2 H W in pixels of the frames, of flow n 2 H' W' in pixels of the padded ones."""
        height, width = (max(a - 1, 1) / (b - 1) for a, b in zip(self.size, self.enlarged))
        return self.restore(flow) * flow.new_tensor([width, height])[:, None, None]


class RAFT(ByClip):
    """RAFT's flow from frame to frame, added up under each point; or, direct, from its query.

    A point is visible while flow there and back closes, in every step (direct: in this one), and
    the point lies within the picture.
    checkpoint: the file, or "random".  iters: updates of a flow.  direct: flow from the query's
    frame to each other one, instead of steps.
    """

    def __init__(
        self, checkpoint: Source | None, iters: int = 20, direct: bool = False, device: str = "auto"
    ):
        super().__init__()
        self.iters = checks.whole("iters", iters, 1)
        self.direct = checks.switch("direct", direct)
        self.network = seeded(RAFTNetwork)
        self.checkpoint = PUBLISHED.load(self.network, checkpoint)
        self.place(device)

    def track_clip(self, video: Video, queries: Tensor) -> Answer:
        return (self._jump if self.direct else self._step)(video, queries)

    def _step(self, video: Video, queries: Tensor) -> Answer:
        """The chain of flows between neighbours."""
        chain = self._chain(tuple(video.shape[-2:]))
        chain.add(queries)
        frames = range(video.shape[1])
        parts = [chain.push(video[:, t : t + 1]).tracks for t in frames]
        tracks = join_frames(parts)
        return tracks.xy[0], tracks.visibility[0], tracks.visible[0]

    def _chain(self, size: tuple[int, int]) -> Chain:
        frame = Frame(size)

        def read(video: Tensor) -> Maps:
            return self._encode(video, 0, frame)

        return Chain(size, read, partial(self._follow, frame))

    def start_live(self, size: tuple[int, int], options: LiveOptions) -> Live:
        """The chain of flows between neighbours; direct flow would hold every query's frame."""
        return super().start_live(size, options) if self.direct else self._chain(size)

    def _jump(self, video: Video, queries: Tensor) -> Answer:
        """Flow from each query's own frame to every later one."""
        frame, frames = Frame(tuple(video.shape[-2:])), video.shape[1]
        xy = queries[None, :, 1:].repeat(frames, 1, 1)
        kept = torch.ones_like(xy[..., 0], dtype=torch.bool)
        for start in queries[:, 0].unique().long().tolist():
            chosen = queries[:, 0] == start
            first = self._encode(video, start, frame)
            for t in range(start + 1, frames):
                second = self._encode(video, t, frame)
                answer = self._follow(frame, first, second, queries[chosen, 1:])
                xy[t, chosen], kept[t, chosen] = answer
        return _answer(xy, kept, frame.size)

    def _encode(self, video: Video, number: int, frame: Frame) -> Maps:
        frames = read_frames(video, number, number + 1).to(self.device)
        return self.network.encode(frame.prepare(frames))

    def _follow(
        self, frame: Frame, first: Maps, second: Maps, points: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Where points N 2 of `first` are in `second`, and whether the flow back agrees, N."""
        pair = Maps(*(torch.cat(both) for both in zip(first, second)))
        swapped = Maps(*(torch.cat(both) for both in zip(second, first)))
        flow = frame.restore_flow(self.network.flow(pair, swapped, self.iters))
        there, back = flow.movedim(1, -1)[:, None]  # 1 H W 2 each
        step = read_inside(there, points)
        returned = read_inside(back, points + step)
        lengths = step.square().sum(-1) + returned.square().sum(-1)
        return points + step, (step + returned).square().sum(-1) < 0.01 * lengths + 0.5

    def describe(self) -> dict:
        return super().describe() | {"iters": self.iters, "direct": self.direct}


def read_inside(maps: Tensor, points: Tensor) -> Tensor:
    """Values N C of a map 1 H W C at points N 2, held at its border."""
    height, width = maps.shape[1:3]
    limits = points.new_tensor([width - 1, height - 1])
    inside = torch.minimum(points.clamp(min=0), limits)
    return sample_maps(maps, torch.zeros(len(points), dtype=torch.long, device=maps.device), inside)


def _answer(xy: Tensor, kept: Tensor, size: tuple[int, int]) -> Answer:
    visible = kept & inside_frame(xy, size)
    return xy, visible.float(), visible


def _grid(maps: Tensor) -> Tensor:
    """1 2 h w: the x and y of each cell."""
    y, x = (torch.arange(side, device=maps.device, dtype=maps.dtype) for side in maps.shape[-2:])
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))[None]
