"""What tracks that contradict the image may mean: shifted, swapped, mirrored, scaled ones."""

from collections.abc import Callable
from functools import partial

import numpy as np

# From tracks T N 2, seen T N and the size (H, W) to tracks and seen as they may have been meant.
Read = Callable[[np.ndarray, np.ndarray, tuple[int, int]], tuple[np.ndarray, np.ndarray]]
Reading = tuple[str, str, Read]  # kind, message


def _read_later(
    frames: int, tracks: np.ndarray, seen: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The tracks of frame k read as those of frame k + frames."""
    moved = np.roll(tracks, frames, 0)
    known = np.roll(seen, frames, 0)
    known[slice(None, frames) if frames > 0 else slice(frames, None)] = False
    return moved, known


def _read_moved(
    shift: tuple[float, float],
    scale: float,
    tracks: np.ndarray,
    seen: np.ndarray,
    size: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    return scale * tracks + np.multiply(shift, size[::-1]), seen


def _time_shift(frames: int) -> Reading:
    other = f"k {'+' if frames > 0 else '-'} {abs(frames)}"
    message = f"its tracks are shifted in time: what it says of frame k fits frame {other}"
    return "time", message, partial(_read_later, frames)


def _half_frame_shift(axes: str, shift: tuple[float, float]) -> Reading:
    message = f"its tracks are shifted by half a frame in {axes}"
    return "place", message, partial(_read_moved, shift, 1.0)


# Kind, message and function of each reading; the first two are tried for every clip.
READINGS = [
    *(_time_shift(frames) for frames in (1, -1, 2, -2, 3, -3)),
    (
        "time",
        "its tracks run backwards: they fit the frames in reverse order",
        lambda tracks, seen, size: (tracks[::-1], seen[::-1]),
    ),
    (
        "place",
        "its axes are swapped: coords holds (y, x) and should hold (x, y)",
        lambda tracks, seen, size: (tracks[..., ::-1], seen),
    ),
    (
        "place",
        "its tracks are mirrored: x counts from the right side of the frames",
        lambda tracks, seen, size: ([size[1] - 1, 0] + tracks * [-1, 1], seen),
    ),
    (
        "place",
        "its tracks are upside down: y counts from the bottom of the frames",
        lambda tracks, seen, size: ([0, size[0] - 1] + tracks * [1, -1], seen),
    ),
    *(_half_frame_shift("x", shift) for shift in ((0.5, 0), (-0.5, 0))),
    *(_half_frame_shift("y", shift) for shift in ((0, 0.5), (0, -0.5))),
    *(
        _half_frame_shift("x and y", shift)
        for shift in ((0.5, 0.5), (-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5))
    ),
    ("place", "its tracks are of frames of half the size", partial(_read_moved, (0, 0), 2.0)),
    ("place", "its tracks are of frames of twice the size", partial(_read_moved, (0, 0), 0.5)),
]
