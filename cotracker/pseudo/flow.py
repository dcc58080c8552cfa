"""Dense optical flow (DIS): where things move by themselves, and which tracks it contradicts."""

import cv2
import numpy as np
import torch
from torch import Tensor

QUERY_FRAMES = 6  # frames of a clip that have queries
GRAIN = 8  # pixels between the positions where flow is read
MAX_DEPARTURE = 5.0  # pixels: things that move faster by themselves get no more queries


def sample_queries(video: Tensor, points: int, rng: np.random.Generator) -> np.ndarray:
    """Queries N 3 float32 (t, x, y) in some frames of a video T 3 H W uint8, sampled from `rng`.

    Half of them where things move by themselves, a quarter at corners, a quarter anywhere.
    """
    frames = rng.choice(len(video), min(QUERY_FRAMES, len(video)), replace=False)
    rows = []
    for number, frame in enumerate(frames):
        count = points * (number + 1) // len(frames) - points * number // len(frames)
        xy = _sample_positions(video, int(frame), count, rng)
        rows.append(np.concatenate([np.full((count, 1), frame), xy], axis=1))
    return np.concatenate(rows).astype(np.float32)


def _sample_positions(
    video: Tensor, frame: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Positions count 2 in one frame."""
    corners = cv2.goodFeaturesToTrack(_grey(video[frame]), 4 * count, 0.01, 5)
    corners = np.zeros((0, 2)) if corners is None else corners[:, 0]
    corners = rng.permutation(corners)[: count // 4]
    moving = _sample_moving(video, frame, count // 2, rng)
    rest = (count - len(corners) - len(moving), 2)
    anywhere = rng.uniform(0, _last_pixel(video), rest)
    return np.concatenate([corners, moving, anywhere])


def _sample_moving(video: Tensor, frame: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Positions count 2, the likelier the more flow departs there from the camera's motion.

    The camera's motion is the one affine motion that suits most of the flow.
    """
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
    chance = np.minimum(departure, MAX_DEPARTURE) + 1e-3
    chosen = rng.choice(len(start), count, p=chance / chance.sum())
    jitter = rng.uniform(-GRAIN / 2, GRAIN / 2, (count, 2))
    return (start[chosen] + jitter).clip(0, _last_pixel(video))


def _last_pixel(video: Tensor) -> list[int]:
    """The largest (x, y) of a pixel centre."""
    return [video.shape[-1] - 1, video.shape[-2] - 1]


def _grey(frame: Tensor) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(frame.permute(1, 2, 0).numpy()), cv2.COLOR_RGB2GRAY)


def _flow_method() -> cv2.DISOpticalFlow:
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def find_contradictions(
    video: Tensor, tracks: Tensor, visible: Tensor, apart: float, consistent: float
) -> Tensor:
    """T N bool: a step of a visible point into or out of this frame departs from consistent flow.

    video: T 3 H W uint8.
    tracks: T N 2 pixels.
    visible: T N bool.
    apart: a step contradicts where it departs by more pixels than this.
    consistent: flow counts where it returns, there and back, within this many pixels.
    """
    greys = [_grey(frame) for frame in video]
    method = _flow_method()
    wrong = torch.zeros_like(visible)
    for frame in range(len(video) - 1):
        there = method.calc(greys[frame], greys[frame + 1], None)
        again = method.calc(greys[frame + 1], greys[frame], None)
        start = tracks[frame].numpy()
        stop = tracks[frame + 1].numpy()
        step = _read(there, start)
        returns = np.linalg.norm(step + _read(again, start + step), axis=1) < consistent
        departs = np.linalg.norm(stop - start - step, axis=1) > apart
        against = torch.from_numpy(returns & departs) & visible[frame] & visible[frame + 1]
        wrong[frame] |= against
        wrong[frame + 1] |= against
    return wrong


def _read(field: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """N 2: a field H W 2 read bilinearly at xy N 2, clamped at the border."""
    x, y = (np.ascontiguousarray(xy[:, axis : axis + 1]).astype(np.float32) for axis in (0, 1))
    return cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
