"""Random elements of a 3-D scene: objects, where they start, ground and walls, lights, textures."""

import cv2
import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic.motion import sample_log_uniform
from cotracker.data.synthetic.scenes3d.scene3d import (
    Body,
    Light,
    Piece,
    Plane,
    direction_at,
    multiply_quaternions,
    quaternion_about,
)
from cotracker.data.synthetic.scenes3d.solids import sample_solid
from cotracker.data.synthetic.textures import Textures

PRIMITIVES = ("box", "sphere", "cylinder", "capsule", "ellipsoid")
RADIUS = 1.5  # metres about the middle within which most objects start


def sample_object(rng: Generator, size: float, texture: int, meshes: float) -> Body:
    """A primitive, or with the probability `meshes` a mesh, within `size` metres of its middle."""
    physics = {
        "bounce": rng.uniform(0, 0.9),
        "friction": rng.uniform(0.2, 1.2),
        "density": sample_log_uniform(rng, 100, 2000),
    }
    if rng.random() < meshes:
        piece = Piece("mesh", (size,) * 3, texture=texture, mesh=sample_solid(rng))
        return Body((piece,), **physics)
    kind = PRIMITIVES[rng.integers(len(PRIMITIVES))]
    half = rng.uniform(0.25, 1.0, 3)
    if kind in ("cylinder", "capsule"):
        half = np.array([half[0], half[1], 0])
    reach = {"capsule": np.sum, "ellipsoid": np.max}.get(kind, np.linalg.norm)
    half *= size / reach(half)
    half = np.full(3, size) if kind == "sphere" else half
    return Body((Piece(kind, tuple(half), texture=texture),), **physics)


def sample_rotation(rng: Generator) -> tuple:
    """A quaternion, uniform over all rotations."""
    quaternion = rng.normal(size=4)
    return tuple(quaternion / np.linalg.norm(quaternion))


def sample_positions(
    rng: Generator, sizes: np.ndarray, taken: list[tuple[np.ndarray, float]]
) -> np.ndarray:
    """Positions (n, 3) above the ground of balls of radius `sizes` (n,) that do not overlap.

    taken: the centres and radii of other balls.
    """
    taken = list(taken)
    positions = []
    for size in sizes:
        spread = RADIUS
        top = rng.choice((0.3, 1.0, 2.5))
        while True:
            position = np.append(rng.normal(0, spread * 0.6, 2), size + rng.uniform(0, top))
            if all(
                np.linalg.norm(position - other) > size + radius + 0.02 for other, radius in taken
            ):
                break
            spread *= 1.05
            top *= 1.05
        taken.append((position, size))
        positions.append(position)
    return np.array(positions).reshape(-1, 3)


def sample_velocity(rng: Generator, position: np.ndarray, speed: float, spin: float) -> tuple:
    """A velocity (6,): `speed` m/s, often to the middle and up; `spin` radians/s about any axis."""
    towards = -position * (1, 1, 0) * rng.choice((0.0, 1.0), p=(0.4, 0.6)) + rng.normal(0, 0.7, 3)
    towards[2] = abs(towards[2]) if rng.random() < 0.6 else -abs(towards[2])
    axis = rng.normal(size=3)
    return (*speed * towards / np.linalg.norm(towards), *spin * axis / np.linalg.norm(axis))


def sample_ground(rng: Generator, texture: int) -> Plane:
    """The ground, 40 metres a side."""
    rotation = tuple(quaternion_about((0, 0, 1.0), rng.uniform(0, 2 * np.pi)))
    return Plane((0, 0, 0), rotation, (20, 20), texture, _sample_repeat(rng))


def sample_walls(rng: Generator, textures: list[int]) -> tuple[list[Plane], np.ndarray]:
    """A wall for each of `textures`, neighbours at right angles, and their azimuths (radians)."""
    start = rng.uniform(0, 2 * np.pi)
    azimuths = start + np.arange(len(textures)) * np.pi / 2
    planes = []
    for azimuth, texture in zip(azimuths, textures):
        upright = quaternion_about((0, 1.0, 0), -np.pi / 2 + rng.normal(0, 0.03))
        rotation = multiply_quaternions(quaternion_about((0, 0, 1.0), azimuth), upright)
        distance = rng.uniform(2.6, 6.0)
        position = (distance * np.cos(azimuth), distance * np.sin(azimuth), 0)
        planes.append(Plane(position, tuple(rotation), (20, 20), texture, _sample_repeat(rng)))
    return planes, azimuths


def _sample_repeat(rng: Generator) -> tuple[float, float]:
    return (sample_log_uniform(rng, 4.0, 16.0),) * 2


def sample_lights(rng: Generator, shadows: float) -> tuple[list[Light], tuple]:
    """One to three suns and lamps, and ambient light (RGB), of about the usual sum.

    shadows: the probability of each of the first two to cast some.
    """
    count = rng.choice((1, 2, 3), p=(0.5, 0.3, 0.2))
    total, share = rng.uniform(0.75, 1.15), rng.uniform(0.3, 0.6)
    parts = rng.uniform(0.3, 1.0, count)
    lights = []
    for part in parts / parts.sum():
        azimuth = rng.uniform(0, 2 * np.pi)
        up = direction_at(azimuth, np.radians(rng.uniform(35, 85)))
        colour = total * (1 - share) * 1.4 * part * rng.uniform(0.88, 1.12, 3)
        lamp = rng.random() < 0.25
        shadow = len(lights) < 2 and rng.random() < shadows
        position = tuple(7 * up) if lamp else None
        lights.append(Light(tuple(-up), position, tuple(colour), (0.3, 0.3, 0.3), shadow))
    return lights, tuple(total * share * rng.uniform(0.93, 1.07, 3))


def sample_plane_texture(rng: Generator, textures: Textures, side: int) -> np.ndarray:
    """A texture for planes, side side 3 uint8; half of them mirrored, to repeat without seams."""
    if rng.random() < 0.5:
        return textures.sample(rng, side, side)
    image = textures.sample(rng, side // 2, side // 2)
    row = np.concatenate([image, image[:, ::-1]], axis=1)
    return np.concatenate([row, row[::-1]])


def sample_cube_texture(rng: Generator, textures: Textures, side: int) -> np.ndarray:
    """Six faces (6 side, side, 3) uint8, cut from one texture."""
    image = textures.sample(rng, 2 * side, 3 * side)
    corners = [(row, column) for row in (0, side) for column in (0, side, 2 * side)]
    return np.concatenate([image[r : r + side, c : c + side] for r, c in corners])


def sample_sky(rng: Generator, textures: Textures, side: int) -> np.ndarray:
    """The sky as six faces (6 side, side, 3) uint8: one texture, mirrored all around."""
    image = textures.sample(rng, side, side)
    mirror = image[:, ::-1]
    above, below = (
        np.broadcast_to(rows.mean((0, 1)).astype(np.uint8), image.shape)
        for rows in (image[:4], image[-4:])
    )
    above = cv2.addWeighted(np.ascontiguousarray(above), 0.7, image, 0.3, 0)
    return np.concatenate([mirror, mirror, above, below, image, image])
