"""Outlines of things, in units of their radius (about -1..1, y down), and their masks; figures with joints."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator


@dataclass(frozen=True)
class Part:
    """One rigid piece of a thing: its outline (n, 2), a hole or None, and the joints it hangs from, the root first.

    joints: rows (x, y, share of the swing, phase in turns); each turns all that comes after it.
    """

    outline: np.ndarray
    hole: np.ndarray | None = None
    joints: tuple = ()


def thing(rng: Generator, articulated: float) -> list[Part]:
    """A random thing as its parts, the lowest first: with the share `articulated` a figure, else one piece."""
    if rng.random() < articulated:
        return figure(rng)
    kind = rng.choice(4, p=(0.4, 0.25, 0.2, 0.15))
    if kind == 0:
        return [Part(blob(rng))]
    if kind == 1:
        return [Part(polygon(rng))]
    if kind == 2:
        angle, thin = rng.uniform(0, 2 * np.pi), rng.uniform(0.08, 0.3, 2)
        end = np.array([np.cos(angle), np.sin(angle)]) * 0.8
        return [Part(limb(-end, end, *thin))]
    outer = blob(rng)
    return [Part(outer, hole=outer * rng.uniform(0.3, 0.65))]


def blob(rng: Generator) -> np.ndarray:
    """A smooth closed outline (64, 2): a circle with a few harmonics, stretched and turned."""
    angle = np.arange(64) * (2 * np.pi / 64)
    orders = np.arange(2, 7)
    strength = rng.uniform(0, 0.5, 5) / orders
    radius = 1 + np.cos(np.outer(angle, orders) + rng.uniform(0, 2 * np.pi, 5)) @ strength
    ring = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle) * rng.uniform(0.4, 1)])
    return _turned(ring / np.abs(ring).max(), rng.uniform(0, 2 * np.pi))


def polygon(rng: Generator) -> np.ndarray:
    """A random star-shaped polygon of 3 to 8 corners, (n, 2)."""
    count = rng.integers(3, 9)
    angle = (np.arange(count) + rng.uniform(-0.35, 0.35, count)) * (2 * np.pi / count) + rng.uniform(0, 2 * np.pi)
    return rng.uniform(0.55, 1, count)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])


def limb(start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float) -> np.ndarray:
    """A tapered rod with round ends, (n, 2)."""
    angle = np.arange(24) * (2 * np.pi / 24)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    points = np.concatenate([start + start_radius * circle, end + end_radius * circle])
    return cv2.convexHull(points.astype(np.float32))[:, 0].astype(float)


def figure(rng: Generator) -> list[Part]:
    """An articulated figure, as animals, people and machines have: a body and 2 to 6 limbs of 1 to 3 segments.

    Half the limbs lie behind the body. All share the rhythm of the figure, each with its own phase.
    """
    ring = blob(rng)
    size = rng.uniform(0.3, 0.55)
    body = ring * size
    behind, front = [], []
    for number, side in enumerate(rng.permutation(rng.integers(2, 7))):
        corner = body[int(side * 64 / 6 + rng.integers(0, 10)) % 64]
        limbs = _hanging(rng, 0.8 * corner, np.arctan2(corner[1], corner[0]))
        (behind if number % 2 else front).extend(limbs)
    return [*behind, Part(body), *front]


def _hanging(rng: Generator, root: np.ndarray, heading: float) -> list[Part]:
    """One limb: segments end to end from `root`, the last lowest, each hanging from the joints before it."""
    segments = rng.integers(1, 4)
    radius, length = rng.uniform(0.08, 0.18), rng.uniform(0.45, 0.9) / segments**0.7
    phase, parts, joints = rng.random(), [], ()
    heading += rng.normal(0, 0.4)
    for _ in range(segments):
        tip = root + length * np.array([np.cos(heading), np.sin(heading)])
        joints = (*joints, (*root, rng.uniform(0.4, 1), phase))
        parts.append(Part(limb(root, tip, radius, radius * 0.8), joints=joints))
        root, radius, heading = tip, radius * 0.8, heading + rng.normal(0, 0.6)
        phase += rng.uniform(0.05, 0.25)
    return parts[::-1]


def mask(part: Part, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The alpha of a part of a thing of `radius` pixels, uint8 h w with a clear border of 2, and its offset (x, y).

    The offset is the thing's own position (pixels, from its centre) of the mask's first pixel. Edges are smooth.
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


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])
