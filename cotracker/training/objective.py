"""The loss of a model on one batch: tracks, visibility, confidence and matching."""

import math

import torch
from torch import Tensor, nn

from cotracker.geometry import sample_maps
from cotracker.model.cotracker import CoTracker
from cotracker.model.windows import Estimate
from cotracker.training.config import ObjectiveConfig
from cotracker.training.extra import check_number, find_function
from cotracker.training.late_window import track_late_window
from cotracker.training.losses import (
    confidence_loss,
    matching_loss,
    track_loss,
    training_metrics,
    visibility_loss,
)
from cotracker.training.targets import (
    MatchingTargets,
    TrainingTargets,
    sample_targets,
    window_spans,
)
from cotracker.types import Clip


class Objective(nn.Module):
    """(model, TrainingTargets) -> loss and scalars; see ObjectiveConfig for the terms.

    Every term is the mean over clips of the clip's own, so that it does not depend on how a batch
    is sharded. The iterations of a window are the model's own.
    """

    def __init__(self, config: ObjectiveConfig | None = None):
        super().__init__()
        self.config = config or ObjectiveConfig()
        # temperature of the matching softmax = exp(10 p), 2 at first; 10 raises its learning rate
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(2) / 10), requires_grad=self.config.matching_weight > 0
        )

        self._extra = [
            (name, term["weight"], find_function(name, term["function"]))
            for name, term in (self.config.extra or {}).items()
        ]

    def sample_targets(self, clip: Clip, window: int) -> TrainingTargets:
        """The targets of a collated clip for a model with such windows; needs no model."""
        return sample_targets(clip, window, self.config)[0]

    def forward(
        self, model: CoTracker, targets: TrainingTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and detached scalars by name: the loss, its terms and training metrics."""
        return self.loss(model, targets)

    def loss(self, model: CoTracker, targets: TrainingTargets) -> tuple[Tensor, dict[str, Tensor]]:
        """As forward: the same operations for all targets of one shape, none waits for a GPU."""
        maps = model.encode(targets.video)
        loss, scalars = 0.0, {}
        if targets.tracks is not None:
            loss, scalars = self._tracking(model, maps, targets)
        if targets.matching is not None:
            matching = self._matching(model, maps, targets.matching)
            loss = loss + self.config.matching_weight * matching
            scalars["matching"] = matching
        scalars = {"loss": loss} | scalars
        return loss, {name: value.detach() for name, value in scalars.items()}

    def _tracking(
        self, model: CoTracker, maps: list[Tensor], targets: TrainingTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        clip = Clip(targets.video, targets.tracks, targets.visible, targets.valid)
        estimates = self._estimates(model, clip, maps, targets)
        shape = config.log_loss_weight, config.huber_px, config.hidden_share
        tracks = sum(track_loss(e, clip, config.gamma, *shape) for e in estimates)
        visibility = sum(visibility_loss(e, clip) for e in estimates)
        scalars = {"tracks": tracks, "visibility": visibility}
        loss = config.tracks_weight * tracks + config.visibility_weight * visibility
        if config.confidence_weight:
            confidence = sum(confidence_loss(e, clip, config.confidence_px) for e in estimates)
            loss = loss + config.confidence_weight * confidence
            scalars["confidence"] = confidence
        for name, weight, function in self._extra:
            value = sum(check_number(name, function(e, clip)) for e in estimates)
            loss = loss + weight * value
            scalars[name] = value
        return loss, scalars | training_metrics(estimates, clip)

    def _estimates(
        self, model: CoTracker, clip: Clip, maps: list[Tensor], targets: TrainingTargets
    ) -> list[Estimate]:
        if targets.late_window is not None:
            return [track_late_window(model, clip, maps, targets.late_window)[0]]
        estimates = []
        spans = window_spans(maps[0].shape[1], model.window, self.config.unrolled)
        for span, queries, point_mask in zip(spans, targets.queries, targets.point_masks):
            found = model.track([level[:, span] for level in maps], queries, None, point_mask)
            estimates += [e._replace(start=span.start + e.start) for e in found]
        return estimates

    def _matching(self, model: CoTracker, maps: list[Tensor], targets: MatchingTargets) -> Tensor:
        """The matching loss of all points; the query is the first matching frame that shows one."""
        clips = torch.arange(len(targets.frames), device=targets.frames.device)[:, None]
        base = maps[0][clips, targets.frames]
        first = targets.visible.int().argmax(dim=1)
        index = first[:, None, :, None].expand(-1, 1, -1, 2)
        xy = targets.tracks.gather(1, index)[:, 0]
        track_feat = read_track_feat(base, first, xy / model.stride)
        temperature = (10 * self.log_temperature).exp()
        return matching_loss(
            track_feat, base, targets.tracks, targets.visible, model.stride, temperature
        )


def read_track_feat(maps: Tensor, frame: Tensor, cells: Tensor) -> Tensor:
    """Features B N C of maps B K h w C in a frame each, B N, at cells B N 2, held at the border."""
    batch, frames, height, width, _ = maps.shape
    clip = torch.arange(batch, device=maps.device)[:, None] * frames
    x, y = cells.unbind(-1)
    cells = torch.stack([x.clamp(0, width - 1), y.clamp(0, height - 1)], dim=-1)
    return sample_maps(maps.flatten(0, 1), clip + frame, cells)
