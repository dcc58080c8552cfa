"""Points that are lost by a classical tracker and found again by what their query looked like."""

import cv2
import numpy as np
import torch
from torch import Tensor

from cotracker.baselines.chain import Chain

SIDE = 21  # pixels of a template, as it is compared
KEPT = 0.5  # normalised cross-correlation, below which a point is lost
FOUND = 0.8  # from which a lost one is found again
FLAT = 2.0  # standard deviation of grey values, below which a template says nothing


class RedetectingChain(Chain):
    """A Chain of grey frames that compares every point with its template, cut around its query.

    A point that no longer looks like it is lost. It goes on unseen, and in every later frame the
    template is searched in the whole picture; where it is found, the point goes on from there.
    """

    templates = torch.zeros(0, SIDE, SIDE, dtype=torch.uint8)  # N, zeros before the query's frame

    def add(self, queries: Tensor) -> None:
        super().add(queries)
        blank = self.templates.new_zeros(len(queries), SIDE, SIDE)
        self.templates = torch.cat([self.templates, blank])

    def keep(self, rows: Tensor) -> None:
        super().keep(rows)
        self.templates = self.templates[rows]

    def settle(self, after: np.ndarray) -> None:
        """Cuts templates of points that are queried in this frame, and looks after the others."""
        time = self.queries[:, 0]
        for n in (time == self.frames).nonzero()[:, 0].tolist():
            self.templates[n] = torch.from_numpy(cut(after, self.points[n]))
        for n in (time < self.frames).nonzero()[:, 0].tolist():
            template = self.templates[n].numpy()
            if template.std() < FLAT:
                continue
            if self.found[n] and correlate(cut(after, self.points[n]), template).item() >= KEPT:
                continue
            scores = correlate(after, template)
            y, x = np.unravel_index(scores.argmax(), scores.shape)
            self.found[n] = bool(scores[y, x] >= FOUND)
            if self.found[n]:
                self.points[n] = torch.tensor([x, y]) + (SIDE - 1) / 2

    def tensors(self) -> list[Tensor]:
        return [*super().tensors(), self.templates]


def cut(frame: np.ndarray, point: Tensor) -> np.ndarray:
    """SIDE SIDE of a grey frame around a point, read bilinearly, its border repeated."""
    return cv2.getRectSubPix(frame, (SIDE, SIDE), tuple(point.tolist()))


def correlate(frame: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Normalised cross-correlations of a template with every place of a grey frame."""
    return np.nan_to_num(cv2.matchTemplate(frame, template, cv2.TM_CCOEFF_NORMED), nan=-1.0)
