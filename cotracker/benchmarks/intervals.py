"""Bootstrap intervals of a mean over videos, equal in every run."""

from collections.abc import Sequence

import numpy as np

RESAMPLES, SEED, LEVEL = 2000, 0, 0.95


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % bootstrap interval of the mean, from 2000 resamples; None of fewer than two values.

    Of the differences between two trackers, video by video, it is that of their mean difference.
    """
    if len(values) < 2:
        return None
    values = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(SEED)
    resamples = (rng.integers(len(values), size=len(values)) for _ in range(RESAMPLES))
    means = np.array([values[chosen].mean() for chosen in resamples])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
