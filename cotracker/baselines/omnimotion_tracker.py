"""OmniMotion as a Tracker: each video is fitted when it is tracked."""

import hashlib

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cotracker import checks
from cotracker.baselines.by_clip import Answer, ByClip, read_frames
from cotracker.baselines.omnimotion import (
    OCCLUDED,
    WIDTH,
    OmniMotionNetwork,
    to_pixels,
    to_units,
)
from cotracker.baselines.omnimotion_fit import STEPS, Flows, Sampler, chain_flows, filter_flows, fit
from cotracker.baselines.raft import RAFT, Frame
from cotracker.baselines.weights import Source, seeded
from cotracker.geometry import inside_frame, rescale_points, resize_video
from cotracker.trackers.options import check_resolution
from cotracker.trackers.tracker import resolve_device
from cotracker.types import Video


class OmniMotion(ByClip):
    """Tracks in both directions by a network fitted to the video; the last fit is kept.

    checkpoint: the file of RAFT, whose flow is fitted; None: OpenCV's DIS flow.
    iters: steps of the fit.  pairs, points: pairs of frames in a step, and points in each.
    width: of the network.  resolution: (H, W) of the fit; None: the video's own.
    Flow of all pairs is held in memory: 16 T^2 H W bytes.
    """

    both_directions = True

    def __init__(
        self,
        checkpoint: Source | None = None,
        iters: int = STEPS,
        pairs: int = 8,
        points: int = 256,
        width: int = WIDTH,
        resolution: tuple[int, int] | None = None,
        seed: int = 0,
        device: str = "auto",
    ):
        super().__init__()
        self.iters = checks.whole("iters", iters, 1)
        self.pairs = checks.whole("pairs", pairs, 1)
        self.points = checks.whole("points", points, 2)
        self.width = checks.whole("width", width, 8)
        self.seed = checks.whole("seed", seed, 0)
        self.resolution = check_resolution(resolution)
        self._device = resolve_device(device)
        self.flow = None if checkpoint is None else RAFT(checkpoint, device=device)
        self.checkpoint = None if self.flow is None else self.flow.checkpoint
        self._kept: tuple[str, OmniMotionNetwork] | None = None

    @property
    def device(self) -> torch.device:
        return self._device

    def track_clip(self, video: Video, queries: Tensor) -> Answer:
        size, frames = tuple(video.shape[-2:]), video.shape[1]
        to = self.resolution or size
        with torch.inference_mode(False), torch.enable_grad():
            network = self._fitted(video, to)
        xy = to_units(rescale_points(queries[:, 1:], size, to), to)
        parts = []
        for number in range(frames):
            source, target = queries[:, 0], torch.full_like(queries[:, 0], number)
            with torch.no_grad():
                parts.append(network.follow(xy[:, None].clone(), source.clone(), target))
        there = torch.stack([part[0][:, 0, :2] for part in parts])
        hidden = torch.stack([part[1][:, 0] for part in parts]).clamp(0, 1)
        xy = rescale_points(to_pixels(there, to), to, size)
        return xy, 1 - hidden, (hidden <= OCCLUDED) & inside_frame(xy, size)

    def _fitted(self, video: Video, size: tuple[int, int]) -> OmniMotionNetwork:
        """The network of the video, that of the last call where it is the same."""
        pictures = torch.cat(
            [resize_video(read_frames(video, t, t + 1), size) for t in range(video.shape[1])]
        ).clone()
        key = hashlib.sha256(pictures.cpu().numpy().tobytes()).hexdigest()
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self._fit(pictures)
        return self._kept[1]

    def _fit(self, pictures: Tensor) -> OmniMotionNetwork:
        frames = len(pictures)
        colours = pictures.cpu().movedim(1, -1) / 255
        flows = self._flows(pictures)
        rng = torch.Generator().manual_seed(self.seed)
        moved = torch.cat([torch.randperm(3, generator=rng) for _ in range(2)]).tolist()
        network = seeded(lambda: OmniMotionNetwork(frames, moved, self.width)).to(self.device)
        sampler = Sampler(chain_flows(flows, colours), colours, self.pairs, self.points, self.seed)
        with tqdm(total=self.iters, desc="fitting", unit="step", leave=False) as bar:
            return fit(network, sampler, self.iters, lambda _: bar.update())

    @torch.no_grad()
    def _flows(self, pictures: Tensor) -> Flows:
        """The Flows of every ordered pair of pictures T 3 H W."""
        frames, (height, width) = len(pictures), pictures.shape[-2:]
        flow = torch.zeros(frames, frames, height, width, 2)
        between = self._dis(pictures) if self.flow is None else self._raft(pictures)
        for i in range(frames):
            for j in range(frames):
                if i != j:
                    flow[i, j] = between(i, j)
        return filter_flows(flow)

    def _dis(self, pictures: Tensor):
        grey = [
            cv2.cvtColor(np.ascontiguousarray(one), cv2.COLOR_RGB2GRAY)
            for one in pictures.cpu().round().clamp(0, 255).byte().movedim(1, -1).numpy()
        ]
        method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return lambda i, j: torch.from_numpy(method.calc(grey[i], grey[j], None))

    def _raft(self, pictures: Tensor):
        raft, frame = self.flow, Frame(tuple(pictures.shape[-2:]))
        network = raft.network
        maps = [network.encode_frames(frame.prepare(one[None].to(self.device))) for one in pictures]

        def between(i: int, j: int) -> Tensor:
            flow = frame.restore_flow(network.flow(maps[i], maps[j], raft.iters))
            return flow[0].movedim(0, -1).cpu()

        return between

    def describe(self) -> dict:
        resolution = None if self.resolution is None else list(self.resolution)
        fitted = {
            name: getattr(self, name) for name in ("iters", "pairs", "points", "width", "seed")
        }
        flow = {"flow": "DIS" if self.flow is None else "RAFT"}
        return super().describe() | fitted | flow | {"resolution": resolution}
