"""How the points of a set of clips move and hide: samples of each clip, and their summary.

For scripts/dev/data_report.py. Distances are in pixels of the frame resized to 384x512 (plain
ratio), the size that the paper tracks at. If only some frames are annotated (BADJA), those count.

Of each two visible positions: `step`, pixels from one frame to the next, if all frames are
annotated; `step_5`, pixels a frame over 5 frames (4 to 6 if not all are); `turn`, degrees
between the motion of the 5 frames before a position and of the 5 after it, if the point moves
2 pixels in each.
Of each position: `unseen`; `outside` the frame.
Of each occlusion that ends: `gap`, its frames.
Of each point: `returns`, visible again after a gap; `comes_back`, visible again after it was
outside; `lifetime`, first to last visible frame as a share of the clip; `longest`, frames of
its longest visible run.
`outside` and `comes_back` are empty if not all frames are annotated.
"""

import numpy as np

from cotracker.geometry import inside_frame
from cotracker.types import Clip

SIZE = (384, 512)
LAG = 5  # frames between two positions
SLACK = 1  # frames by which an annotated one may miss the lag
MIN_MOTION = 2.0  # pixels; what moves less in LAG frames has no direction

Samples = dict[str, np.ndarray]


def measure_motion(clip: Clip) -> Samples:
    """The samples of one clip, of its points that are ever visible: flat arrays, bool or float.

    By the names above.
    ValueError: no position of any point is known.
    """
    times = _annotated_frames(clip)
    ever = clip.visible.any(0).numpy()
    visible = clip.visible.numpy()[times][:, ever]
    valid = clip.valid.numpy()[times][:, ever]
    height, width = clip.video.shape[-2:]
    xy = clip.tracks.numpy()[times][:, ever] * (SIZE[1] / width, SIZE[0] / height)
    complete = len(times) == len(clip.tracks)
    slack = 0 if complete else SLACK
    inside = inside_frame(clip.tracks, (height, width)).numpy()[times][:, ever]
    outside = ~visible & ~(valid & inside)
    if not complete:
        outside = outside[:, :0]
    gaps = [_gap_lengths(times, seen) for seen in visible.T]
    spans = [times[np.flatnonzero(seen)[[0, -1]]] for seen in visible.T]
    return {
        "step": _speeds(xy, visible, times, 1, 0) if complete else np.zeros(0),
        "step_5": _speeds(xy, visible, times, LAG, slack),
        "turn": _turning_angles(xy, visible, _find_later(times, LAG, slack)),
        "unseen": ~visible.ravel(),
        "outside": outside.ravel(),
        "gap": np.concatenate([np.zeros(0), *gaps]),
        "returns": np.array([len(gap) > 0 for gap in gaps], bool),
        "comes_back": np.array([_comes_back(*pair) for pair in zip(visible.T, outside.T)], bool),
        "lifetime": np.array([(end - start + 1) / len(clip.tracks) for start, end in spans], float),
        "longest": np.array([_longest_run(times, seen) for seen in visible.T], float),
    }


def pool_samples(clips: list[Samples]) -> Samples:
    """The samples of all clips together."""
    return {name: np.concatenate([samples[name] for samples in clips]) for name in clips[0]}


def summarise_samples(samples: Samples) -> dict[str, float | None]:
    """Numbers for a table: the share of bools as `name`; else the median, and 95th percentile.

    Medians are called `name`, percentiles `name_95`. Also the numbers of points and of places.
    None stands where nothing was counted.
    """
    numbers = {"points": len(samples["lifetime"]), "places": len(samples["unseen"])}
    for name, values in samples.items():
        average = np.mean if values.dtype == bool else np.median
        numbers[name] = float(average(values)) if len(values) else None
        if values.dtype != bool:
            numbers[f"{name}_95"] = float(np.percentile(values, 95)) if len(values) else None
    return numbers


def _annotated_frames(clip: Clip) -> np.ndarray:
    times = np.flatnonzero(clip.valid.any(1).numpy())
    if not len(times):
        raise ValueError(
            f"the clip {clip.name} has no point whose place is known: take it out of its set"
        )
    return times


def _find_later(times: np.ndarray, lag: int, slack: int) -> np.ndarray:
    """For each of `times` (K,), the index of the time nearest to `lag` later; -1: none is near."""
    miss = np.abs(times[None] - times[:, None] - lag)
    nearest = miss.argmin(1)
    return np.where(miss[np.arange(len(times)), nearest] <= slack, nearest, -1)


def _speeds(
    xy: np.ndarray, visible: np.ndarray, times: np.ndarray, lag: int, slack: int
) -> np.ndarray:
    late = _find_later(times, lag, slack)
    early = np.flatnonzero(late >= 0)
    late = late[early]
    speed = np.linalg.norm(xy[late] - xy[early], axis=-1) / (times[late] - times[early])[:, None]
    return speed[visible[early] & visible[late]]


def _turning_angles(xy: np.ndarray, visible: np.ndarray, late: np.ndarray) -> np.ndarray:
    first = np.array([k for k, then in enumerate(late) if then >= 0 and late[then] >= 0], int)
    second = late[first]
    third = late[second]
    before = xy[second] - xy[first]
    after = xy[third] - xy[second]
    shorter = np.minimum(np.linalg.norm(before, axis=-1), np.linalg.norm(after, axis=-1))
    cross = before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0]
    angle = np.degrees(np.abs(np.arctan2(cross, (before * after).sum(-1))))
    seen = visible[first] & visible[second] & visible[third]
    return angle[(shorter >= MIN_MOTION) & seen]


def _gap_lengths(times: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Frames of each occlusion between two visible frames.

    Between annotated frames, the share of that time.
    """
    sights = np.flatnonzero(seen)
    missed = np.diff(sights) - 1
    return (np.diff(times[sights]) * missed / (missed + 1))[missed > 0]


def _longest_run(times: np.ndarray, seen: np.ndarray) -> int:
    """Frames from the first to the last of the longest visible run."""
    runs = np.split(np.flatnonzero(seen), np.flatnonzero(np.diff(np.flatnonzero(seen)) > 1) + 1)
    return max(times[run[-1]] - times[run[0]] + 1 for run in runs)


def _comes_back(seen: np.ndarray, outside: np.ndarray) -> bool:
    """Whether the point is visible, outside, and visible again, in this order."""
    sights = np.flatnonzero(seen)
    return bool(outside[sights[0] : sights[-1]].any())
