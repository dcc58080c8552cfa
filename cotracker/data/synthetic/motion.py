"""Smooth motions, as arrays over time: paths, waves, and the matrices (K, 3, 3) that they make."""

import numpy as np
from numpy.random import Generator


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """A number between `low` and `high`, its logarithm uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def wave(
    rng: Generator, times: np.ndarray, amplitude: float, periods: tuple = (10, 60)
) -> np.ndarray:
    """A signal (K,) within +-amplitude: a slow oscillation of random period (in frames) and phase."""
    period = log_uniform(rng, *periods)
    return amplitude * rng.uniform(0.2, 1) * np.sin(2 * np.pi * (times / period + rng.random()))


def path(rng: Generator, times: np.ndarray, speed: float, periods: tuple = (8, 48)) -> np.ndarray:
    """A path (K, 2) whose mean speed is `speed` pixels a frame: glide, acceleration and swing in a random mix.

    The swings go back and forth within `periods` frames, so that what leaves the frame may come back.
    """
    span = np.ptp(times) + 1
    period = log_uniform(rng, *periods)
    turn = 2 * np.pi * (times / period + rng.random())
    glide, bend = times, (times - rng.uniform(0, 1) * span) ** 2 / span
    parts = np.stack([glide, bend, np.sin(turn) * period / 4, np.cos(turn) * period / 4], axis=1)
    angles = rng.uniform(0, 2 * np.pi, 4)
    weights = rng.random(4) ** 2 * (1, rng.random() < 0.5, rng.random() < 0.6, rng.random() < 0.5)
    line = parts @ (weights[:, None] * np.column_stack([np.cos(angles), np.sin(angles)]))
    pace = np.linalg.norm(np.gradient(line, times, axis=0), axis=1).mean()
    return (line - line[0]) * (speed / max(pace, 1e-6))


def excursion(
    rng: Generator, times: np.ndarray, reach: float, fastest: float
) -> tuple[np.ndarray, int]:
    """A path (K, 2) that goes out by about `reach` pixels and comes back, and the time index at which it sets out.

    It takes 0.6 to 1.2 times the clip, is nowhere faster than `fastest` pixels a frame, and drifts a little besides.
    """
    span = np.ptp(times) + 1
    period = span * rng.uniform(0.6, 1.2)
    home = times[0] + rng.uniform(-0.1, max(span - period, 0) + 0.1)
    reach = min(reach, fastest * period / np.pi)
    out = reach * (0.5 - 0.5 * np.cos(2 * np.pi * (times - home) / period))
    angle = rng.uniform(0, 2 * np.pi)
    line = out[:, None] * np.array([np.cos(angle), np.sin(angle)])
    drift = path(rng, times, 0.05 * fastest)
    return line + drift, int(np.argmin(out))


def matrices(rows: list[list]) -> np.ndarray:
    """Matrices (K, 3, 3) from three rows of three entries, each a number or an array (K,)."""
    entries = np.broadcast_arrays(*[np.asarray(entry, float) for row in rows for entry in row])
    return np.stack([np.atleast_1d(entry) for entry in entries], axis=-1).reshape(-1, 3, 3)


def shift(xy: np.ndarray) -> np.ndarray:
    """Translations (K, 3, 3) by `xy` (2,) or (K, 2)."""
    x, y = np.moveaxis(np.asarray(xy, float), -1, 0)
    return matrices([[1, 0, x], [0, 1, y], [0, 0, 1]])


def swing(pivot: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotations (K, 3, 3) by `angle` (K,) about `pivot` (2,)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return (
        shift(pivot)
        @ matrices([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        @ shift(-np.asarray(pivot))
    )


def similarity(zoom: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Zoom and roll (K,) about the origin, as (K, 3, 3)."""
    cos, sin = zoom * np.cos(roll), zoom * np.sin(roll)
    return matrices([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def card(scale, stretch, roll, yaw, pitch, focal: float) -> np.ndarray:
    """A flat card turned in space about its centre (K, 3, 3): angles (K,) in radians, `focal` in its own pixels."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    tilted = matrices([[cy, sy * sp, 0], [0, cp, 0], [-sy / focal, cy * sp / focal, 1]])
    stretched = matrices([[stretch, 0, 0], [0, 1 / np.asarray(stretch), 0], [0, 0, 1]])
    return similarity(scale, roll) @ tilted @ stretched


def project(matrix: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Points (n, 2) through matrices (n, 3, 3) or one (3, 3)."""
    moved = np.einsum("...ij,...j->...i", matrix[..., :2], xy) + matrix[..., 2]
    return moved[..., :2] / moved[..., 2:]
