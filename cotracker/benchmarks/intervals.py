"""How far a mean over videos is to be trusted: bootstrap intervals, the same every time."""

from collections.abc import Sequence

import numpy as np

RESAMPLES, SEED, LEVEL = 2000, 0, 0.95


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The middle 95 % of the means of 2000 resamples of the values, drawn from a fixed seed; None of fewer than two.

    Of the differences between two trackers, video by video, it is the interval of their mean difference.
    """
    if len(values) < 2:
        return None
    held = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(SEED)
    means = np.array(
        [held[rng.integers(len(held), size=len(held))].mean() for _ in range(RESAMPLES)]
    )
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
