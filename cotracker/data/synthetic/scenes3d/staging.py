"""What stands in a 3-D scene: its things and where they start, ground and walls, lights, textures for all of them."""

import cv2
import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic.motion import sample_log_uniform
from cotracker.data.synthetic.scenes3d.scene import Body, Light, Piece, Plane, combined, turn_about
from cotracker.data.synthetic.scenes3d.solids import solid
from cotracker.data.synthetic.textures import Textures

PRIMITIVES = ("box", "sphere", "cylinder", "capsule", "ellipsoid")
RADIUS = 1.5  # metres about the middle within which most things start


def thing(rng: Generator, size: float, texture: int, meshes: float) -> Body:
    """A primitive, or with the chance `meshes` a made mesh, within `size` metres of its middle; not placed yet."""
    physics = {
        "bounce": rng.uniform(0, 0.9),
        "friction": rng.uniform(0.2, 1.2),
        "density": sample_log_uniform(rng, 100, 2000),
    }
    if rng.random() < meshes:
        piece = Piece("mesh", (size,) * 3, texture=texture, mesh=solid(rng))
        return Body((piece,), **physics)
    kind = PRIMITIVES[rng.integers(len(PRIMITIVES))]
    half = rng.uniform(0.25, 1.0, 3)
    if kind in ("cylinder", "capsule"):
        half = np.array([half[0], half[1], 0])
    half *= size / (
        half.sum()
        if kind == "capsule"
        else half.max()
        if kind == "ellipsoid"
        else np.linalg.norm(half)
    )
    half = np.full(3, size) if kind == "sphere" else half
    return Body((Piece(kind, tuple(half), texture=texture),), **physics)


def any_turn(rng: Generator) -> tuple:
    """A quaternion, uniform over all turns."""
    turn = rng.normal(size=4)
    return tuple(turn / np.linalg.norm(turn))


def apart(rng: Generator, sizes: np.ndarray, taken: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """Places (n, 3) above the ground of balls of radius `sizes` (n,), apart from each other and the balls `taken`."""
    taken, places = list(taken), []
    for size in sizes:
        spread, top = RADIUS, rng.choice((0.3, 1.0, 2.5))
        while True:
            place = np.append(rng.normal(0, spread * 0.6, 2), size + rng.uniform(0, top))
            if all(np.linalg.norm(place - other) > size + radius + 0.02 for other, radius in taken):
                break
            spread, top = spread * 1.05, top * 1.05
        taken.append((place, size))
        places.append(place)
    return np.array(places).reshape(-1, 3)


def throw(rng: Generator, place: np.ndarray, speed: float, spin: float) -> tuple:
    """A velocity (6,): `speed` m/s, often towards the middle and up, and `spin` radians/s about any axis."""
    towards = -place * (1, 1, 0) * rng.choice((0.0, 1.0), p=(0.4, 0.6)) + rng.normal(0, 0.7, 3)
    towards[2] = abs(towards[2]) if rng.random() < 0.6 else -abs(towards[2])
    about = rng.normal(size=3)
    return (*speed * towards / np.linalg.norm(towards), *spin * about / np.linalg.norm(about))


def ground(rng: Generator, texture: int) -> Plane:
    """The ground, 40 metres a side."""
    return Plane(
        (0, 0, 0),
        tuple(turn_about((0, 0, 1.0), rng.uniform(0, 2 * np.pi))),
        (20, 20),
        texture,
        _repeat(rng),
    )


def walls(rng: Generator, textures: list[int]) -> tuple[list[Plane], np.ndarray]:
    """One wall for each of `textures`, neighbours at right angles, and the azimuths (radians) they stand at."""
    start = rng.uniform(0, 2 * np.pi)
    azimuths = start + np.arange(len(textures)) * np.pi / 2
    planes = []
    for azimuth, texture in zip(azimuths, textures):
        upright = turn_about((0, 1.0, 0), -np.pi / 2 + rng.normal(0, 0.03))
        turn = combined(turn_about((0, 0, 1.0), azimuth), upright)
        distance = rng.uniform(2.6, 6.0)
        place = (distance * np.cos(azimuth), distance * np.sin(azimuth), 0)
        planes.append(Plane(place, tuple(turn), (20, 20), texture, _repeat(rng)))
    return planes, azimuths


def _repeat(rng: Generator) -> tuple[float, float]:
    return (sample_log_uniform(rng, 4.0, 16.0),) * 2


def lights(rng: Generator, shadows: float) -> tuple[list[Light], tuple]:
    """One to three suns and lamps, and the light from everywhere (RGB): together about as bright as the textures."""
    count = rng.choice((1, 2, 3), p=(0.5, 0.3, 0.2))
    total, share = rng.uniform(0.75, 1.15), rng.uniform(0.3, 0.6)
    parts = rng.uniform(0.3, 1.0, count)
    made = []
    for part in parts / parts.sum():
        azimuth, height = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(35, 85))
        up = np.array(
            [np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)]
        )
        colour = total * (1 - share) * 1.4 * part * rng.uniform(0.88, 1.12, 3)
        lamp = rng.random() < 0.25
        shadow = len(made) < 2 and rng.random() < shadows
        made.append(
            Light(
                tuple(-up), tuple(7 * up) if lamp else None, tuple(colour), (0.3, 0.3, 0.3), shadow
            )
        )
    return made, tuple(total * share * rng.uniform(0.93, 1.07, 3))


def sheet(rng: Generator, textures: Textures, side: int) -> np.ndarray:
    """A texture for planes, side side 3 uint8; half of them mirrored so that it repeats without a seam."""
    if rng.random() < 0.5:
        return textures.sample(rng, side, side)
    image = textures.sample(rng, side // 2, side // 2)
    row = np.concatenate([image, image[:, ::-1]], axis=1)
    return np.concatenate([row, row[::-1]])


def cube(rng: Generator, textures: Textures, side: int) -> np.ndarray:
    """Six faces (6 side, side, 3) uint8, cut from one texture."""
    image = textures.sample(rng, 2 * side, 3 * side)
    return np.concatenate(
        [image[r : r + side, c : c + side] for r in (0, side) for c in (0, side, 2 * side)]
    )


def sky(rng: Generator, textures: Textures, side: int) -> np.ndarray:
    """What is infinitely far, as six faces (6 side, side, 3) uint8: one texture mirrored all around."""
    image = textures.sample(rng, side, side)
    mirror = image[:, ::-1]
    above, below = (
        np.broadcast_to(rows.mean((0, 1)).astype(np.uint8), image.shape)
        for rows in (image[:4], image[-4:])
    )
    above = cv2.addWeighted(np.ascontiguousarray(above), 0.7, image, 0.3, 0)
    return np.concatenate([mirror, mirror, above, below, image, image])
