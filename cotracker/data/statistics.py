"""How the points of a set of clips move and hide: samples of each clip, and their summary, for scripts/dev/data_report.py.

Distances are in pixels of the frame resized to 384x512 (plain ratio), the size that the paper tracks at. Where only
some frames are annotated (BADJA), those count.
"""

import numpy as np

from cotracker.types import Clip

SIZE = (384, 512)
LAG, SLACK = (
    5,
    1,
)  # frames from one place to another, and by how many an annotated one may miss that
LEAST = 2.0  # pixels: what moves less in LAG frames has no direction

Samples = dict[str, np.ndarray]


def samples(clip: Clip) -> Samples:
    """What one clip adds to each statistic, of its points that are ever visible: flat arrays, bool or float.

    Of each two visible places: step, pixels from one frame to the next, where all frames are annotated; step_5, pixels
    a frame over 5 frames (4 to 6 where not all are); turn, degrees between the motion of the 5 frames before a place
    and the 5 after, where the point moves 2 pixels in each.  Of each place: unseen; outside (the frame).
    Of each stretch out of sight that ends: gap, its frames.  Of each point: returns, seen again after a gap;
    comes_back, seen again after it was outside; lifetime, first to last sight as a share of the clip; longest,
    frames of its longest unbroken sight.  outside and comes_back are empty where not all frames are annotated.
    ValueError: no place of any point is known.
    """
    times = np.flatnonzero(clip.valid.any(1).numpy())
    if not len(times):
        raise ValueError(
            f"the clip {clip.name} has no point whose place is known: take it out of its set"
        )
    ever = clip.visible.any(0).numpy()
    tracks, visible, valid = (
        value.numpy()[times][:, ever] for value in (clip.tracks, clip.visible, clip.valid)
    )
    height, width = clip.video.shape[-2:]
    xy = tracks * (SIZE[1] / width, SIZE[0] / height)
    whole = len(times) == len(clip.tracks)
    slack = 0 if whole else SLACK
    beyond = ~valid | ((tracks < 0) | (tracks > (width - 1, height - 1))).any(-1)
    outside = (beyond & ~visible)[:, slice(None) if whole else slice(0)]
    gaps = [_gaps(times, seen) for seen in visible.T]
    spans = [times[np.flatnonzero(seen)[[0, -1]]] for seen in visible.T]
    return {
        "step": _steps(xy, visible, times, 1, 0) if whole else np.zeros(0),
        "step_5": _steps(xy, visible, times, LAG, slack),
        "turn": _turns(xy, visible, _later(times, LAG, slack)),
        "unseen": ~visible.ravel(),
        "outside": outside.ravel(),
        "gap": np.concatenate([np.zeros(0), *gaps]),
        "returns": np.array([len(gap) > 0 for gap in gaps], bool),
        "comes_back": np.array([_comes_back(*pair) for pair in zip(visible.T, outside.T)], bool),
        "lifetime": np.array(
            [(last - first + 1) / len(clip.tracks) for first, last in spans], float
        ),
        "longest": np.array([_longest(times, seen) for seen in visible.T], float),
    }


def pooled(found: list[Samples]) -> Samples:
    """The samples of all clips together."""
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def summary(whole: Samples) -> dict[str, float | None]:
    """Numbers for a table: of bools the share as `name`; else the median as `name` and 95th percentile as `name_95`.

    Also the number of points and of places; None stands where nothing was to be counted.
    """
    numbers = {"points": len(whole["lifetime"]), "places": len(whole["unseen"])}
    for name, values in whole.items():
        middle = np.mean if values.dtype == bool else np.median
        numbers[name] = float(middle(values)) if len(values) else None
        if values.dtype != bool:
            numbers[f"{name}_95"] = float(np.percentile(values, 95)) if len(values) else None
    return numbers


def _later(times: np.ndarray, lag: int, slack: int) -> np.ndarray:
    """For each of the `times` (K,), the number of that nearest to `lag` frames later, -1 where all miss by more."""
    miss = np.abs(times[None] - times[:, None] - lag)
    nearest = miss.argmin(1)
    return np.where(miss[np.arange(len(times)), nearest] <= slack, nearest, -1)


def _steps(
    xy: np.ndarray, visible: np.ndarray, times: np.ndarray, lag: int, slack: int
) -> np.ndarray:
    late = _later(times, lag, slack)
    early = np.flatnonzero(late >= 0)
    late = late[early]
    speed = np.linalg.norm(xy[late] - xy[early], axis=-1) / (times[late] - times[early])[:, None]
    return speed[visible[early] & visible[late]]


def _turns(xy: np.ndarray, visible: np.ndarray, late: np.ndarray) -> np.ndarray:
    first = np.array([k for k, then in enumerate(late) if then >= 0 and late[then] >= 0], int)
    second = late[first]
    third = late[second]
    before, after = xy[second] - xy[first], xy[third] - xy[second]
    moved = np.minimum(np.linalg.norm(before, axis=-1), np.linalg.norm(after, axis=-1)) >= LEAST
    cross = before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0]
    angle = np.degrees(np.abs(np.arctan2(cross, (before * after).sum(-1))))
    return angle[moved & visible[first] & visible[second] & visible[third]]


def _gaps(times: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Frames of each stretch out of sight between two sights; between annotated frames, their share of that time."""
    sights = np.flatnonzero(seen)
    missed = np.diff(sights) - 1
    return (np.diff(times[sights]) * missed / (missed + 1))[missed > 0]


def _longest(times: np.ndarray, seen: np.ndarray) -> int:
    """Frames from the first to the last of the longest run of sights."""
    runs = np.split(np.flatnonzero(seen), np.flatnonzero(np.diff(np.flatnonzero(seen)) > 1) + 1)
    return max(times[run[-1]] - times[run[0]] + 1 for run in runs)


def _comes_back(seen: np.ndarray, outside: np.ndarray) -> bool:
    """Whether a sight, a place outside and a sight follow each other."""
    sights = np.flatnonzero(seen)
    return bool(outside[sights[0] : sights[-1]].any())
