"""Creatures: trees of capsules and ellipsoids, joined by hinges, that walk, float or fall."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic.motion import sample_log_uniform, sample_wave
from cotracker.data.synthetic.scenes3d.scene3d import (
    UPRIGHT,
    Body,
    Piece,
    multiply_quaternions,
    quaternion_about,
)

SIDE, UP = np.eye(3)[1:]
FRAMES_PER_SECOND = 12  # sample_wave counts its periods in frames


@dataclass(frozen=True)
class Limb:
    """A capsule or ellipsoid, in units of the creature's size.

    parent: index of the limb it hangs from; None for the trunk.
    start: in its parent.
    along: (3,) from start to end.
    swing: radians to either side.
    phase: share of a period.
    round: an ellipsoid.
    """

    parent: int | None
    start: tuple
    along: tuple
    radius: float
    axis: tuple = (0.0, 1.0, 0.0)
    swing: float = 0.0
    phase: float = 0.0
    round: bool = False


def sample_creature(
    rng: Generator, size: float, first: int, textures: list[int], times: np.ndarray | None
) -> list[Body]:
    """The bodies of a creature about `size` metres tall that stands at the origin, looking along x.

    first: the index of its first body in the scene.
    textures: to choose among, the trunk's first.
    times: of the steps of physics, if it moves its limbs itself; None leaves it limp.
    """
    limbs = (sample_quadruped, sample_quadruped, sample_biped, sample_worm)[rng.integers(4)](rng)
    rhythm = sample_log_uniform(rng, 0.45, 1.6)
    stiffness, density = rng.uniform(0.0, 0.6), rng.uniform(200, 600)
    bounce = rng.uniform(0, 0.5)
    patched = rng.random() < 0.4
    bodies = []
    for limb in limbs:
        angle = None
        if times is not None:
            angle = limb.swing * np.sin(2 * np.pi * (times / rhythm + limb.phase))
            angle = angle + sample_wave(rng, FRAMES_PER_SECOND * times, 0.1)
        texture = textures[rng.integers(len(textures))] if patched else textures[0]
        body = Body(
            pieces=(_make_piece(limb, size, texture),),
            axis=limb.axis,
            stiffness=stiffness * density / 500 * size**4 * 20,
            damping=density / 500 * size**4 * 0.1,
            bounce=bounce,
            density=density,
            limb=True,
        )
        if limb.parent is not None:
            start = tuple(size * np.asarray(limb.start))
            body = replace(body, position=start, parent=first + limb.parent, motion=angle)
        bodies.append(body)
    return bodies


def depth_below(bodies: list[Body], first: int) -> float:
    """Metres that a creature at rest reaches below its origin; its first body has index `first`."""
    positions = []
    low = 0.0
    for body in bodies:
        parent = positions[body.parent - first] if body.parent is not None else np.zeros(3)
        positions.append(parent + np.asarray(body.position))
        low = min(low, (positions[-1] + body.pieces[0].position)[2] - max(body.pieces[0].size))
    return -low


def sample_trunk_motion(
    rng: Generator, times: np.ndarray, size: float, height: float
) -> np.ndarray:
    """Poses (steps, 7) of a creature's trunk, which passes the origin, bobs, sways and rotates."""
    speed = sample_log_uniform(rng, 0.2, 2.5) * np.sqrt(size) * (rng.random() < 0.85)
    clock = FRAMES_PER_SECOND * times
    heading = rng.uniform(0, 2 * np.pi) + sample_wave(rng, clock, 0.8, (20, 70))
    heading = heading + rng.normal(0, 0.5) * times
    step = np.diff(times, prepend=times[0] - (times[1] - times[0]))
    x = np.cumsum(speed * step * np.cos(heading))
    y = np.cumsum(speed * step * np.sin(heading))
    middle = len(times) // 2
    z = height + size * sample_wave(rng, clock, 0.06, (4, 16))
    rotation = quaternion_about(np.broadcast_to(UP, (len(times), 3)), heading)
    sway = sample_wave(rng, clock, 0.15, (4, 20))
    side = np.broadcast_to(SIDE, (len(times), 3))
    rotation = multiply_quaternions(rotation, quaternion_about(side, sway))
    return np.column_stack([x - x[middle], y - y[middle], z, rotation])


def sample_quadruped(rng: Generator) -> list[Limb]:
    """Dogs, horses, camels: trunk, neck, head, four legs of two parts, a tail."""
    long, thick = rng.uniform(0.28, 0.5), rng.uniform(0.1, 0.2)
    leg = rng.uniform(0.03, 0.06)
    upper, lower = rng.uniform(0.2, 0.3, 2)
    swing, knee = rng.uniform(0.2, 0.7), rng.uniform(0.2, 0.6)
    limbs = [Limb(None, (-long, 0, 0), (2 * long, 0, 0), thick, round=rng.random() < 0.5)]
    neck, rise = rng.uniform(0.15, 0.5), rng.uniform(0.2, 1.2)
    tip = neck * np.array([np.cos(rise), 0, np.sin(rise)])
    nape = (long * 0.9, 0, thick * 0.3)
    limbs.append(Limb(0, nape, tuple(tip), thick * 0.5, swing=0.25, phase=rng.random()))
    snout = (rng.uniform(0.12, 0.25), 0, -rng.uniform(0, 0.12))
    limbs.append(Limb(1, tuple(tip), snout, thick * 0.6, swing=0.3, phase=rng.random(), round=True))
    limbs += _sample_tail(rng, len(limbs), (-long, 0, thick * 0.4))
    offsets = rng.permutation([0.0, 0.5, 0.5, 0.0]) + rng.normal(0, 0.05, 4)
    for number, offset in enumerate(offsets):
        x = (long * 0.8, -long * 0.8)[number // 2]
        y = (thick * 0.7, -thick * 0.7)[number % 2]
        limbs += _make_leg(len(limbs), (x, y, 0), (upper, lower), leg, (swing, knee), offset)
    return limbs


def sample_biped(rng: Generator) -> list[Limb]:
    """People, birds: an upright trunk, a head, two arms and two legs of two parts each."""
    tall, thick = rng.uniform(0.15, 0.22), rng.uniform(0.09, 0.15)
    limb, swing = rng.uniform(0.03, 0.05), rng.uniform(0.3, 1.0)
    limbs = [Limb(None, (0, 0, -tall), (0, 0, 2 * tall), thick, round=rng.random() < 0.5)]
    skull = rng.uniform(0.07, 0.12)
    nape = (0, 0, tall + thick * 0.6)
    limbs.append(Limb(0, nape, (0, 0, 2 * skull), skull, (1.0, 0.0, 0.0), 0.3, 0.3, round=True))
    beat, lift = rng.random(), rng.uniform(0.2, 1.2)
    for side in (1, -1):
        shoulder = (0, side * (thick + limb), tall * 0.8)
        elbow = (0, side * 0.06, -0.2)
        hand = (0.05, 0, -0.19)
        phase = beat + side / 4
        number = len(limbs)
        limbs.append(Limb(0, shoulder, elbow, limb, swing=lift, phase=phase))
        limbs.append(Limb(number, elbow, hand, limb * 0.8, swing=lift * 0.5, phase=phase + 0.1))
        hip = (0, side * thick * 0.6, -tall)
        limbs += _make_leg(len(limbs), hip, (0.24, 0.26), limb * 1.3, (swing, 0.5), -side / 4)
    return limbs


def sample_worm(rng: Generator) -> list[Limb]:
    """Snakes, arms, chains: one part after another, with a wave that travels along."""
    count, long = rng.integers(5, 10), rng.uniform(0.14, 0.24)
    thick, swing = rng.uniform(0.05, 0.1), rng.uniform(0.2, 0.6)
    delay = rng.uniform(0.05, 0.2)
    limbs = [Limb(None, (0, 0, 0), (long, 0, 0), thick)]
    for number in range(1, count):
        axis = (0.0, 0.0, 1.0) if rng.random() < 0.7 else (0.0, 1.0, 0.0)
        thinner = thick * (1 - 0.6 * number / count)
        along = (long, 0, 0)
        limbs.append(Limb(number - 1, along, along, thinner, axis, swing, delay * number))
    return limbs


def _make_leg(
    number: int, hip: tuple, lengths: tuple, radius: float, swings: tuple, phase: float
) -> list[Limb]:
    """A thigh that swings and a shin that bends with it.

    number: the index of the thigh.
    lengths, swings: of thigh and shin.
    """
    knee = (0, 0, -lengths[0])
    return [
        Limb(0, hip, knee, radius * 1.3, swing=swings[0], phase=phase),
        Limb(number, knee, (0, 0, -lengths[1]), radius, swing=swings[1], phase=phase + 0.2),
    ]


def _sample_tail(rng: Generator, number: int, start: tuple) -> list[Limb]:
    long, thick = rng.uniform(0.08, 0.2), rng.uniform(0.02, 0.05)
    axis = (0.0, 0.0, 1.0) if rng.random() < 0.6 else (0.0, 1.0, 0.0)
    along = (-long, 0, -long * rng.uniform(-0.3, 0.8))
    tail = [Limb(0, start, along, thick, axis, 0.5, rng.random())]
    phase = rng.random()
    for part in range(1, rng.integers(1, 4)):
        thinner = thick * 0.8**part
        parent = number + part - 1
        tail.append(Limb(parent, along, along, thinner, axis, 0.4, phase + 0.1 * part))
    return tail


def _make_piece(limb: Limb, size: float, texture: int) -> Piece:
    """The limb as a piece whose z axis runs from its start along it."""
    start = np.zeros(3) if limb.parent is not None else np.asarray(limb.start, float)
    along = np.asarray(limb.along, float)
    long = np.linalg.norm(along)
    radius = limb.radius
    axis = np.cross(UP, along / long)
    rotation = UPRIGHT
    if np.linalg.norm(axis) >= 1e-6:
        rotation = tuple(quaternion_about(axis, np.arccos(along[2] / long)))
    kind = "ellipsoid" if limb.round else "capsule"
    half = (radius, radius, long / 2 + radius * 0.8) if limb.round else (radius, long / 2, 0.0)
    middle = tuple(size * (start + along / 2))
    return Piece(kind, tuple(size * h for h in half), middle, rotation, texture)
