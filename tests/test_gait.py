"""Figures that step: each foot stands on the ground between its swings, and the legs are what carries it there."""

import copy

import numpy as np
import pytest

from cotracker.data.synthetic.bodies import draw_body
from cotracker.data.synthetic.camera import draw_camera
from cotracker.data.synthetic.gait import FASTEST, Leg, draw_gait
from cotracker.data.synthetic.motion import project
from cotracker.data.synthetic.recipe import Recipe
from cotracker.data.synthetic.things import Stage
from cotracker.data.textures import Textures

TURNS = np.linspace(0, 3, 301)
STEPPING = {"articulated": 1.0, "walking": 1.0, "grounded": 1.0, "lathe": 0.0, "shadows": 0.0, "twins": 0.0,
            "still_camera": 0.0, "liveliness": (1.0, 1.0), "tilting": 0.0, "bending": 0.0}  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bend", [-1, 1])
def test_a_leg_of_two_segments_reaches_its_foot(seed, bend):
    rng = np.random.default_rng(seed)
    gait, leg = draw_gait(rng), Leg(1.0, bend, rng.random())
    swing, fold = gait.angles(leg, TURNS)
    thigh = 0.5 * np.stack([-np.sin(swing), np.cos(swing)], axis=1)  # from straight down, turned as motion.swing turns
    shin = 0.5 * np.stack([-np.sin(swing + fold), np.cos(swing + fold)], axis=1)
    foot = gait.foot(leg, TURNS)
    assert np.hypot(*foot.T).max() <= 1
    assert np.abs(thigh + shin - foot).max() < 1e-9
    assert (bend * (thigh - foot / 2)[:, 0] >= 0).all()  # the knee is on the side that it bends to


@pytest.mark.parametrize("seed", range(5))
def test_a_foot_stands_while_the_body_goes_over_it_and_then_swings_ahead(seed):
    gait, leg = draw_gait(np.random.default_rng(seed)), Leg(1.0, 1, 0.0)
    hip = np.stack([gait.stride * TURNS, -gait.rise(TURNS)], axis=1)
    on_ground = hip + gait.foot(leg, TURNS) - (0, gait.height)
    standing = np.mod(TURNS, 1) < gait.stance
    for number in range(3):
        step = on_ground[standing & (np.floor(TURNS) == number)]
        assert len(step) > 25 and np.ptp(step, axis=0).max() < 1e-9
        assert np.abs(step[0] - (number * gait.stride + gait.reach, 0)).max() < 1e-9
    assert on_ground[~standing][:, 1].min() == pytest.approx(-gait.lift, rel=0.01)
    assert (np.diff(on_ground[:, 0]) > -1e-9).all()


def walked(seed: int, **settings) -> tuple[np.ndarray, float]:
    """How far each foot of a figure goes over moving ground, (F, T - 1) px a frame, and the figure's radius."""
    recipe = Recipe(**{"frames": 72, "height": 192, "width": 256, **STEPPING, **settings})
    rng, times = np.random.default_rng(seed), np.arange(72.0)
    stage = Stage(recipe, Textures(None, 1.0), rng, times, draw_camera(recipe, rng, times))
    ground = stage.background()
    body = draw_body(recipe, stage.textures, copy.deepcopy(rng), ground.canvas)
    layers = stage.thing(1.2, ground.canvas)
    assert len(layers) == len(body.parts) and body.gait is not None
    over = []
    for part, (_, offset), layer in zip(body.parts, body.canvases, layers):
        if part.leg is not None and len(part.joints) == 2:
            hip = part.joints[0]
            foot = (np.array([hip.x, hip.y + part.leg.length])) * body.radius - offset
            seen = layer.from_canvas(np.tile(foot, (72, 1)), np.arange(72))
            below = project(np.linalg.inv(stage.camera.at_depth(1.0)), seen)
            over.append(np.linalg.norm(np.diff(below, axis=0), axis=1))
    return np.array(over), body.radius


@pytest.mark.parametrize("followed", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_feet_stand_on_the_ground_in_the_frame_and_swing_on(seed, followed):
    over, radius = walked(seed, speed=(0.01, 0.03), followed=followed)
    assert len(over) in (2, 4)
    still = over < 1e-3 * radius
    assert 0.2 < still.mean() < 0.8
    assert (still.any(1) & (over > 0.01 * radius).any(1)).all()  # each of them does both


def test_no_figure_steps_faster_than_can_be_seen():
    over, radius = walked(1, speed=(0.5, 0.9), object_size=(0.1, 0.1), still_camera=1.0)
    assert over.max() < 6 * radius and (over < 1e-3 * radius).any()  # a stride is at most some two radii
    assert FASTEST <= 0.25


def test_legs_only_swing_where_nothing_is_grounded():
    recipe = Recipe(**{**STEPPING, "grounded": 0.0})
    bodies = [
        draw_body(recipe, Textures(None, 1.0), np.random.default_rng(k), np.zeros((64, 64, 4), np.uint8))
        for k in range(5)
    ]
    assert all(body.facing and body.gait is None for body in bodies)
