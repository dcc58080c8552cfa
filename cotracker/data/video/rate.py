"""The rate of frames from their times, and times where a file tells them badly."""

from fractions import Fraction

import numpy as np

from cotracker.data.video.packets import Packets, are_times

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


def mend_times(marks: list[int | None], packets: Packets) -> np.ndarray:
    """Seconds T of frames in order, whose marks may be missing, mixed up, or begin anew."""
    if any(mark is None for mark in marks):
        return np.arange(len(marks)) / packets.rate
    values = np.array(marks)
    if are_times(values):
        values = np.sort(values)
    steps = np.diff(values) * float(packets.tick)
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1 / packets.rate
    steps[steps <= 0] = usual
    return np.concatenate([[0.0], np.cumsum(steps)])
