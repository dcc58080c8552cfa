"""CoTracker: the paper as mathematics (sections 3.1 to 3.4). `CoTracker()` is the paper's model.

`forward` is `encode`, then a loop of `step` over windows overlapping by half; `step` is `refine`, M updates of one.
Nothing is stored between calls; all that one window hands to the next is the Carry.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cotracker.geometry import sample_maps
from cotracker.model.correlation import correlate, offsets
from cotracker.model.dinov2 import DinoEncoder
from cotracker.model.encoder import Encoder, pyramid
from cotracker.model.graphs import Replayed
from cotracker.model.published import linear_frequencies, scramble_flags
from cotracker.model.transformer import Transformer

FRAME_PIXELS = 2 * 384 * 512  # so many pixels are encoded at once on a CPU, or under recompute
FIRST_LOGIT = 10.0  # of the visibility of a point that was just asked for: surely seen


class Carry(NamedTuple):
    """What passes from window to window. tracks and logits are the last window's (B S N 2 pixels, B S N)."""

    queries: Tensor  # B N 3 (t, x, y), t counted from the video's first frame
    real: Tensor  # B N bool, False for padded points
    features: Tensor  # B N C, Q of eq. 1: sampled where and when the query is
    tracks: Tensor
    logits: Tensor
    start: int  # first frame of the next window


class Estimate(NamedTuple):
    """One window's answer: all updates' tracks for the loss, the last one's for use."""

    start: int
    tracks: list[Tensor]  # M times B S N 2, pixels
    logits: Tensor  # B S N, visibility
    asked: Tensor  # B N bool: the point had been queried by the end of this window


class CoTracker(nn.Module):
    """The tracker network. Every argument is a config field (configs/model/); the defaults are the paper's.

    stride: k, pixels a cell (4 or 8).  window: S, even.  iters: M, when the call names no other.
    channels: d of the features.  widths, fuse_width: of the encoder's four stages and its fusion.
    normalise_features: LayerNorm on the maps.  levels, neighbourhood, radius: S, shape and Delta of the correlation
    features.  hidden, heads, time_layers, group_layers, mlp_ratio: of the transformer; no group layers and twelve time
    layers is table 1's time-only model.  motion_waves: frequencies of eta.  The next three: see published.py.
    encoder: "cnn", or "dinov2", frozen, of the file encoder_weights, read at block encoder_layer; see dinov2.py.
    recompute: the backward pass computes a chunk of frames, or an update, anew instead of keeping what is inside it: a
    fraction of the memory for about a third more time; the gradients are the same.
    """

    def __init__(
        self,
        stride: int = 4,
        window: int = 8,
        iters: int = 4,
        channels: int = 128,
        widths: tuple[int, int, int, int] = (64, 96, 128, 128),
        fuse_width: int = 256,
        normalise_features: bool = False,
        levels: int = 4,
        neighbourhood: str = "diamond",
        radius: int = 4,
        hidden: int = 384,
        heads: int = 8,
        time_layers: int = 6,
        group_layers: int = 6,
        mlp_ratio: float = 4.0,
        motion_waves: int = 32,
        linear_motion_waves: bool = False,
        scrambled_flags: bool = False,
        repeat_last_frame: bool = False,
        encoder: str = "cnn",
        encoder_weights: str | None = None,
        encoder_layer: int = 8,
        recompute: bool = False,
    ):
        super().__init__()
        arguments = dict(locals())
        self.config = {k: v for k, v in arguments.items() if k not in ("self", "__class__")} | {
            "widths": list(widths)
        }
        if window < 2 or window % 2:
            raise ValueError(
                f"model.window must be an even number of frames, 2 or more, not {window}"
            )
        if stride not in (2, 4, 8, 16):
            raise ValueError(f"model.stride must be 2, 4, 8 or 16, not {stride}")
        if len(widths) != 4:
            raise ValueError(
                f"model.widths must name the channels of the encoder's four stages, not {list(widths)}"
            )
        for name in ("iters", "levels", "heads", "time_layers", "motion_waves"):
            if arguments[name] < 1:
                raise ValueError(f"model.{name} must be at least 1, not {arguments[name]}")
        if encoder not in ("cnn", "dinov2"):
            raise ValueError(f'model.encoder must be "cnn" or "dinov2", not {encoder!r}')
        if hidden % heads:
            raise ValueError(f"model.hidden = {hidden} must be a multiple of model.heads = {heads}")
        self.stride, self.window, self.iters, self.levels = stride, window, iters, levels
        self.neighbourhood, self.radius = neighbourhood, radius
        self.scrambled_flags, self.repeat_last_frame = scrambled_flags, repeat_last_frame
        self.recompute, self.dtype = recompute, torch.float32  # to_bfloat16() changes the latter
        frequencies = (
            linear_frequencies(motion_waves)
            if linear_motion_waves
            else wave_frequencies(motion_waves)
        )
        self.register_buffer("frequencies", frequencies, persistent=False)
        if encoder == "dinov2":
            self.encoder = DinoEncoder(
                stride, channels, encoder_layer, encoder_weights, normalise_features
            )
        else:
            self.encoder = Encoder(stride, channels, tuple(widths), fuse_width, normalise_features)
        tokens = 2 + 4 * motion_waves + levels * len(offsets(neighbourhood, radius)) + channels + 2
        self.transformer = Transformer(
            tokens, 2 + channels, hidden, heads, time_layers, group_layers, mlp_ratio
        )
        self.feature_norm = nn.LayerNorm(channels)
        self.feature_update = nn.Linear(channels, channels)
        self.visibility = nn.Linear(channels, 1)

    def forward(
        self,
        video: Tensor,
        queries: Tensor,
        iters: int | None = None,
        real: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> list[Estimate]:
        """The Estimates of all windows, in order, for queries B N 3 (t, x, y) in a video B T 3 H W of 0..255.

        real B N: False marks padded points.  lengths B: frames that are real, where clips were padded to one T.
        Windows start at 0, S/2, S, …; the last is shorter where S/2 does not divide T (section 3.2).
        """
        if video.ndim != 5 or video.shape[2] != 3:
            raise ValueError(f"video must have shape (B, T, 3, H, W), not {tuple(video.shape)}")
        return self.track(self.encode(video), queries, iters, real, lengths)

    def encode(self, video: Tensor, frames_at_once: int | None = None) -> list[Tensor]:
        """The pyramid of feature maps, B T h w C a level, of a video B T 3 H W of 0..255; each frame by itself."""
        frames = video.flatten(0, 1)
        if frames_at_once is None and (frames.device.type == "cpu" or self.recompute):
            frames_at_once = (
                FRAME_PIXELS // frames[0, 0].numel()
            )  # what fits a cache, and can be kept in a heap
        turns = frames.split(max(1, len(frames) if frames_at_once is None else frames_at_once))
        parts = [self._kept(self._encoded, turn) for turn in turns]
        return [torch.cat(level).unflatten(0, video.shape[:2]) for level in zip(*parts)]

    def _encoded(self, frames: Tensor) -> list[Tensor]:
        frames = frames.float() * (2 / 255) - 1
        return pyramid(self.encoder(frames.to(self.dtype)), self.levels)

    def _kept(self, function: Callable, *arguments):
        """function(*arguments), of which autograd keeps the arguments alone where `recompute` asks for it."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)
        return function(*arguments)

    def to_bfloat16(self) -> "CoTracker":
        """This network, for inference: encoder, maps and the transformer's blocks become bfloat16, in place.

        Positions, motion, what the transformer reads and writes, visibility and the norms' statistics stay float32.
        """
        self.dtype = torch.bfloat16
        for part in (self.encoder, self.transformer.time, self.transformer.group):
            part.to(self.dtype)
        return self

    def compile_parts(self, backend: str = "inductor") -> None:
        """Nothing comes out: the transformer is compiled in place at its next call; names in the state dict stay.

        For any number of clips, frames and points at once. One compilation each for training, inference and dtype takes
        tens of seconds of a CPU. The encoder stays as it is: nearly all of its time goes into convolutions.
        """
        self.transformer.compile(backend=backend, dynamic=True)

    def replay_windows(self) -> None:
        """Nothing comes out: for inference on a GPU a window's updates are replayed as one CUDA graph a shape.

        For many windows of one shape, as of a long video: launching kernels one by one is most of a small window's
        time. On other devices, and where gradients are wanted, nothing changes.
        """
        self.refine = Replayed(self.refine)

    def _apply(self, fn: Callable, recurse: bool = True) -> "CoTracker":
        """As Module's, by which `to` and the like work; graphs captured before read where the parameters were."""
        if isinstance(self.refine, Replayed):
            self.refine.forget()
        return super()._apply(fn, recurse)

    def track(
        self,
        maps: list[Tensor],
        queries: Tensor,
        iters: int | None = None,
        real: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> list[Estimate]:
        """As `forward`, on maps that are encoded already; maps of batch 1 serve any number of sets of queries."""
        if queries.ndim != 3 or queries.shape[-1] != 3:
            raise ValueError(f"queries must have shape (B, N, 3), not {tuple(queries.shape)}")
        if len(maps[0]) not in (1, len(queries)):
            raise ValueError(
                f"queries are for {len(queries)} videos, but the video holds {len(maps[0])}"
            )
        if iters is not None and iters < 1:
            raise ValueError(f"iters must be at least 1, not {iters}")
        carry = self.begin(queries, real)
        estimates = []
        for start, window in zip(
            window_starts(maps[0].shape[1], self.window), windows_of(maps, self.window)
        ):
            known = None
            if lengths is not None:
                frame = start + torch.arange(window[0].shape[1], device=lengths.device)
                known = frame < lengths[:, None]
            carry, estimate = self.step(carry, window, iters, known)
            estimates.append(estimate)
        return estimates

    def begin(self, queries: Tensor, real: Tensor | None = None) -> Carry:
        """The Carry before the first window."""
        if real is None:
            real = torch.ones_like(queries[..., 0], dtype=torch.bool)
        queries = torch.where(real[..., None], queries.float(), 0.0)
        batch, points, _ = queries.shape
        features = queries.new_zeros(batch, points, self.feature_norm.normalized_shape[0])
        tracks = queries[:, None, :, 1:].expand(-1, self.window, -1, -1)
        return Carry(
            queries, real, features, tracks, tracks.new_full(tracks.shape[:-1], FIRST_LOGIT), 0
        )

    def begin_features(
        self, maps: list[Tensor], queries: Tensor, real: Tensor | None = None
    ) -> Tensor:
        """Q of eq. 1 for all queries at once, B N C, from the maps of the whole video."""
        carry = self.begin(queries, real)
        return self._query_features(carry, maps[0], torch.zeros_like(carry.real))

    def step(
        self,
        carry: Carry,
        maps: list[Tensor],
        iters: int | None = None,
        known: Tensor | None = None,
    ) -> tuple[Carry, Estimate]:
        """The next Carry and this window's Estimate; maps are those of its frames (b S h w C a level, b = B or 1).

        Frames half a window on are the next call's first. known B S: frames that are not padding (None: all).
        """
        length, half, start = maps[0].shape[1], self.window // 2, carry.start
        if known is not None:  # an attention weight of zero times NaN would be NaN
            held = known if len(maps[0]) == len(known) else known.any(dim=0, keepdim=True)
            maps = [torch.where(held[..., None, None, None], level, 0.0) for level in maps]
        time = carry.queries[..., 0]
        seen_before = (
            time < start + half if start else torch.zeros_like(carry.real)
        )  # asked in the window before
        asked = carry.real & (time < start + length)
        features = self._query_features(carry, maps[0], seen_before)
        tracks, logits = self._initial_state(carry, seen_before)
        frame = start + torch.arange(self.window, device=time.device)[:, None]
        new = (frame >= time[:, None]) & ~(
            seen_before[:, None] & (frame < start + half)
        )  # B S N: to be predicted
        if self.repeat_last_frame:
            maps = [_padded_to(m, self.window) for m in maps]
            new = new & (frame < start + length)
        window = maps[0].shape[1]
        flags = self._flags(new, logits, time, asked)[:, :window]
        tracks = tracks[:, :window]
        outputs, logits = self.refine(
            maps, features, tracks, flags, asked, known, iters or self.iters
        )
        estimate = Estimate(start, [t[:, :length] for t in outputs], logits[:, :length], asked)
        carry = Carry(carry.queries, carry.real, features, outputs[-1], logits, start + half)
        return carry, estimate

    def refine(
        self,
        maps: list[Tensor],
        features: Tensor,
        tracks: Tensor,
        flags: Tensor,
        asked: Tensor | None,
        known: Tensor | None,
        iters: int,
    ) -> tuple[list[Tensor], Tensor]:
        """M updates of one window: tracks of each, B S N 2 pixels, and the visibility logits B S N after the last.

        features: Q of the queries, B N C.  tracks: B S N 2 pixels to start from.  flags: B S N 2.
        """
        window = tracks.shape[1]
        cells = tracks / self.stride
        appearance = features[:, None].expand(-1, window, -1, -1)  # Q(0): B S N C
        code = self._codes(cells[:, 0], window, (maps[0].shape[3], maps[0].shape[2]))
        outputs = []
        for _ in range(iters):
            cells, appearance = self._kept(
                self._updated, maps, cells.detach(), appearance, code, flags, asked, known
            )
            outputs.append(cells * self.stride)
        return outputs, self.visibility(appearance)[..., 0].float()

    def _updated(
        self,
        maps: list[Tensor],
        cells: Tensor,
        appearance: Tensor,
        code: Tensor,
        flags: Tensor,
        asked: Tensor | None,
        known: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """One update (section 3.4): the next cells B S N 2 and appearance B S N C, in float32."""
        near = correlate(maps, appearance, cells, self.neighbourhood, self.radius)
        motion = self._motion(cells - cells[:, :1])
        tokens = torch.cat([motion, near, appearance.float(), flags], dim=-1) + code
        delta = self.transformed(tokens, asked, known)
        cells = cells + delta[..., :2]
        return cells, appearance + F.gelu(
            self.feature_update(self.feature_norm(delta[..., 2:]))
        ).float()

    def transformed(
        self, tokens: Tensor, asked: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        """Psi of eq. 3 of tokens B S N G: changes of position and features, B S N (2 + C), in float32."""
        return self.transformer(tokens, asked, known, self.dtype).float()

    def _query_features(self, carry: Carry, base: Tensor, seen_before: Tensor) -> Tensor:
        """Q of eq. 1, B N C: sampled from the base map for queries whose frame is first seen here, else kept."""
        batch, length, height, width, _ = base.shape
        frame = (carry.queries[..., 0].round() - carry.start).long()
        here = carry.real & ~seen_before & (frame >= 0) & (frame < length)
        clip = (
            torch.arange(batch, device=frame.device)[:, None] * length
        )  # b = 1: all clips share one video
        x, y = (carry.queries[..., 1:] / self.stride).unbind(-1)
        cells = torch.stack(
            [x.clamp(0, width - 1), y.clamp(0, height - 1)], dim=-1
        )  # held at the border
        sampled = sample_maps(base.flatten(0, 1), clip + frame.clamp(0, length - 1), cells)
        return torch.where(here[..., None], sampled, carry.features)

    def _initial_state(self, carry: Carry, seen_before: Tensor) -> tuple[Tensor, Tensor]:
        """Tracks B S N 2 and logits B S N to start from: section 3.2 for points seen before, eq. 1 for new ones."""
        half = self.window // 2
        position = carry.queries[:, None, :, 1:].expand(-1, self.window, -1, -1)
        if carry.start == 0:
            return position, torch.full_like(position[..., 0], FIRST_LOGIT)

        def shifted(x: Tensor) -> Tensor:
            return torch.cat([x[:, half:], x[:, -1:].expand_as(x[:, :half])], dim=1)

        seen = seen_before[:, None]
        tracks = torch.where(seen[..., None], shifted(carry.tracks), position)
        return tracks, torch.where(seen, shifted(carry.logits), FIRST_LOGIT)

    def _flags(self, new: Tensor, logits: Tensor, time: Tensor, asked: Tensor) -> Tensor:
        mask = new.to(logits.dtype)
        if self.scrambled_flags:
            return scramble_flags(mask, logits, time, asked)
        return torch.stack([mask, logits], dim=-1)

    def _codes(self, cells: Tensor, window: int, size: tuple[int, int]) -> Tensor:
        """Position codes B S N G: 1-D of the frame in the window, 2-D of the point's first position (section 3.4)."""
        width = self.transformer.embed.in_features
        time = sine_code(
            torch.arange(window, device=cells.device, dtype=torch.float32), width
        )  # S G
        half = 2 * math.ceil(width / 4)
        space = torch.cat(
            [_tabled_code(cells[..., axis], half, size[axis]) for axis in (0, 1)], dim=-1
        )[..., :width]
        return time[None, :, None] + space[:, None]

    def _motion(self, offset: Tensor) -> Tensor:
        """eta(P - P_1), B S N (2 + 4 waves): the offset in cells, then sine and cosine in turn for x, then for y."""
        angle = offset[..., None] * self.frequencies  # B S N 2 waves
        waves = torch.stack([angle.sin(), angle.cos()], dim=-1)
        return torch.cat([offset, waves.flatten(-3)], dim=-1)


def window_starts(frames: int, window: int) -> list[int]:
    """First frames of the windows over `frames` frames: J = ceil(2 T'/T - 1) of them (section 3.2), at least one."""
    return list(range(0, max(1, frames - window // 2), window // 2))


def windows_of(maps: list[Tensor], window: int) -> list[list[Tensor]]:
    """The maps of each window, B S h w C a level: views."""
    starts = window_starts(maps[0].shape[1], window)
    return [
        list(levels) for levels in zip(*(_Windows.apply(level, starts, window) for level in maps))
    ]


class _Windows(torch.autograd.Function):
    """Overlapping slices of frames, whose gradients are added in one place: a slice's own is as large as the whole."""

    @staticmethod
    def forward(ctx, maps: Tensor, starts: list[int], window: int) -> tuple[Tensor, ...]:
        ctx.shape, ctx.starts = maps.shape, starts
        return tuple(maps[:, start : start + window] for start in starts)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        total = gradients[0].new_zeros(ctx.shape)
        for start, gradient in zip(ctx.starts, gradients):
            total[:, start : start + gradient.shape[1]] += gradient
        return total, None, None


def wave_frequencies(waves: int) -> Tensor:
    """Geometric series of `waves` frequencies in radians a cell, from pi (wave length 2 cells) down to pi / 512."""
    return math.pi * 512 ** (-torch.arange(waves) / max(waves - 1, 1))


def sine_code(position: Tensor, width: int) -> Tensor:
    """The standard sinusoidal code (..., width) of positions (...): all sines, then all cosines; base 10000."""
    half = math.ceil(width / 2)
    frequency = 10000.0 ** (
        -torch.arange(half, device=position.device, dtype=torch.float32) / (width / 2)
    )
    angle = position[..., None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)[..., :width]


def _tabled_code(cells: Tensor, width: int, size: int) -> Tensor:
    """The code of whole cells 0..size-1, read linearly between them and held beyond them: (..., width)."""
    cells = cells.clamp(0, size - 1)
    below = cells.floor()
    fraction = (cells - below)[..., None]
    return sine_code(below, width) * (1 - fraction) + sine_code(below + 1, width) * fraction


def _padded_to(maps: Tensor, frames: int) -> Tensor:
    missing = frames - maps.shape[1]
    return (
        maps
        if missing <= 0
        else torch.cat([maps, maps[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)
    )
