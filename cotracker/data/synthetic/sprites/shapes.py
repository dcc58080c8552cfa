"""Outlines of objects, in units of their radius (about -1..1, y down), and their masks."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic.sprites.gait import Leg


@dataclass(frozen=True)
class Joint:
    """Where a part turns, (x, y).

    share: of the figure's largest angle.
    phase: in cycles.
    lean: the middle of the swing.
    """

    x: float
    y: float
    share: float
    phase: float
    lean: float = 0.0

    def swing(self, cycles: np.ndarray) -> np.ndarray:
        """The angle (K,) after `cycles` (K,), as a share of the joint's largest."""
        return np.sin(2 * np.pi * (cycles + self.phase)) + self.lean


@dataclass(frozen=True)
class Part:
    """One rigid piece of an object.

    outline, hole: (n, 2); most have no hole.
    joints: those it hangs from, the root first; each turns all that comes after it.
    leg: the Leg that it belongs to; the joints are then its hip and knee.
    """

    outline: np.ndarray
    hole: np.ndarray | None = None
    joints: tuple[Joint, ...] = ()
    leg: Leg | None = None


def sample_single_part(rng: Generator) -> Part:
    """An object of one piece: a blob, a polygon, a thin limb or a ring."""
    kind = rng.choice(4, p=(0.4, 0.25, 0.2, 0.15))
    if kind == 0:
        return Part(sample_blob(rng))
    if kind == 1:
        return Part(sample_polygon(rng))
    if kind == 2:
        angle, radii = rng.uniform(0, 2 * np.pi), rng.uniform(0.06, 0.3, 2)
        end = np.array([np.cos(angle), np.sin(angle)]) * 0.8
        return Part(make_limb(-end, end, *radii))
    outer = sample_blob(rng)
    return Part(outer, hole=outer * rng.uniform(0.3, 0.65))


def sample_blob(rng: Generator) -> np.ndarray:
    """A smooth closed outline (64, 2): a circle with a few harmonics, stretched and turned."""
    angle = np.arange(64) * (2 * np.pi / 64)
    orders = np.arange(2, 7)
    strength = rng.uniform(0, 0.5, 5) / orders
    radius = 1 + np.cos(np.outer(angle, orders) + rng.uniform(0, 2 * np.pi, 5)) @ strength
    ring = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle) * rng.uniform(0.4, 1)])
    return rotate(ring / np.abs(ring).max(), rng.uniform(0, 2 * np.pi))


def sample_polygon(rng: Generator) -> np.ndarray:
    """A random star-shaped polygon of 3 to 8 corners, (n, 2)."""
    count = rng.integers(3, 9)
    corner = np.arange(count) + rng.uniform(-0.35, 0.35, count)
    angle = corner * (2 * np.pi / count) + rng.uniform(0, 2 * np.pi)
    return rng.uniform(0.55, 1, count)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])


def make_limb(
    start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float
) -> np.ndarray:
    """A tapered rod with round ends, (n, 2)."""
    angle = np.arange(32) * (2 * np.pi / 32)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    points = np.concatenate([start + start_radius * circle, end + end_radius * circle])
    return cv2.convexHull(points.astype(np.float32))[:, 0].astype(float)


def sample_pole(rng: Generator, length: float) -> np.ndarray:
    """A trunk or a post (n, 2): a bent, tapered bar of half-width 1 and half-length `length`."""
    along = np.linspace(-length, length, 24)
    middle = rng.normal(0, 0.4) * np.sin(along * rng.uniform(0.5, 2) / length + rng.uniform(0, 6))
    half = (1 + rng.uniform(-0.25, 0.25) * along / length) * (1 + 0.08 * rng.standard_normal(24))
    left = np.column_stack([middle - half, along])
    right = np.column_stack([middle + half, along])
    return np.concatenate([left, right[::-1]])


def sample_spindle(rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """The outline (n, 2) of a solid of revolution about the y axis, and its quadric (3,).

    radius² = a + b y + c y²: balls, eggs, drums and cones.
    """
    kind = rng.choice(3, p=(0.45, 0.35, 0.2))
    half = rng.uniform(0.6, 1)
    if kind == 0:
        wide = rng.uniform(0.6, 1)
        quadric = wide**2 * np.array([1, 0, -1 / half**2])
    elif kind == 1:
        quadric = np.array([rng.uniform(0.4, 0.9) ** 2, 0, 0])
    else:
        wide, taper = rng.uniform(0.4, 0.6), rng.uniform(-0.5, 0.5)
        quadric = wide**2 * np.array([1, 2 * taper, taper**2])
    y = half * np.sin(np.linspace(-np.pi / 2, np.pi / 2, 49))
    x = np.sqrt(np.maximum(np.polynomial.polynomial.polyval(y, quadric), 0))
    return np.concatenate([np.column_stack([x, y]), np.column_stack([-x, y])[::-1]]), quadric


def render_mask(part: Part, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The alpha (uint8 h w) of a part of an object of `radius` pixels, and its offset (x, y).

    The border of 2 pixels is clear, and edges are smooth.
    offset: the position of the mask's first pixel from the object's centre.
    """
    outline = part.outline * radius
    low = np.floor(outline.min(0)) - 3
    width, height = (np.ceil(outline.max(0)) + 4 - low).astype(int)
    fine = 4
    alpha = np.zeros((height * fine, width * fine), np.uint8)
    for ring, value in ((part.outline, 255), (part.hole, 0)):
        if ring is not None:
            corners = (ring * radius - low + 0.5) * fine - 0.5
            cv2.fillPoly(alpha, [np.round(corners).astype(np.int32)], value)
    return cv2.resize(alpha, (int(width), int(height)), interpolation=cv2.INTER_AREA), low


def rotate(points: np.ndarray, angle: float) -> np.ndarray:
    """Points (n, 2) rotated about the origin."""
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])
