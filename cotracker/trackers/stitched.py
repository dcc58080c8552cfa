"""What the windows over a video told, joined frame by frame."""

from typing import NamedTuple

import torch
from torch import Tensor

from cotracker.model.windows import Estimate


class Stitched(NamedTuple):
    """What the windows so far told."""

    xy: Tensor  # B T N 2, zeros before a point's first window
    logits: Tensor  # B T N 2, of visibility and confidence, likewise
    told: Tensor  # B T N bool

    @staticmethod
    def empty(queries: Tensor, frames: int) -> "Stitched":
        xy = queries.new_zeros(queries.shape[0], frames, queries.shape[1], 2)
        told = torch.zeros(xy.shape[:3], dtype=torch.bool, device=xy.device)
        return Stitched(xy, torch.zeros_like(xy), told)

    def write(self, estimate: Estimate) -> None:
        """Puts a window's answer for its active points in the place of what is there."""
        window = slice(estimate.start, estimate.start + estimate.logits.shape[1])
        confidence = estimate.confidence[-1] if estimate.confidence else estimate.logits
        logits = torch.stack([estimate.logits, confidence], dim=-1)
        active = estimate.active[:, None, :, None]
        self.xy[:, window] = torch.where(active, estimate.tracks[-1], self.xy[:, window])
        self.logits[:, window] = torch.where(active, logits, self.logits[:, window])
        self.told[:, window] |= active[..., 0]

    def reversed(self) -> "Stitched":
        return Stitched(*(values.flip(1) for values in self))

    def filled(self, other: "Stitched") -> "Stitched":
        """These, and where they tell nothing the other."""
        xy, logits = (torch.where(self.told[..., None], a, b) for a, b in zip(self[:2], other[:2]))
        return Stitched(xy, logits, self.told | other.told)
