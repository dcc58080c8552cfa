"""Which points are visible, by a tracker's visibility and confidence: one rule for every tracker.

The rule is stored with the checkpoint, and the same wherever its tracks are made.
"""

from dataclasses import dataclass

from torch import Tensor

from cotracker import checks
from cotracker.trackers.options import VISIBLE_BY, check_threshold

THRESHOLD = 0.5  # where neither the options nor the checkpoint's card have one


@dataclass(frozen=True)
class VisibleRule:
    """A point is visible where what `by` names is above `threshold`; a query always is.

    min_confidence: and where its confidence is no less than this.
    """

    threshold: float = THRESHOLD
    by: str = "visibility"
    min_confidence: float = 0.0

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        checks.choice("visible_by", self.by, VISIBLE_BY)
        checks.share("min_confidence", self.min_confidence)

    @property
    def needs_confidence(self) -> bool:
        return self.by != "visibility" or self.min_confidence > 0

    def __call__(self, visibility: Tensor, confidence: Tensor | None) -> Tensor:
        """Bool, of the shape of both."""
        score = visibility if self.by == "visibility" else visibility * confidence
        visible = (score > self.threshold) | (score == 1)  # 1: a query
        if self.min_confidence:
            visible = visible & (confidence >= self.min_confidence)
        return visible

    def describe(self) -> dict:
        """What a result must record about it."""
        described = {"threshold": self.threshold}
        if self.by != "visibility":
            described["visible_by"] = self.by
        if self.min_confidence:
            described["min_confidence"] = self.min_confidence
        return described
