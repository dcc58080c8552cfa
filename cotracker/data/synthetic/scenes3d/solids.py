"""Random solids as triangle meshes within the unit ball: vertices (n, 3) and faces (m, 3)."""

import numpy as np
from numpy.random import Generator

# float32 (n, 3) and int32 (m, 3), anti-clockwise from outside; faces (0, 3): the convex hull
Mesh = tuple[np.ndarray, np.ndarray]


def sample_solid(rng: Generator) -> Mesh:
    """A random mesh (vertices, faces) of one of five kinds, its furthest vertex at distance 1."""
    sample = (sample_rock, sample_vase, sample_prism, sample_ring, sample_crystal)[rng.integers(5)]
    vertices, faces = sample(rng)
    vertices = vertices - (vertices.max(0) + vertices.min(0)) / 2
    vertices = vertices / np.linalg.norm(vertices, axis=1).max()
    return vertices.astype(np.float32), faces.astype(np.int32)


def sample_rock(rng: Generator) -> Mesh:
    """A ball with waves over it and unequal axes: stones, potatoes, clouds."""
    rings = 20
    sides = 28
    latitude = np.linspace(-1.5, 1.5, rings)[:, None]
    longitude = np.arange(sides) * 2 * np.pi / sides
    ball = np.stack(
        [
            np.cos(latitude) * np.cos(longitude),
            np.cos(latitude) * np.sin(longitude),
            np.sin(latitude) + 0 * longitude,
        ],
        axis=-1,
    )
    radius = np.ones((rings, sides))
    for _ in range(rng.integers(3, 8)):
        wave = rng.normal(0, rng.uniform(1, 4), 3)
        radius += rng.uniform(0.02, 0.16) * np.sin(ball @ wave + rng.uniform(0, 2 * np.pi))
    return _tube(ball * radius[..., None] * rng.uniform(0.55, 1.0, 3))


def sample_vase(rng: Generator) -> Mesh:
    """A solid of revolution: vases, bottles, pawns."""
    heights = np.linspace(-1, 1, 24)
    stops = rng.integers(4, 8)
    radius = np.interp(heights, np.linspace(-1, 1, stops), rng.uniform(0.15, 0.75, stops))
    radius = np.convolve(np.pad(radius, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid")
    angle = np.arange(24) * 2 * np.pi / 24
    around = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)
    axis = np.stack([0 * heights, 0 * heights, heights], -1)
    return _tube(radius[:, None, None] * around + axis[:, None])


def sample_prism(rng: Generator) -> Mesh:
    """A star, cross or polygon extruded, perhaps with a twist and a taper."""
    corners = rng.integers(3, 9) * 2
    radius = np.where(np.arange(corners) % 2, rng.uniform(0.35, 1.0), 1.0)
    angle = np.arange(corners) * 2 * np.pi / corners
    levels = np.linspace(-1, 1, 9)[:, None]
    twisted = angle + rng.uniform(-0.6, 0.6) * levels * (rng.random() < 0.5)
    width = radius * (1 + rng.uniform(-0.4, 0.0) * levels)
    height = rng.uniform(0.15, 0.8) * levels + 0 * angle
    return _tube(np.stack([width * np.cos(twisted), width * np.sin(twisted), height], axis=-1))


def sample_ring(rng: Generator) -> Mesh:
    """A torus, or a knot on one: solids with holes that show what is behind them."""
    twists, loops = [(1, 0), (1, 0), (2, 3), (3, 2)][rng.integers(4)]
    along = np.arange(72) * 2 * np.pi / 72
    hub = 0.7 + (0.28 * np.cos(loops * along) if loops else 0 * along)
    rise = 0.28 * np.sin(loops * along) if loops else 0 * along
    middle = np.stack([hub * np.cos(twists * along), hub * np.sin(twists * along), rise], axis=-1)
    ahead = np.roll(middle, -1, 0) - np.roll(middle, 1, 0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    side = np.cross(ahead, (0.0, 0.0, 1.0))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(side, ahead)
    angle = np.arange(14) * 2 * np.pi / 14
    thick = rng.uniform(0.1, 0.17) if loops else rng.uniform(0.15, 0.3)
    around = np.cos(angle)[:, None] * side[:, None] + np.sin(angle)[:, None] * other[:, None]
    return _tube(middle[:, None] + thick * around, closed=True)


def sample_crystal(rng: Generator) -> Mesh:
    """The convex hull of random points, which MuJoCo finds itself: there are no faces."""
    points = rng.normal(size=(rng.integers(8, 24), 3))
    points *= rng.uniform(0.5, 1.0, 3) / np.linalg.norm(points, axis=1, keepdims=True)
    return points, np.zeros((0, 3), int)


def _tube(rings: np.ndarray, closed: bool = False) -> Mesh:
    """The surface through rings (R, S, 3) of S points each; its ends are capped or joined."""
    count, sides, _ = rings.shape
    index = np.arange(count * sides).reshape(count, sides)
    first = index if closed else index[:-1]
    second = np.roll(index, -1, 0) if closed else index[1:]
    a, b, c, d = (x.ravel() for x in (first, np.roll(first, -1, 1), second, np.roll(second, -1, 1)))
    faces = [np.stack([a, b, d], -1), np.stack([a, d, c], -1)]
    vertices = [rings.reshape(-1, 3)]
    if not closed:
        for number, (end, cap) in enumerate(((index[0][::-1], rings[0]), (index[-1], rings[-1]))):
            tip = np.full(sides, count * sides + number)
            faces.append(np.stack([tip, end, np.roll(end, -1)], -1))
            vertices.append(cap.mean(0, keepdims=True))
    return _outward(np.concatenate(vertices), np.concatenate(faces))


def _outward(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    """The mesh without its flat faces, all turned so that its volume is positive."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    volume = np.einsum("ni,ni->", a, np.cross(b, c))
    faces = faces[area > 1e-9]
    return vertices, faces if volume > 0 else faces[:, ::-1]
