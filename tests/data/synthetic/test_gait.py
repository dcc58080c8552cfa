"""Walking figures: each foot stands on the ground between its swings, where its leg carries it."""

import copy
import itertools
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from cotracker.data.synthetic.motion import project
from cotracker.data.synthetic.recipe import Recipe
from cotracker.data.synthetic.sprites import animation, articulated, bodies
from cotracker.data.synthetic.sprites.bodies import Body, sample_body
from cotracker.data.synthetic.sprites.builder import SceneBuilder
from cotracker.data.synthetic.sprites.camera import sample_camera
from cotracker.data.synthetic.sprites.gait import FASTEST, Leg, sample_gait
from cotracker.data.synthetic.textures import Textures

STRIDES = np.linspace(0, 3, 301)
STEPPING = {
    "articulated": 1.0,
    "walking": 1.0,
    "grounded": 1.0,
    "revolution": 0.0,
    "shadows": 0.0,
    "twins": 0.0,
    "still_camera": 0.0,
    "liveliness": (1.0, 1.0),
    "tilting": 1.0,
}


@pytest.mark.parametrize("bend", [-1, 1])
def test_a_leg_of_two_segments_reaches_its_foot(bend):
    rng = np.random.default_rng(bend + 1)
    gait, leg = sample_gait(rng), Leg(1.0, bend, rng.random())
    swing, fold = gait.joint_angles(leg, STRIDES)
    # from straight down, as motion.rotation_about rotates
    thigh = 0.5 * np.stack([-np.sin(swing), np.cos(swing)], axis=1)
    shin = 0.5 * np.stack([-np.sin(swing + fold), np.cos(swing + fold)], axis=1)
    foot = gait.foot_position(leg, STRIDES)
    assert np.hypot(*foot.T).max() <= 1
    assert np.abs(thigh + shin - foot).max() < 1e-9
    assert (bend * (thigh - foot / 2)[:, 0] >= 0).all()  # the knee is on the side that it bends to


@pytest.mark.parametrize("seed", range(2))
def test_a_foot_stands_while_the_body_goes_over_it_and_then_swings_ahead(seed):
    gait, leg = sample_gait(np.random.default_rng(seed)), Leg(1.0, 1, 0.0)
    hip = np.stack([gait.stride * STRIDES, -gait.hip_rise(STRIDES)], axis=1)
    on_ground = hip + gait.foot_position(leg, STRIDES) - (0, gait.height)
    standing = np.mod(STRIDES, 1) < gait.stance
    for number in range(3):
        step = on_ground[standing & (np.floor(STRIDES) == number)]
        assert len(step) > 25 and np.ptp(step, axis=0).max() < 1e-9
        assert np.abs(step[0] - (number * gait.stride + gait.reach, 0)).max() < 1e-9
    assert on_ground[~standing][:, 1].min() == pytest.approx(-gait.lift, rel=0.01)
    assert (np.diff(on_ground[:, 0]) > -1e-9).all()


class Walk(NamedTuple):
    """A figure on its ground.

    over, seen: F T 2, its feet over the ground and in the frame.
    strides: (T,) made.
    middle: T 2, its centre in the frame.
    """

    builder: SceneBuilder
    body: Body
    over: np.ndarray
    seen: np.ndarray
    strides: np.ndarray
    middle: np.ndarray


def sample_walk(seed: int, monkeypatch, pan: float | None = None, **settings) -> Walk:
    """A figure that walks over the background for 72 frames; pan: pixels a frame of the scene."""
    recipe = Recipe(**{"frames": 72, "height": 192, "width": 256, **STEPPING, **settings})
    rng, times = np.random.default_rng(seed), np.arange(72.0)
    camera = sample_camera(recipe, rng, times)
    if pan is not None:
        camera = replace(camera, pan=np.outer(times, [pan, 0]), zoom=np.ones(72), roll=np.zeros(72))
    builder = SceneBuilder(recipe, Textures(None, 1.0), rng, times, camera)
    ground = builder.build_background()
    body = sample_body(recipe, builder.textures, copy.deepcopy(rng), ground.canvas)
    walks, sample = [], builder.animator.sample_walk_on_ground

    def recording(body):
        walks.append(sample(body))
        return walks[-1]

    monkeypatch.setattr(builder.animator, "sample_walk_on_ground", recording)
    layers = builder.build_object(1.2, ground.canvas)
    assert len(layers) == len(body.parts) and body.gait is not None
    over, seen = [], []
    for part, (_, offset), layer in zip(body.parts, body.canvases, layers):
        if part.leg is not None and len(part.joints) == 2:
            hip = part.joints[0]
            foot = np.array([hip.x, hip.y + part.leg.length]) * body.radius - offset
            seen.append(layer.from_canvas(np.tile(foot, (72, 1)), np.arange(72)))
            over.append(ground.to_canvas(seen[-1], np.arange(72)))
    view, strides = walks[0]
    middle = project(view, np.zeros((72, 2)))
    return Walk(builder, body, np.array(over), np.array(seen), strides, middle)


def speeds(path: np.ndarray) -> np.ndarray:
    """Pixels a frame (F, T - 1) of paths F T 2."""
    return np.linalg.norm(np.diff(path, axis=1), axis=-1)


@pytest.mark.parametrize("seed", range(2))
def test_feet_stand_on_the_background_and_swing_on(seed, monkeypatch):
    walk = sample_walk(seed, monkeypatch, speed=(0.01, 0.03))
    over, radius = speeds(walk.over), walk.body.radius
    assert (
        len(over) in (2, 4) and speeds(walk.seen).min(0).max() > 1e-3 * radius
    )  # the ground itself moves
    still = over < 1e-3 * radius
    assert 0.2 < still.mean() < 0.8
    assert (still.any(1) & (over > 0.01 * radius).any(1)).all()  # each of them does both


@pytest.mark.parametrize("seed", range(2))
def test_a_figure_keeps_its_place_in_the_frame_where_the_camera_follows(seed, monkeypatch):
    settings = {"object_size": (0.4, 0.4), "tilting": 0.0, "speed": (1e-3, 1e-3)}
    direction = 1 if seed % 2 else -1
    parts = articulated.sample_animal(np.random.default_rng(seed))
    monkeypatch.setattr(
        bodies,
        "_sample_parts",
        lambda *_: (parts if direction > 0 else articulated.mirror(parts), direction),
    )
    kept = {}
    for way, followed in itertools.product(
        (-1, 1), (0.0, 1.0)
    ):  # the scene passes backwards, or as it walks
        walk = sample_walk(seed, monkeypatch, 8.0 * way * direction, **settings, followed=followed)
        kept[way, followed] = bool(
            np.ptp(walk.middle[:, 0]) < 0.1 * 8.0 * 72
        )  # on a slope it is not quite kept
    assert kept == {(-1, 0.0): False, (-1, 1.0): True, (1, 0.0): False, (1, 1.0): False}


def test_no_figure_steps_faster_than_can_be_seen(monkeypatch):
    monkeypatch.setattr(animation, "RHYTHM", (1, 1.5))  # frames a stride: too fast
    for seed in range(3):
        walk = sample_walk(seed, monkeypatch, speed=(0.5, 0.9), still_camera=1.0, followed=0.0)
        assert np.diff(walk.strides).max() == pytest.approx(FASTEST, rel=1e-6) and FASTEST <= 0.25


def test_figures_begin_anywhere_in_their_stride(monkeypatch):
    first = [sample_walk(seed, monkeypatch).strides[0] % 1 for seed in range(6)]
    assert np.ptp(first) > 0.3


@pytest.mark.parametrize("seed", range(2))
def test_an_arm_is_back_while_its_sides_foot_is_ahead(seed, monkeypatch):
    """Of a person: arm and leg of a side lie one upon the other."""
    rng = np.random.default_rng(seed)
    parts, gait = articulated.sample_person(rng), sample_gait(rng)
    monkeypatch.setattr(bodies, "_sample_parts", lambda recipe, rng: (parts, 1))
    monkeypatch.setattr(bodies, "sample_gait", lambda rng: gait)
    walk = sample_walk(seed, monkeypatch)
    poses = walk.builder.animator.sample_part_poses(walk.body, STRIDES)
    hand, foot = parts[0], parts[2]  # the far side's: forearm, upper arm, shin, thigh
    reach = []
    for number, part in ((0, hand), (2, foot)):
        _, offset = walk.body.canvases[number]
        tip = part.outline[part.outline[:, 1].argmax()] * walk.body.radius - offset
        reach.append(project(poses[number], np.tile(tip, (len(STRIDES), 1)))[:, 0])
    assert np.corrcoef(*reach)[0, 1] < -0.5


def test_legs_only_swing_where_nothing_is_grounded():
    recipe, behind = Recipe(**{**STEPPING, "grounded": 0.0}), np.zeros((64, 64, 4), np.uint8)
    sampled = [
        sample_body(recipe, Textures(None, 1.0), np.random.default_rng(seed), behind)
        for seed in range(5)
    ]
    assert all(body.direction and body.gait is None for body in sampled)
