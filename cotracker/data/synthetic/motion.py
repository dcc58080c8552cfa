"""Smooth motions, as arrays over time: paths, waves, and the matrices (K, 3, 3) that they make."""

import numpy as np
from numpy.random import Generator


def sample_log_uniform(rng: Generator, low: float, high: float) -> float:
    """A number between `low` and `high`, its logarithm uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def sample_wave(
    rng: Generator, times: np.ndarray, amplitude: float, periods: tuple = (10, 60)
) -> np.ndarray:
    """A slow oscillation (K,) within +-amplitude, of random phase and period (in frames)."""
    period = sample_log_uniform(rng, *periods)
    return amplitude * rng.uniform(0.2, 1) * np.sin(2 * np.pi * (times / period + rng.random()))


def sample_path(
    rng: Generator, times: np.ndarray, speed: float, periods: tuple = (8, 48)
) -> np.ndarray:
    """A path (K, 2) of mean speed `speed` pixels a frame: glide, acceleration and swings mixed.

    periods: frames in which it swings back and forth, so that what leaves the frame may come back.
    """
    span = np.ptp(times) + 1
    period = sample_log_uniform(rng, *periods)
    angle = 2 * np.pi * (times / period + rng.random())
    bend = (times - rng.uniform(0, 1) * span) ** 2 / span
    swings = (np.sin(angle) * period / 4, np.cos(angle) * period / 4)
    parts = np.stack([times, bend, *swings], axis=1)
    angles = rng.uniform(0, 2 * np.pi, 4)
    weights = rng.random(4) ** 2 * (1, rng.random() < 0.5, rng.random() < 0.6, rng.random() < 0.5)
    line = parts @ (weights[:, None] * np.column_stack([np.cos(angles), np.sin(angles)]))
    mean_speed = np.linalg.norm(np.gradient(line, times, axis=0), axis=1).mean()
    return (line - line[0]) * (speed / max(mean_speed, 1e-6))


def sample_excursion(
    rng: Generator, times: np.ndarray, reach: float, fastest: float
) -> tuple[np.ndarray, int]:
    """A path (K, 2) that goes out by about `reach` pixels and returns, and the index of its start.

    It takes 0.6 to 1.2 times the clip, is nowhere faster than `fastest` pixels a frame, and drifts
    a little besides.
    """
    span = np.ptp(times) + 1
    period = span * rng.uniform(0.6, 1.2)
    home = times[0] + rng.uniform(-0.1, max(span - period, 0) + 0.1)
    reach = min(reach, fastest * period / np.pi)
    out = reach * (0.5 - 0.5 * np.cos(2 * np.pi * (times - home) / period))
    angle = rng.uniform(0, 2 * np.pi)
    line = out[:, None] * np.array([np.cos(angle), np.sin(angle)])
    drift = sample_path(rng, times, 0.05 * fastest)
    return line + drift, int(np.argmin(out))


def stack_matrices(rows: list[list]) -> np.ndarray:
    """Matrices (K, 3, 3) from three rows of three entries, each a number or an array (K,)."""
    entries = np.broadcast_arrays(*[np.asarray(entry, float) for row in rows for entry in row])
    return np.stack([np.atleast_1d(entry) for entry in entries], axis=-1).reshape(-1, 3, 3)


def translation(xy: np.ndarray) -> np.ndarray:
    """Translations (K, 3, 3) by `xy` (2,) or (K, 2)."""
    x, y = np.moveaxis(np.asarray(xy, float), -1, 0)
    return stack_matrices([[1, 0, x], [0, 1, y], [0, 0, 1]])


def rotation_about(pivot: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotations (K, 3, 3) by `angle` (K,) about `pivot` (2,)."""
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = stack_matrices([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    return translation(pivot) @ rotation @ translation(-np.asarray(pivot))


def similarity(zoom: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Zoom and roll (K,) about the origin, as (K, 3, 3)."""
    cos, sin = zoom * np.cos(roll), zoom * np.sin(roll)
    return stack_matrices([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def tilted_plane(scale, stretch, roll, yaw, pitch, focal: float) -> np.ndarray:
    """Homographies (K, 3, 3) of a plane that turns in space about its centre.

    roll, yaw, pitch: angles (K,) in radians.
    focal: focal length in the plane's own pixels.
    """
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    tilted = stack_matrices([[cy, sy * sp, 0], [0, cp, 0], [-sy / focal, cy * sp / focal, 1]])
    stretched = stack_matrices([[stretch, 0, 0], [0, 1 / np.asarray(stretch), 0], [0, 0, 1]])
    return similarity(scale, roll) @ tilted @ stretched


def project(matrix: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Points (n, 2) through homographies (n, 3, 3) or one (3, 3)."""
    moved = np.einsum("...ij,...j->...i", matrix[..., :2], xy) + matrix[..., 2]
    return moved[..., :2] / moved[..., 2:]
