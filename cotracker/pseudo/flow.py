"""What dense optical flow (DIS) says of a video: where things move by themselves, and which tracks it contradicts."""

import cv2
import numpy as np
import torch
from torch import Tensor

QUERY_FRAMES = 6  # frames of a clip in which points are asked for
GRAIN = 8  # pixels between the places where flow is read
MOST_DEPARTURE = 5.0  # pixels: things that move faster by themselves are not asked for more often


def places(video: Tensor, points: int, rng: np.random.Generator) -> np.ndarray:
    """Queries N 3 float32 (t, x, y) in some frames of a video T 3 H W uint8, drawn from `rng`.

    Half of them where things move by themselves, a quarter at corners, a quarter anywhere.
    """
    frames = rng.choice(len(video), min(QUERY_FRAMES, len(video)), replace=False)
    height, width = video.shape[-2:]
    rows = []
    for number, frame in enumerate(frames):
        count = points * (number + 1) // len(frames) - points * number // len(frames)
        corners = cv2.goodFeaturesToTrack(_grey(video[frame]), 4 * count, 0.01, 5)
        corners = np.zeros((0, 2)) if corners is None else corners[:, 0]
        corners = rng.permutation(corners)[: count // 4]
        moving = _moving(video, int(frame), count // 2, rng)
        anywhere = rng.uniform(0, [width - 1, height - 1], (count - len(corners) - len(moving), 2))
        places = np.concatenate([corners, moving, anywhere])
        rows.append(np.concatenate([np.full((count, 1), frame), places], axis=1))
    return np.concatenate(rows).astype(np.float32)


def _moving(video: Tensor, frame: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Places count 2, the likelier the more flow there departs from the one affine motion that suits most of it."""
    beside = frame + 1 if frame + 1 < len(video) else frame - 1
    flow = _flow_method().calc(_grey(video[frame]), _grey(video[beside]), None)[::GRAIN, ::GRAIN]
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]] * float(GRAIN)
    start = np.stack([columns, rows], axis=-1).reshape(-1, 2)
    steps = flow.reshape(-1, 2).astype(float)
    affine, _ = cv2.estimateAffine2D(
        start, start + steps, method=cv2.RANSAC, ransacReprojThreshold=1.0
    )
    if affine is None:
        return np.zeros((0, 2))
    departure = np.linalg.norm(start @ affine[:, :2].T + affine[:, 2] - start - steps, axis=1)
    chance = np.minimum(departure, MOST_DEPARTURE) + 1e-3
    chosen = rng.choice(len(start), count, p=chance / chance.sum())
    height, width = video.shape[-2:]
    return (start[chosen] + rng.uniform(-GRAIN / 2, GRAIN / 2, (count, 2))).clip(
        0, [width - 1, height - 1]
    )


def _grey(frame: Tensor) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(frame.permute(1, 2, 0).numpy()), cv2.COLOR_RGB2GRAY)


def _flow_method() -> cv2.DISOpticalFlow:
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def contradicted(
    video: Tensor, tracks: Tensor, visible: Tensor, apart: float, sure: float
) -> Tensor:
    """T N bool: the step of a visible point into or out of this frame departs by over `apart` pixels from flow that is
    sure of itself: it returns, there and back, within `sure` pixels.

    video: T 3 H W uint8.  tracks: T N 2 pixels.  visible: T N bool.
    """
    greys, method = [_grey(frame) for frame in video], _flow_method()
    wrong = torch.zeros_like(visible)
    for frame in range(len(video) - 1):
        there = method.calc(greys[frame], greys[frame + 1], None)
        again = method.calc(greys[frame + 1], greys[frame], None)
        start, stop = tracks[frame].numpy(), tracks[frame + 1].numpy()
        step = _read(there, start)
        returns = np.linalg.norm(step + _read(again, start + step), axis=1) < sure
        departs = np.linalg.norm(stop - start - step, axis=1) > apart
        against = torch.from_numpy(returns & departs) & visible[frame] & visible[frame + 1]
        wrong[frame] |= against
        wrong[frame + 1] |= against
    return wrong


def _read(field: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A field H W 2 at places N 2, bilinearly, held at the border: N 2."""
    x, y = (np.ascontiguousarray(places[:, axis : axis + 1]).astype(np.float32) for axis in (0, 1))
    return cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
