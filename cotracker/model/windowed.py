"""What the networks of the family share: frames to maps, and a loop of steps over windows."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cotracker.model import runtime
from cotracker.model.config import CoTracker3Config, CoTrackerConfig
from cotracker.model.dinov2 import DinoEncoder
from cotracker.model.encoder import Encoder, pyramid
from cotracker.model.runtime import as_weight, recomputed
from cotracker.model.windows import Estimate, WindowState, split_windows


class WindowedNetwork(nn.Module, ABC):
    """A network that refines tracks window by window.

    `forward` is `encode`, then a loop of `step` over windows overlapping by half.  Nothing is
    stored between calls; all that one window hands to the next is the WindowState.
    """

    has_confidence = False  # whether its Estimates hold confidence logits

    def __init__(self, config: CoTrackerConfig | CoTracker3Config, window: int, normalise: bool):
        super().__init__()
        self.config, self.window = config, window
        self.stride, self.iters = config.stride, config.iters
        self.encoder = _build_encoder(config, normalise)

    @property
    def sees_whole_clips(self) -> bool:
        """Whether it is meant for clips as a whole; `window` then bounds what is held at once."""
        return self.config.window is None

    @property
    def dtype(self) -> torch.dtype:
        """Of encoder, maps and the transformer's blocks."""
        return self.encoder.project.weight.dtype

    def forward(
        self,
        video: Tensor,
        queries: Tensor,
        iters: int | None = None,
        point_mask: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> list[Estimate]:
        """The Estimates of all windows, in order, for queries B N 3 (t, x, y).

        Windows start at 0, S/2, S, …; the last is shorter where S/2 does not divide T (3.2).

        video: B T 3 H W of 0..255.
        iters: M; None: the config's.
        point_mask: B N, False for padded points.
        lengths: B, frames that are real, where clips were padded to one T.
        """
        if video.ndim != 5 or video.shape[2] != 3:
            raise ValueError(f"video must have shape (B, T, 3, H, W), not {tuple(video.shape)}")
        return self.track(self.encode(video), queries, iters, point_mask, lengths)

    def encode(self, video: Tensor, frames_at_once: int | None = None) -> list[Tensor]:
        """The pyramid of feature maps, B T h w C a level, of a video B T 3 H W of 0..255.

        frames_at_once: None: what suits the machine.  Frames do not see each other.
        """
        frames = video.flatten(0, 1)
        encode = recomputed(self._encode, self.config.recompute)
        chunk = frames_at_once or runtime.frames_at_once(frames, self.config.recompute)
        parts = [encode(some) for some in frames.split(chunk)]
        return [torch.cat(level).unflatten(0, video.shape[:2]) for level in zip(*parts)]

    def _encode(self, frames: Tensor) -> list[Tensor]:
        frames = frames.float() * (2 / 255) - 1
        maps = self.encoder(as_weight(frames, self.encoder.project.weight))
        return self.build_pyramid(maps)

    def build_pyramid(self, maps: Tensor) -> list[Tensor]:
        """The levels K h w C of maps K C h w."""
        return pyramid(maps, self.config.levels)

    def track(
        self,
        maps: list[Tensor],
        queries: Tensor,
        iters: int | None = None,
        point_mask: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> list[Estimate]:
        """As `forward`, on encoded maps; maps of batch 1 serve any number of sets of queries."""
        if queries.ndim != 3 or queries.shape[-1] != 3:
            raise ValueError(f"queries must have shape (B, N, 3), not {tuple(queries.shape)}")
        if len(maps[0]) not in (1, len(queries)):
            raise ValueError(
                f"queries are for {len(queries)} videos, but the video holds {len(maps[0])}"
            )
        if iters is not None and iters < 1:
            raise ValueError(f"iters must be at least 1, not {iters}")
        state = self.begin(queries, point_mask)
        estimates = []
        for window in split_windows(maps, self.window):
            frame_mask = None
            if lengths is not None:
                frames = torch.arange(window[0].shape[1], device=lengths.device)
                frame_mask = state.start + frames < lengths[:, None]
            state, estimate = self.step(state, window, iters, frame_mask)
            estimates.append(estimate)
        return estimates

    @abstractmethod
    def begin(self, queries: Tensor, point_mask: Tensor | None = None) -> WindowState:
        """The WindowState before the first window; point_mask B N: False for padded points."""

    @abstractmethod
    def step(
        self,
        state: WindowState,
        maps: list[Tensor],
        iters: int | None = None,
        frame_mask: Tensor | None = None,
        refine: Callable | None = None,
        carried: Tensor | None = None,
    ) -> tuple[WindowState, Estimate]:
        """The next WindowState and this window's Estimate.

        maps: of its frames, b S h w C a level, b = B or 1.  Those from half a window on are the
        next call's first.
        iters: M; None: the config's.
        frame_mask: B S, frames that are not padding; None: all.
        refine: takes the place of this model's own, as its CudaGraphs.
        carried: B N, the points that were active in the window before; None: as the state says.
        """

    def _carried(self, state: WindowState) -> Tensor:
        """B N: the points that were active in the window before."""
        if state.start == 0:
            return torch.zeros_like(state.point_mask)
        return state.queries[..., 0] < state.start + self.window // 2

    def _predicted(self, state: WindowState, carried: Tensor, window: int) -> Tensor:
        """B S N: from the query on, but not where the window before has told already (3.2)."""
        frames = window_frames(state, window)
        told = carried[:, None] & (frames < state.start + self.window // 2)
        return (frames >= state.queries[:, None, :, 0]) & ~told


def window_frames(state: WindowState, window: int) -> Tensor:
    """S 1: a window's frames, counted from the video's first."""
    return state.start + torch.arange(window, device=state.queries.device)[:, None]


def find_queries(state: WindowState, maps: Tensor, carried: Tensor) -> tuple[Tensor, Tensor]:
    """B N: whether a query's frame is first seen in maps b S h w C, and its flat index in b S."""
    clips, length = maps.shape[:2]
    frame = (state.queries[..., 0].round() - state.start).long()
    here = state.point_mask & ~carried & (frame >= 0) & (frame < length)
    clip = torch.arange(clips, device=frame.device)[:, None]  # b = 1: all share one video
    return here, clip * length + frame.clamp(0, length - 1)


def clear_padding(maps: list[Tensor], frame_mask: Tensor | None) -> list[Tensor]:
    """Maps b S h w C with zeros in padded frames: a weight of zero times NaN would be NaN."""
    if frame_mask is None:
        return maps
    shared = len(maps[0]) != len(frame_mask)  # one video for all
    held = frame_mask.any(dim=0, keepdim=True) if shared else frame_mask
    return [torch.where(held[..., None, None, None], level, 0.0) for level in maps]


def _build_encoder(config: CoTrackerConfig | CoTracker3Config, normalise: bool) -> nn.Module:
    stride, channels = config.stride, config.channels
    if config.encoder == "dinov2":
        layer, weights = config.encoder_layer, config.encoder_weights
        return DinoEncoder(stride, channels, layer, weights, normalise)
    return Encoder(stride, channels, config.widths, config.fuse_width, normalise)
