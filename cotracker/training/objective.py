"""What is asked of a model in training, and the loss of its answers (section 3.3)."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cotracker.geometry import sample_maps
from cotracker.model.cotracker import CoTracker
from cotracker.model.windows import Estimate, window_starts
from cotracker.queries import sample_queries
from cotracker.training.late_window import drawn_window, later_window
from cotracker.training.losses import matching_loss, measures, track_loss, visibility_loss
from cotracker.types import Clip


class Objective(nn.Module):
    """(model, collated Clip) -> loss, scalars: tracks + visibility_weight x visibility + matching_weight x matching.

    Every part is the mean over the clips of each clip's own, so that it is the same however a batch is dealt out.
    gamma discounts early updates (eq. 2).  iters: M in training.  unrolled: windows follow each other through a
    clip (section 3.3); False trains each by itself, its points asked for anew (table 5).  late_queries: share of points
    queried at any frame where they are visible, the others at their first (appendix A).  small_errors adds so much of
    log(1 + |error|) to eq. 2's |error| in pixels: its slope is greatest at zero, so precision counts beside reach.
    handover: share of the batches of clips of 1.5 windows and more in which one later window is trained by itself,
    given tracks with handover_errors (least, greatest; pixels at width 512; see handover.py), of which the share
    handover_astray has gone with a point nearby; drawn once a batch, so that then a step does depend on how its clips
    are dealt out.
    matching_weight 0 switches the matching loss off.  points: at most so many points of a clip are tracked, None for
    all; the matching loss takes all of them, which costs little and teaches the encoder much; with 0 it is alone.
    """

    def __init__(
        self,
        iters: int = 4,
        gamma: float = 0.8,
        unrolled: bool = True,
        visibility_weight: float = 10.0,
        late_queries: float = 0.25,
        small_errors: float = 0.0,
        handover: float = 0.0,
        handover_errors: tuple[float, float] = (0.2, 24.0),
        handover_astray: float = 0.0,
        matching_weight: float = 0.0,
        matching_frames: int = 8,
        points: int | None = None,
    ):
        super().__init__()
        _check_whole({"iters": iters, "matching_frames": matching_frames}, least=1)
        _check_whole({} if points is None else {"points": points}, least=0)
        shares = {
            "late_queries": late_queries,
            "handover": handover,
            "handover_astray": handover_astray,
        }
        _check_numbers(shares, most=1)
        _check_numbers({"gamma": gamma, "visibility_weight": visibility_weight}, most=1e9)
        _check_numbers({"small_errors": small_errors, "matching_weight": matching_weight}, most=1e9)
        pair = list(handover_errors) if isinstance(handover_errors, Sequence) else []
        if (
            len(pair) != 2
            or not all(isinstance(x, (int, float)) for x in pair)
            or not 0 < pair[0] <= pair[1] < 1e9
        ):
            raise ValueError(
                "objective.handover_errors must be two pixel lengths above 0, the least and the greatest, "
                f"not {handover_errors}"
            )
        if points == 0 and not matching_weight:
            raise ValueError(
                "objective.points=0 trains by the matching loss alone: set objective.matching_weight above 0"
            )
        if type(unrolled) is not bool:
            raise ValueError(f"objective.unrolled must be true or false, not {unrolled}")
        self.iters, self.gamma, self.unrolled, self.late_queries = (
            iters,
            gamma,
            unrolled,
            late_queries,
        )
        self.small_errors = small_errors
        self.handover, self.handover_errors, self.handover_astray = (
            handover,
            tuple(pair),
            handover_astray,
        )
        self.visibility_weight, self.matching_weight = visibility_weight, matching_weight
        self.matching_frames, self.points = matching_frames, points
        # the matching softmax's temperature is exp(10 x this): ten times the other parameters' pace, from 2
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(2) / 10), requires_grad=matching_weight > 0
        )

    def forward(self, model: CoTracker, clip: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar, and detached scalars by name: loss and its parts, error (px), visibility_accuracy."""
        return self.computed(model, self.posed(clip, model.window))

    def posed(self, clip: Clip, window: int) -> "Posed":
        """What is asked of a model with such a window about a collated clip: with all that is drawn, on its device."""
        count, video = clip.video.shape[1], clip.video
        frames, handed, queries, real, known = list(range(count)), None, [], [], None
        if self.points != 0:
            own = _evenly(clip, self.points)
            rng = np.random.default_rng([*_numbers(clip.seed[0]), 2])
            if 2 * count >= 3 * window and rng.random() < self.handover:
                frames, handed = drawn_window(
                    own, window, self.handover_errors, rng, self.handover_astray
                )
                own = _frames_of(own, frames)
            else:
                for start in self._starts(count, window):
                    span = slice(start, None if self.unrolled else start + window)
                    asked = sample_queries(_frames_of(own, span), self.late_queries)
                    queries, real = [*queries, asked[0]], [*real, asked[1]]
            video, known = own.video, (own.tracks, own.visible, own.valid)
        matched = self._to_match(clip, frames) if self.matching_weight else None
        return Posed(video, known, queries, real, handed, matched)

    def computed(self, model: CoTracker, posed: "Posed") -> tuple[Tensor, dict[str, Tensor]]:
        """As forward: the same operations for all of one shape, none of which waits for a GPU."""
        maps, loss, scalars = model.encode(posed.video), 0.0, {}
        if posed.known is not None:
            clip = Clip(posed.video, *posed.known)
            estimates = self._estimated(model, clip, maps, posed)
            tracks = sum(track_loss(e, clip, self.gamma, self.small_errors) for e in estimates)
            visibility = sum(visibility_loss(e, clip) for e in estimates)
            loss = tracks + self.visibility_weight * visibility
            scalars = {"tracks": tracks, "visibility": visibility} | measures(estimates, clip)
        if posed.matched is not None:
            scalars["matching"] = self._matching(model, maps, *posed.matched)
            loss = loss + self.matching_weight * scalars["matching"]
        return loss, {name: value.detach() for name, value in ({"loss": loss} | scalars).items()}

    def _starts(self, frames: int, window: int) -> list[int]:
        return [0] if self.unrolled else window_starts(frames, window)

    def _estimated(
        self, model: CoTracker, clip: Clip, maps: list[Tensor], posed: "Posed"
    ) -> list[Estimate]:
        if posed.handed is not None:
            return [later_window(model, clip, maps, posed.handed, self.iters)[0]]
        estimates = []
        for start, queries, real in zip(
            self._starts(maps[0].shape[1], model.window), posed.queries, posed.real
        ):
            frames = slice(start, None if self.unrolled else start + model.window)
            found = model.track([level[:, frames] for level in maps], queries, self.iters, real)
            estimates += [estimate._replace(start=start + estimate.start) for estimate in found]
        return estimates

    def _to_match(self, clip: Clip, frames: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Which of the encoded frames are matched, B K, and of all points there: tracks B K N 2, and seen B K N.

        Each clip has its own such frames, drawn from its seed, whichever others are in its batch.
        """
        device = clip.tracks.device
        chosen = torch.arange(len(frames)).expand(len(clip.video), -1)  # B K
        if len(frames) > self.matching_frames:
            rngs = [np.random.default_rng([*_numbers(seed), 1]) for seed in clip.seed]
            drawn = [rng.choice(len(frames), self.matching_frames, replace=False) for rng in rngs]
            chosen = torch.from_numpy(np.sort(drawn))
        at = (
            torch.arange(len(clip.video), device=device)[:, None],
            torch.tensor(frames)[chosen].to(device),
        )
        seen = clip.visible[at] & clip.valid[at]
        return chosen.to(device), torch.where(seen[..., None], clip.tracks[at], 0.0), seen

    def _matching(
        self, model: CoTracker, maps: list[Tensor], chosen: Tensor, tracks: Tensor, seen: Tensor
    ) -> Tensor:
        """The matching loss of all points, asked for in the first of the chosen frames where they are visible."""
        clips = torch.arange(len(chosen), device=chosen.device)[:, None]
        base = maps[0][clips, chosen]
        first = seen.int().argmax(dim=1)
        where = tracks.gather(1, first[:, None, :, None].expand(-1, 1, -1, 2))[:, 0]
        features = read_track_feat(base, first, where / model.stride)
        temperature = (10 * self.log_temperature).exp()
        return matching_loss(
            features, base, tracks, seen, seen.any(dim=1), model.stride, temperature
        )


class Posed(NamedTuple):
    """What a loss is computed from: tensors alone, all that is random in them drawn (Objective.posed)."""

    video: Tensor  # B K 3 H W, the frames that are encoded
    known: (
        tuple[Tensor, Tensor, Tensor] | None
    )  # tracks, visible, valid of the tracked points there; None: no points
    queries: list[Tensor]  # B N 3, once for all windows, or for each where they are not unrolled
    real: list[Tensor]  # B N, in the same way
    handed: (
        tuple[Tensor, Tensor] | None
    )  # what a window by itself is given: tracks B S N 2, logits B S N
    matched: (
        tuple[Tensor, Tensor, Tensor] | None
    )  # frames B K, tracks and what is seen there, of all points


def read_track_feat(maps: Tensor, frame: Tensor, cells: Tensor) -> Tensor:
    """Features B N C of maps B K h w C in a frame each, B N, at cells B N 2, held at the border."""
    batch, frames, height, width, _ = maps.shape
    clip = torch.arange(batch, device=maps.device)[:, None] * frames
    x, y = cells.unbind(-1)
    cells = torch.stack([x.clamp(0, width - 1), y.clamp(0, height - 1)], dim=-1)
    return sample_maps(maps.flatten(0, 1), clip + frame, cells)


def _check_whole(values: dict, least: int) -> None:
    for name, value in values.items():
        if type(value) is not int or value < least:
            raise ValueError(
                f"objective.{name} must be a whole number, {least} or more, not {value}"
            )


def _check_numbers(values: dict, most: float) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
            raise ValueError(f"objective.{name} must be a number from 0 to {most:g}, not {value}")


def _numbers(seed: tuple) -> list[int]:
    return [int(part) for part in np.ravel(seed)]


def _evenly(clip: Clip, count: int | None) -> Clip:
    """The clip with at most `count` of its points, evenly spread over the order of each clip's own (padding aside)."""
    points = clip.tracks.shape[2]
    if count is None or points <= count:
        return clip
    held = clip.valid.any(dim=1).sum(dim=1, keepdim=True)  # B 1
    place = torch.arange(count, device=clip.tracks.device)
    kept = torch.where(held > count, place * held // count, place)[:, None]  # B 1 count
    kept = kept.expand(-1, clip.tracks.shape[1], -1)
    tracks = clip.tracks.gather(2, kept[..., None].expand(-1, -1, -1, 2))
    return replace(
        clip, tracks=tracks, visible=clip.visible.gather(2, kept), valid=clip.valid.gather(2, kept)
    )


def _frames_of(clip: Clip, frames: slice | list[int]) -> Clip:
    parts = {
        name: getattr(clip, name)[:, frames] for name in ("video", "tracks", "visible", "valid")
    }
    return replace(clip, **parts)
