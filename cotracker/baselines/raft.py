"""RAFT (Teed and Deng 2020) as a tracker: its optical flow, followed by each point.

The network is cotracker/model/raft.py, which train.py trains too.
"""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from cotracker import checks
from cotracker.baselines.by_clip import Answer, ByClip, read_frames
from cotracker.baselines.chain import Chain
from cotracker.baselines.weights import Published, Source, load_trained, seeded
from cotracker.geometry import inside_frame, rescale_points, resize_video, sample_maps
from cotracker.model.raft import LEAST, STRIDE, Maps
from cotracker.model.raft import RAFT as RAFTNetwork
from cotracker.trackers.live import Live, LiveOptions, join_frames
from cotracker.trackers.options import check_resolution
from cotracker.types import Video

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
    checkpoint: the published file, one of train.py model=raft, or "random".
    iters: updates of a flow.
    direct: flow from the query's frame to each other one, instead of steps.
    resolution: (H, W) that the network sees; None for the video's own.
    """

    def __init__(
        self,
        checkpoint: Source | None,
        iters: int = 20,
        direct: bool = False,
        resolution: Sequence[int] | None = None,
        device: str = "auto",
    ):
        super().__init__()
        self.resolution = check_resolution(resolution)
        self.iters = checks.whole("iters", iters, 1)
        self.direct = checks.switch("direct", direct)
        trained = load_trained(checkpoint, RAFTNetwork)
        if trained:
            self.network, self.checkpoint = trained
        else:
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
        working = self.resolution or size
        frame = Frame(working)
        scale = [(b - 1) / max(a - 1, 1) for a, b in zip(size, working)]

        def read(video: Tensor) -> Maps:
            return self._encode(video, 0, frame)

        return Chain(size, read, partial(self._follow, frame), (scale[1], scale[0]))

    def start_live(self, size: tuple[int, int], options: LiveOptions) -> Live:
        """The chain of flows between neighbours; direct flow would hold every query's frame."""
        return super().start_live(size, options) if self.direct else self._chain(size)

    def _jump(self, video: Video, queries: Tensor) -> Answer:
        """Flow from each query's own frame to every later one."""
        size, frames = tuple(video.shape[-2:]), video.shape[1]
        frame = Frame(self.resolution or size)
        points = rescale_points(queries[:, 1:], size, frame.size)
        xy = points.repeat(frames, 1, 1)
        kept = torch.ones_like(xy[..., 0], dtype=torch.bool)
        for start in queries[:, 0].unique().long().tolist():
            chosen = queries[:, 0] == start
            first = self._encode(video, start, frame)
            for t in range(start + 1, frames):
                second = self._encode(video, t, frame)
                answer = self._follow(frame, first, second, points[chosen])
                xy[t, chosen], kept[t, chosen] = answer
        return _answer(rescale_points(xy, frame.size, size), kept, size)

    def _encode(self, video: Video, number: int, frame: Frame) -> Maps:
        frames = read_frames(video, number, number + 1).to(self.device)
        return self.network.encode_frames(frame.prepare(resize_video(frames, frame.size)))

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
        resized = {} if self.resolution is None else {"resolution": list(self.resolution)}
        return super().describe() | {"iters": self.iters, "direct": self.direct} | resized


def read_inside(maps: Tensor, points: Tensor) -> Tensor:
    """Values N C of a map 1 H W C at points N 2, held at its border."""
    height, width = maps.shape[1:3]
    limits = points.new_tensor([width - 1, height - 1])
    inside = torch.minimum(points.clamp(min=0), limits)
    return sample_maps(maps, torch.zeros(len(points), dtype=torch.long, device=maps.device), inside)


def _answer(xy: Tensor, kept: Tensor, size: tuple[int, int]) -> Answer:
    visible = kept & inside_frame(xy, size)
    return xy, visible.float(), visible
