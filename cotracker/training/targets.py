"""What one training batch is trained on: sampled in the data worker, copied to the device once.

All that is random is sampled here, from the seeds of the examples, and on the CPU. What follows is
the same operations for all batches of one shape, none of which waits for the device.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cotracker.model.cuda_graphs import mapped
from cotracker.model.windows import window_starts
from cotracker.queries import sample_queries
from cotracker.training.config import ObjectiveConfig
from cotracker.training.late_window import sample_late_window
from cotracker.types import Clip

GRAPH_POINTS = 512  # for CUDA graphs, points are padded to a multiple of this: fewer shapes


class MatchingTargets(NamedTuple):
    """Of the matching loss: K of the encoded frames, and all points there."""

    frames: Tensor  # B K, numbers of encoded frames
    tracks: Tensor  # B K N 2, 0 where not visible
    visible: Tensor  # B K N, visible and valid


class TrainingTargets(NamedTuple):
    """What a loss is computed from: tensors alone, of K frames that are encoded."""

    video: Tensor | None  # B K 3 H W; None as long as it is still to be rendered
    tracks: Tensor | None  # B K N 2 of the tracked points; None where none are tracked
    visible: Tensor | None  # B K N
    valid: Tensor | None  # B K N
    queries: list[Tensor]  # B N 3, once for all windows, or for each where they are not unrolled
    point_masks: list[Tensor]  # B N, likewise
    late_window: tuple[Tensor, Tensor] | None  # initial tracks B S N 2, logits B S N
    matching: MatchingTargets | None


def sample_targets(
    clip: Clip, window: int, config: ObjectiveConfig
) -> tuple[TrainingTargets, list[int]]:
    """The targets of a collated clip for a model with such windows, and the frames they encode."""
    frames = list(range(clip.video.shape[1]))
    tracked, queries, point_masks, late_window = None, [], [], None
    if config.points != 0:
        tracked = spread_points(clip, config.points)
        rng = np.random.default_rng([*seed_of(clip, 0), 2])
        long_enough = 2 * len(frames) >= 3 * window
        if long_enough and rng.random() < config.late_window_prob:
            frames, late_window = sample_late_window(tracked, window, config, rng)
            tracked = select_frames(tracked, frames)
        else:
            for span in window_spans(len(frames), window, config.unrolled):
                mix = sample_queries(select_frames(tracked, span), config.late_queries)
                queries.append(mix[0])
                point_masks.append(mix[1])
    targets = TrainingTargets(
        video=clip.video if late_window is None else clip.video[:, frames],
        tracks=None if tracked is None else tracked.tracks,
        visible=None if tracked is None else tracked.visible,
        valid=None if tracked is None else tracked.valid,
        queries=queries,
        point_masks=point_masks,
        late_window=late_window,
        matching=sample_matching(clip, frames, config) if config.matching_weight else None,
    )
    return targets, frames


def sample_matching(clip: Clip, frames: list[int], config: ObjectiveConfig) -> MatchingTargets:
    """The matching targets of a collated clip of which `frames` are encoded.

    Each clip has its own matching frames, sampled from its seed, whatever is in its batch.
    """
    count = len(clip.video)
    chosen = torch.arange(len(frames)).expand(count, -1)
    if len(frames) > config.matching_frames:
        rngs = [np.random.default_rng([*seed_of(clip, item), 1]) for item in range(count)]
        rows = [rng.choice(len(frames), config.matching_frames, replace=False) for rng in rngs]
        chosen = torch.from_numpy(np.sort(rows))
    at = torch.arange(count)[:, None], torch.tensor(frames)[chosen]
    visible = clip.visible[at] & clip.valid[at]
    return MatchingTargets(chosen, torch.where(visible[..., None], clip.tracks[at], 0.0), visible)


def window_spans(frames: int, window: int, unrolled: bool) -> list[slice]:
    """The spans of frames that are trained by themselves: the whole clip, or each window."""
    if unrolled:
        return [slice(0, None)]
    return [slice(start, start + window) for start in window_starts(frames, window)]


@dataclass(frozen=True)
class TrainingBatch:
    """The targets of one batch, and which examples it is made of."""

    targets: TrainingTargets
    seed: list  # of each example (seed, k)
    replaced: list[int]  # bad clips before each example
    reason: list[str]  # what was wrong with the last of them
    length: int  # frames of each clip
    scenes: Any = None  # rendered on the device in the place of targets.video
    frames: list[int] | None = None  # of the scenes, those that targets.video holds

    @property
    def bad(self) -> list[list]:
        """The examples that replaced bad clips: [(seed, k), count, reason of the last]."""
        rows = zip(self.seed, self.replaced, self.reason)
        return [list(row) for row in rows if row[1]]

    def pin_memory(self) -> "TrainingBatch":
        """The batch in memory that a GPU copies from without waiting."""
        return replace(self, targets=mapped(self.targets, Tensor.pin_memory))

    def targets_on(self, device: torch.device) -> TrainingTargets:
        """The targets on the device, after one copy that nothing waits for."""
        targets = mapped(self.targets, lambda tensor: tensor.to(device, non_blocking=True))
        if self.scenes is None:
            return targets
        video = self.scenes.to(device).video
        whole = len(self.frames) == video.shape[1]
        return targets._replace(video=video if whole else video[:, self.frames])


@dataclass(frozen=True)
class TargetSampler:
    """Makes a TrainingBatch of a collated Clip or of scenes; the data workers call it."""

    config: ObjectiveConfig
    window: int
    pad_points: bool = False  # to a multiple of GRAPH_POINTS

    def __call__(self, batch: Any) -> TrainingBatch:
        scenes = None if isinstance(batch, Clip) else batch
        clip = batch if scenes is None else scenes.without_video()
        clip = padded(clip) if self.pad_points else clip
        targets, frames = sample_targets(clip, self.window, self.config)
        if scenes is not None:
            targets = targets._replace(video=None)
        examples = batch.seed, batch.replaced, batch.reason
        return TrainingBatch(targets, *examples, clip.video.shape[1], scenes, frames)


def padded(clip: Clip) -> Clip:
    """The collated clip with invalid points at the end, up to a multiple of GRAPH_POINTS."""
    missing = -clip.tracks.shape[2] % GRAPH_POINTS

    def pad(values: Tensor) -> Tensor:
        shape = (*values.shape[:2], missing, *values.shape[3:])
        return torch.cat([values, values.new_zeros(shape)], dim=2)

    return replace(clip, tracks=pad(clip.tracks), visible=pad(clip.visible), valid=pad(clip.valid))


def spread_points(clip: Clip, count: int | None) -> Clip:
    """The clip with at most `count` points, evenly spread over the order of each clip's own."""
    points = clip.tracks.shape[2]
    if count is None or points <= count:
        return clip
    own = clip.valid.any(dim=1).sum(dim=1, keepdim=True)  # B 1: points that are not padding
    index = torch.arange(count, device=clip.tracks.device)
    chosen = torch.where(own > count, index * own // count, index)[:, None]  # B 1 count
    chosen = chosen.expand(-1, clip.tracks.shape[1], -1)
    return replace(
        clip,
        tracks=clip.tracks.gather(2, chosen[..., None].expand(-1, -1, -1, 2)),
        visible=clip.visible.gather(2, chosen),
        valid=clip.valid.gather(2, chosen),
    )


def select_frames(clip: Clip, frames: slice | list[int]) -> Clip:
    """The collated clip with these frames alone."""
    names = ("video", "tracks", "visible", "valid")
    return replace(clip, **{name: getattr(clip, name)[:, frames] for name in names})


def seed_of(clip: Clip, item: int) -> list[int]:
    """The seed of one example of a collated clip, as whole numbers."""
    return [int(part) for part in np.ravel(clip.seed[item])]
