"""PIPs (Harley et al. 2022) over videos of any length: windows of eight frames, chained.

The network is cotracker/model/pips.py, which train.py trains too (table 4).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cotracker import checks
from cotracker.baselines.by_clip import Answer, ByClip, read_frames
from cotracker.baselines.weights import Published, Source, load_trained, seeded
from cotracker.geometry import inside_frame, rescale_points, resize_video
from cotracker.model.pips import PIPs as PIPsNetwork
from cotracker.trackers.live import Live, LiveOptions
from cotracker.trackers.options import check_resolution
from cotracker.trackers.views import FeatureCache
from cotracker.types import Video

THRESHOLD = 0.9  # of visibility, where the chain goes on; and of what counts as visible
LOWERED = 0.02  # by which it is lowered while no frame reaches it
RENAMES = (  # published names -> ours
    (r"^fnet\.conv1\.", "encoder.stem."),
    (r"^fnet\.layer(\d)\.(\d)\.downsample\.0\.", r"encoder.stages.\1.\2.shortcut."),
    (r"^fnet\.layer(\d)\.(\d)\.", r"encoder.stages.\1.\2."),
    (r"stages\.(\d)", lambda m: f"stages.{int(m[1]) - 1}"),
    (r"^fnet\.conv2\.", "encoder.fuse."),
    (r"^fnet\.conv3\.", "encoder.project."),
    (r"^delta_block\.to_delta\.0\.", "mixer.embed."),
    (r"^delta_block\.to_delta\.13\.", "mixer.norm."),
    (r"^delta_block\.to_delta\.15\.", "mixer.head."),
    (
        r"^delta_block\.to_delta\.(\d+)\.([01])\.",
        lambda m: f"mixer.layers.{2 * int(m[1]) - 2 + int(m[2])}.",
    ),
    (r"\.fn\.0\.", ".expand."),
    (r"\.fn\.3\.", ".contract."),
    (r"^norm\.", "feature_norm."),
    (r"^ffeat_updater\.0\.", "feature_update."),
    (r"^vis_predictor\.0\.", "visibility."),
)
PUBLISHED = Published(
    "PIPs", "reference_model", "MIT", container="model_state_dict", renames=RENAMES
)


@dataclass
class Chained:
    """What the windows so far told of N points, in the n frames from `offset` on."""

    xy: Tensor  # n N 2, pixels of the network; a point stays where it was told last
    visibility: Tensor  # n N
    feature: Tensor  # N C, of the query, once its frame was read
    begun: Tensor  # N bool: it was
    now: Tensor  # N, the frame that the next window starts in
    offset: int = 0

    @staticmethod
    def begin(start: Tensor, points: Tensor, frames: int, channels: int) -> "Chained":
        """Before any window, of points N 2 in their frames N."""
        xy = points.repeat(frames, 1, 1)
        feature = points.new_zeros(len(points), channels)
        begun = torch.zeros_like(start, dtype=torch.bool)
        return Chained(xy, torch.zeros_like(xy[..., 0]), feature, begun, start.clone())


class PIPs(ByClip):
    """PIPs from each query's frame on; the next window starts where a point is still seen.

    Of a window's frames the last that is visible enough starts the next one; the threshold is
    lowered until one is.  The feature of the query is kept throughout.
    checkpoint: the published file, one of train.py model=pips, or "random".
    iters: of a window.  resolution: (H, W) that the network sees; None for the video's own.
    stride: of the published network as it is run; that of a file of ours is in it.
    """

    def __init__(
        self,
        checkpoint: Source | None,
        iters: int = 6,
        resolution: tuple[int, int] | None = (320, 512),
        stride: int = 4,
        device: str = "auto",
    ):
        super().__init__()
        self.iters = checks.whole("iters", iters, 1)
        self.resolution = check_resolution(resolution)
        trained = load_trained(checkpoint, PIPsNetwork)
        if trained:
            self.network, self.checkpoint = trained
        else:
            self.network = seeded(lambda: PIPsNetwork(stride=stride))
            self.checkpoint = PUBLISHED.load(self.network, checkpoint)
        self.place(device)

    def track_clip(self, video: Video, queries: Tensor) -> Answer:
        size = tuple(video.shape[-2:])
        to = self.resolution or size
        xy = rescale_points(queries[:, 1:], size, to)
        xy, visibility = self._chain(video, queries[:, 0].long(), xy, to)
        xy = rescale_points(xy, to, size)
        visible = (visibility > THRESHOLD) & inside_frame(xy, size)
        return xy, visibility, visible

    def _chain(
        self, video: Video, start: Tensor, points: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """xy T N 2 in pixels of `size` and visibility T N of points N 2 in their frames N."""
        frames, cache = video.shape[1], FeatureCache()
        chain = Chained.begin(start, points, frames, self.network.config.channels)
        for t in range(frames - 1):
            if (chain.now == t).any():
                self.run_window(chain, t, frames, self._encode(video, t, size, cache))
        return chain.xy, chain.visibility

    def run_window(self, chain: "Chained", t: int, frames: int, maps: list[Tensor]) -> None:
        """Writes into `chain` the window of frame t, for all points whose next one starts there.

        maps: of the window's frames.  frames: those of the video.
        """
        here = (chain.now == t).nonzero()[:, 0]
        k, length = t - chain.offset, min(self.network.window, frames - t)
        new = here[~chain.begun[here]]
        chain.feature[new] = self._sample(maps, chain.xy[k, new])
        chain.begun[new] = True
        found, seen = self._window(maps, chain.feature[here], chain.xy[k, here])
        chain.xy[k + 1 : k + length, here] = found[1:length]
        chain.visibility[k:, here] = 0
        chain.visibility[k : k + length, here] = seen[:length]
        chain.xy[k + length :, here] = found[length - 1]
        chain.now[here] = t + next_start(seen)

    def start_live(self, size: tuple[int, int], options: LiveOptions) -> Live:
        """Windows as their frames come."""
        from cotracker.baselines.pips_live import PIPsLive

        return PIPsLive(self, size, options.provisional)

    def _encode(
        self, video: Video, start: int, size: tuple[int, int], cache: FeatureCache
    ) -> list[Tensor]:
        """The pyramid 1 S h w C a level of the window at `start`, its last frame repeated."""
        last = video.shape[1] - 1
        frames = [min(start + s, last) for s in range(self.network.window)]
        for number in sorted({n for n in frames if cache.get(n) is None}):
            frame = read_frames(video, number, number + 1).to(self.device)
            cache.put(number, self.network.encode(resize_video(frame, size)[None]))
        return [torch.cat(level, dim=1) for level in zip(*(cache.get(n) for n in frames))]

    def _sample(self, maps: list[Tensor], points: Tensor) -> Tensor:
        which = torch.zeros(len(points), dtype=torch.long, device=points.device)
        return self.network.sample(maps[0][0], which, points / self.network.stride)

    def _window(self, maps: list[Tensor], feature: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """xy S K 2 and visibility S K of points K 2 of the window's first frame."""
        still = points.expand(1, self.network.window, -1, -1)
        tracks, logits = self.network.refine(maps, feature[None], still, self.iters)
        return tracks[-1][0], logits[0].sigmoid()

    def describe(self) -> dict:
        resolution = None if self.resolution is None else list(self.resolution)
        settings = {"iters": self.iters, "resolution": resolution, "stride": self.network.stride}
        return super().describe() | settings


def next_start(visibility: Tensor) -> Tensor:
    """Which frame K of a window starts the next one, given visibility S K.

    The last of frames 2 to S - 1 above the threshold, which is lowered by LOWERED until there is
    one; frame 1 is never taken, so that a chain moves on.
    """
    late = visibility[2:].double()
    lowered = ((THRESHOLD - late.amax(0)) / LOWERED).floor().clamp(min=-1) + 1
    enough = late > THRESHOLD - LOWERED * lowered
    order = torch.arange(2, len(visibility), device=visibility.device)[:, None]
    return (enough * order).amax(0).clamp(min=2)
