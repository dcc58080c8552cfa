"""Figures with joints: animals, people, machines.

Units are those of their radius, y down; parts come from the lowest to the top.
"""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic.sprites.gait import Leg
from cotracker.data.synthetic.sprites.shapes import Joint, Part, make_limb, sample_blob


def sample_animal(rng: Generator) -> list[Part]:
    """A four-footed animal that looks to the right: torso, neck, head, legs and tail."""
    back, thick = rng.uniform(-0.35, -0.1), rng.uniform(0.14, 0.32)
    rump = np.array([-rng.uniform(0.35, 0.6), back])
    chest = np.array([rng.uniform(0.3, 0.5), back])
    length = (0.95 - back) * rng.uniform(0.75, 1.0)
    lag = rng.random()
    bends = rng.choice((-1, 1), 2)
    girth = rng.uniform(0.3, 0.6) * thick
    legs = []
    for far in (True, False):
        for number, hip in enumerate((rump, chest)):
            phase = number * lag + 0.5 * far
            legs.append(
                _make_leg(hip + (0.05 * far, 0.3 * thick), length, girth, phase, bends[number])
            )
    neck_joint = Joint(*chest, 0.25, rng.random())
    tip = chest + rng.uniform(0.25, 0.55) * _unit_vector(rng.uniform(-1.3, -0.2))
    nose = tip + rng.uniform(0.15, 0.35) * _unit_vector(rng.uniform(-0.2, 0.8))
    neck = Part(make_limb(chest, tip, 0.7 * thick, 0.5 * thick), joints=(neck_joint,))
    nod = Joint(*tip, 0.3, rng.random())
    skull = make_limb(tip, nose, rng.uniform(0.5, 0.7) * thick, 0.3 * thick)
    head = Part(skull, joints=(neck_joint, nod))
    torso = Part(make_limb(rump, chest, thick * rng.uniform(0.8, 1.1), thick))
    root = rump - (0.6 * thick, 0)
    heading = rng.uniform(1.8, 3.4)
    tail = _sample_chain(rng, root, heading, 0.3 * girth, rng.uniform(0.3, 0.7), 2)
    return [*tail, *legs[0], *legs[1], neck, torso, head, *legs[2], *legs[3]]


def sample_person(rng: Generator) -> list[Part]:
    """A person who walks to the right: torso, head, arms and legs, each pair in antiphase."""
    thick = rng.uniform(0.13, 0.2)
    top = np.array([0.0, -0.45])
    hip = np.array([0.0, rng.uniform(0.0, 0.12)])
    head = make_limb(top + (0, -0.3), top + (0.02, -0.25), rng.uniform(0.11, 0.17), 0.13)
    nod = Joint(*(top + (0, -0.15)), 0.15, rng.random())
    limbs = []
    for far in (True, False):
        leg = _make_leg(hip, 1 - hip[1], 0.6 * thick, 0.5 * far, 1)
        arm = _make_leg(top + (0, 0.05), rng.uniform(0.6, 0.75), 0.4 * thick, 0.5 * (not far), -1)
        limbs.append(([replace(part, leg=None) for part in arm], leg))
    (far_arm, far_leg), (near_arm, near_leg) = limbs
    torso = Part(make_limb(top, hip, thick * rng.uniform(0.9, 1.2), thick))
    return [*far_arm, *far_leg, Part(head, joints=(nod,)), *near_leg, torso, *near_arm]


def sample_machine(rng: Generator) -> list[Part]:
    """A body with 2 to 6 limbs of 1 to 3 segments anywhere around it, half of them behind it."""
    body = sample_blob(rng) * rng.uniform(0.3, 0.55)
    behind, front = [], []
    for number, side in enumerate(rng.permutation(rng.integers(2, 7))):
        corner = body[int(side * 64 / 6 + rng.integers(0, 10)) % 64]
        segments = int(rng.integers(1, 4))
        heading = np.arctan2(corner[1], corner[0]) + rng.normal(0, 0.4)
        length = rng.uniform(0.45, 0.9) * segments**0.3
        limbs = _sample_chain(rng, 0.8 * corner, heading, rng.uniform(0.08, 0.18), length, segments)
        (behind if number % 2 else front).extend(limbs)
    return [*behind, Part(body), *front]


def mirror(parts: list[Part]) -> list[Part]:
    """The same figure looking to the other side."""
    flip = np.array([-1, 1])

    def flip_part(part: Part) -> Part:
        hole = None if part.hole is None else part.hole * flip
        joints = tuple(replace(one, x=-one.x, share=-one.share) for one in part.joints)
        return replace(part, outline=part.outline * flip, hole=hole, joints=joints)

    return [flip_part(part) for part in parts]


def _unit_vector(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])


def _make_leg(hip: np.ndarray, length: float, girth: float, phase: float, bend: int) -> list[Part]:
    """Shin and thigh, straight down from `hip`; the knee bends to one side only."""
    knee = hip + (0, 0.5 * length)
    foot = hip + (0, length)
    swing = Joint(*hip, 0.9, phase)
    fold = Joint(*knee, 0.45 * bend, phase + 0.75, lean=1.0)
    leg = Leg(length, bend, phase)
    thigh = Part(make_limb(hip, knee, 1.3 * girth, 0.8 * girth), joints=(swing,), leg=leg)
    shin = make_limb(knee, foot, 0.8 * girth, 0.55 * girth)
    return [Part(shin, joints=(swing, fold), leg=leg), thigh]


def _sample_chain(
    rng: Generator, root, heading: float, radius: float, length: float, segments: int
) -> list[Part]:
    """Segments end to end from `root`, the last lowest, each hanging from the joints before it."""
    phase = rng.random()
    parts = []
    joints = ()
    for _ in range(segments):
        tip = root + length / segments * _unit_vector(heading)
        joints = (*joints, Joint(*root, rng.uniform(0.4, 1), phase))
        parts.append(Part(make_limb(root, tip, radius, radius * 0.8), joints=joints))
        root = tip
        radius *= 0.8
        heading += rng.normal(0, 0.5)
        phase += rng.uniform(0.05, 0.25)
    return parts[::-1]
