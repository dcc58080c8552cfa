"""Things with limbs: trees of capsules and ellipsoids joined by hinges, that walk, swim, or fall as they like."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic.motion import sample_log_uniform, sample_wave
from cotracker.data.synthetic.scenes3d.scene import (
    ORIGIN,
    UPRIGHT,
    Body,
    Piece,
    combined,
    turn_about,
)

SIDE, UP = np.eye(3)[1:]


@dataclass(frozen=True)
class Limb:
    """A capsule or ellipsoid from `start` (in its parent) along `along` (3,), of `radius`; all in units of its owner.

    swing: radians to either side; phase: share of a period.  round: an ellipsoid.
    """

    parent: int | None
    start: tuple
    along: tuple
    radius: float
    axis: tuple = (0.0, 1.0, 0.0)
    swing: float = 0.0
    phase: float = 0.0
    round: bool = False


def creature(
    rng: Generator, size: float, first: int, textures: list[int], times: np.ndarray | None
) -> list[Body]:
    """The bodies of a creature about `size` metres tall that stands at the origin, looking along x.

    first: the number of its first body in the scene.  textures: to choose among, the trunk's first.  times: of the
    physics' steps, where it moves its limbs itself; None leaves it limp.
    """
    limbs = (quadruped, quadruped, biped, worm)[rng.integers(4)](rng)
    rhythm, stiff = sample_log_uniform(rng, 0.45, 1.6), rng.uniform(0.0, 0.6)
    density, bounce = rng.uniform(200, 600), rng.uniform(0, 0.5)
    patched = rng.random() < 0.4
    bodies = []
    for limb in limbs:
        angle = None
        if times is not None:
            angle = limb.swing * np.sin(2 * np.pi * (times / rhythm + limb.phase)) + sample_wave(
                rng, 12 * times, 0.1
            )
        texture = textures[rng.integers(len(textures))] if patched else textures[0]
        bodies.append(
            Body(
                pieces=(_piece(limb, size, texture),),
                position=tuple(size * np.asarray(limb.start))
                if limb.parent is not None
                else ORIGIN,
                parent=None if limb.parent is None else first + limb.parent,
                axis=limb.axis,
                motion=None if limb.parent is None else angle,
                stiffness=stiff * density / 500 * size**4 * 20,
                damping=density / 500 * size**4 * 0.1,
                bounce=bounce,
                density=density,
                limb=True,
            )
        )
    return bodies


def below(bodies: list[Body], first: int) -> float:
    """How far a creature at rest, whose first body is number `first`, reaches below its origin, metres."""
    places, low = [], 0.0
    for body in bodies:
        hung = places[body.parent - first] if body.parent is not None else np.zeros(3)
        places.append(hung + np.asarray(body.position))
        low = min(low, (places[-1] + body.pieces[0].position)[2] - max(body.pieces[0].size))
    return -low


def gait(rng: Generator, times: np.ndarray, size: float, height: float) -> np.ndarray:
    """The places (steps, 7) of a creature's trunk: it goes its way through the origin, bobs, sways and turns."""
    speed = sample_log_uniform(rng, 0.2, 2.5) * np.sqrt(size) * (rng.random() < 0.85)
    heading = (
        rng.uniform(0, 2 * np.pi)
        + sample_wave(rng, 12 * times, 0.8, (20, 70))
        + rng.normal(0, 0.5) * times
    )
    step = np.diff(times, prepend=times[0] - (times[1] - times[0]))
    x, y = np.cumsum(speed * step * np.cos(heading)), np.cumsum(speed * step * np.sin(heading))
    middle = len(times) // 2
    z = height + size * sample_wave(rng, 12 * times, 0.06, (4, 16))
    turn = turn_about(np.broadcast_to(UP, (len(times), 3)), heading)
    turn = combined(
        turn,
        turn_about(
            np.broadcast_to(SIDE, (len(times), 3)), sample_wave(rng, 12 * times, 0.15, (4, 20))
        ),
    )
    return np.column_stack([x - x[middle], y - y[middle], z, turn])


def quadruped(rng: Generator) -> list[Limb]:
    """Dogs, horses, camels: trunk, neck, head, four legs of two parts, a tail."""
    long, thick = rng.uniform(0.28, 0.5), rng.uniform(0.1, 0.2)
    leg = rng.uniform(0.03, 0.06)
    upper, lower = rng.uniform(0.2, 0.3, 2)
    swing, knee = rng.uniform(0.2, 0.7), rng.uniform(0.2, 0.6)
    limbs = [Limb(None, (-long, 0, 0), (2 * long, 0, 0), thick, round=rng.random() < 0.5)]
    neck = rng.uniform(0.15, 0.5)
    rise = rng.uniform(0.2, 1.2)
    tip = neck * np.array([np.cos(rise), 0, np.sin(rise)])
    limbs.append(
        Limb(
            0, (long * 0.9, 0, thick * 0.3), tuple(tip), thick * 0.5, swing=0.25, phase=rng.random()
        )
    )
    snout = (rng.uniform(0.12, 0.25), 0, -rng.uniform(0, 0.12))
    limbs.append(Limb(1, tuple(tip), snout, thick * 0.6, swing=0.3, phase=rng.random(), round=True))
    limbs += _tail(rng, len(limbs), (-long, 0, thick * 0.4))
    offsets = rng.permutation([0.0, 0.5, 0.5, 0.0]) + rng.normal(0, 0.05, 4)
    for number, offset in enumerate(offsets):
        x, y = (long * 0.8, -long * 0.8)[number // 2], (thick * 0.7, -thick * 0.7)[number % 2]
        limbs += _leg(len(limbs), (x, y, 0), upper, lower, leg, swing, knee, offset)
    return limbs


def biped(rng: Generator) -> list[Limb]:
    """People, birds: an upright trunk, a head, two arms and two legs of two parts each."""
    tall, thick = rng.uniform(0.15, 0.22), rng.uniform(0.09, 0.15)
    limb, swing = rng.uniform(0.03, 0.05), rng.uniform(0.3, 1.0)
    limbs = [Limb(None, (0, 0, -tall), (0, 0, 2 * tall), thick, round=rng.random() < 0.5)]
    skull = rng.uniform(0.07, 0.12)
    limbs.append(
        Limb(
            0, (0, 0, tall + thick * 0.6), (0, 0, 2 * skull), skull, (1.0, 0.0, 0.0), 0.3, 0.3, True
        )
    )
    beat, lift = rng.random(), rng.uniform(0.2, 1.2)
    for side in (1, -1):
        shoulder, out = (0, side * (thick + limb), tall * 0.8), (0, side * 0.06, -0.2)
        limbs += [
            Limb(0, shoulder, out, limb, swing=lift, phase=beat + side / 4),
            Limb(
                len(limbs),
                out,
                (0.05, 0, -0.19),
                limb * 0.8,
                swing=lift * 0.5,
                phase=beat + side / 4 + 0.1,
            ),
        ]
        limbs += _leg(
            len(limbs),
            (0, side * thick * 0.6, -tall),
            0.24,
            0.26,
            limb * 1.3,
            swing,
            0.5,
            -side / 4,
        )
    return limbs


def worm(rng: Generator) -> list[Limb]:
    """Snakes, arms, chains: one part after another, with a wave that travels along."""
    count, long, thick = rng.integers(5, 10), rng.uniform(0.14, 0.24), rng.uniform(0.05, 0.1)
    swing, delay = rng.uniform(0.2, 0.6), rng.uniform(0.05, 0.2)
    limbs = [Limb(None, (0, 0, 0), (long, 0, 0), thick)]
    for number in range(1, count):
        axis = (0.0, 0.0, 1.0) if rng.random() < 0.7 else (0.0, 1.0, 0.0)
        thinner = thick * (1 - 0.6 * number / count)
        limbs.append(
            Limb(number - 1, (long, 0, 0), (long, 0, 0), thinner, axis, swing, delay * number)
        )
    return limbs


def _leg(
    number: int,
    hip: tuple,
    upper: float,
    lower: float,
    radius: float,
    swing: float,
    knee: float,
    phase: float,
):
    """A thigh that swings and a shin that bends with it."""
    return [
        Limb(0, hip, (0, 0, -upper), radius * 1.3, swing=swing, phase=phase),
        Limb(number, (0, 0, -upper), (0, 0, -lower), radius, swing=knee, phase=phase + 0.2),
    ]


def _tail(rng: Generator, number: int, start: tuple) -> list[Limb]:
    long, thick = rng.uniform(0.08, 0.2), rng.uniform(0.02, 0.05)
    axis = (0.0, 0.0, 1.0) if rng.random() < 0.6 else (0.0, 1.0, 0.0)
    along = (-long, 0, -long * rng.uniform(-0.3, 0.8))
    tail, phase = [Limb(0, start, along, thick, axis, 0.5, rng.random())], rng.random()
    for part in range(1, rng.integers(1, 4)):
        tail.append(
            Limb(number + part - 1, along, along, thick * 0.8**part, axis, 0.4, phase + 0.1 * part)
        )
    return tail


def _piece(limb: Limb, size: float, texture: int) -> Piece:
    """The limb as a piece whose z runs from its start along it."""
    start = np.zeros(3) if limb.parent is not None else np.asarray(limb.start, float)
    along = np.asarray(limb.along, float)
    long, radius = np.linalg.norm(along), limb.radius
    axis = np.cross(UP, along / long)
    turn = (
        UPRIGHT
        if np.linalg.norm(axis) < 1e-6
        else tuple(turn_about(axis, np.arccos(along[2] / long)))
    )
    half = (radius, radius, long / 2 + radius * 0.8) if limb.round else (radius, long / 2, 0.0)
    return Piece(
        "ellipsoid" if limb.round else "capsule",
        tuple(size * h for h in half),
        tuple(size * (start + along / 2)),
        turn,
        texture,
    )
