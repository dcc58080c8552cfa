"""The rate of frames from their times."""

from fractions import Fraction

import numpy as np

_RATES = [Fraction(n) for n in range(1, 241)] + [
    Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120, 240)
]
_JITTER = 0.1  # of a frame: less is no variable rate


def frame_rate(times: np.ndarray, tick: float, last: float) -> tuple[float, bool]:
    """Frames per second of times T (s, ascending), and whether the rate varies.

    It is the standard rate that explains the whole span up to rounding, or the average; where the
    rate varies, the same of the median step.
    tick: to how many seconds the times are rounded.  last: seconds that the last frame lasts.
    """
    steps = np.diff(times)
    if not len(steps):
        return float(_nearest(1, last if last > 0 else 1 / 25, tick)), False
    median = float(np.median(steps))
    varies = float(steps.max() - steps.min()) > max(2.5 * tick, _JITTER * median)
    if varies:
        return float(_nearest(1, median, tick)), True
    return float(_nearest(len(steps), float(times[-1] - times[0]), tick)), False


def _nearest(steps: int, span: float, tick: float) -> Fraction | float:
    nearest = min(_RATES, key=lambda rate: abs(steps / rate - span))
    return nearest if abs(steps / float(nearest) - span) <= tick * 1.001 else steps / span
