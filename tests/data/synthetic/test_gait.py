"""Figures that step: each foot stands on the ground between its swings, and the legs are what carries it there."""

import copy
import itertools
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from cotracker.data.synthetic.motion import project
from cotracker.data.synthetic.recipe import Recipe
from cotracker.data.synthetic.sprites import articulated as figures
from cotracker.data.synthetic.sprites import bodies
from cotracker.data.synthetic.sprites import objects as things
from cotracker.data.synthetic.sprites.bodies import Body, draw_body
from cotracker.data.synthetic.sprites.camera import draw_camera
from cotracker.data.synthetic.sprites.gait import FASTEST, Leg, draw_gait
from cotracker.data.synthetic.sprites.objects import Stage
from cotracker.data.synthetic.textures import Textures

TURNS = np.linspace(0, 3, 301)
STEPPING = {"articulated": 1.0, "walking": 1.0, "grounded": 1.0, "lathe": 0.0, "shadows": 0.0, "twins": 0.0,
            "still_camera": 0.0, "liveliness": (1.0, 1.0), "tilting": 1.0}  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bend", [-1, 1])
def test_a_leg_of_two_segments_reaches_its_foot(seed, bend):
    rng = np.random.default_rng(seed)
    gait, leg = draw_gait(rng), Leg(1.0, bend, rng.random())
    swing, fold = gait.angles(leg, TURNS)
    thigh = 0.5 * np.stack(
        [-np.sin(swing), np.cos(swing)], axis=1
    )  # from straight down, turned as motion.swing turns
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


class Walk(NamedTuple):
    """A figure on its ground: its feet over the ground, and in the frame, F T 2, strides made (T,), its middle T 2."""

    stage: Stage
    body: Body
    over: np.ndarray
    seen: np.ndarray
    turns: np.ndarray
    middle: np.ndarray


def walked(seed: int, monkeypatch, pan: float | None = None, **settings) -> Walk:
    """A figure that walks over the background as it is drawn, for 72 frames; pan: of the scene, if no other camera."""
    recipe = Recipe(**{"frames": 72, "height": 192, "width": 256, **STEPPING, **settings})
    rng, times = np.random.default_rng(seed), np.arange(72.0)
    camera = draw_camera(recipe, rng, times)
    if pan is not None:
        camera = replace(camera, pan=np.outer(times, [pan, 0]), zoom=np.ones(72), roll=np.zeros(72))
    stage = Stage(recipe, Textures(None, 1.0), rng, times, camera)
    ground = stage.background()
    body = draw_body(recipe, stage.textures, copy.deepcopy(rng), ground.canvas)
    strides, stepping = [], stage._stepping

    def listened(body):
        strides.append(stepping(body))
        return strides[-1]

    monkeypatch.setattr(stage, "_stepping", listened)
    layers = stage.thing(1.2, ground.canvas)
    assert len(layers) == len(body.parts) and body.gait is not None
    over, seen = [], []
    for part, (_, offset), layer in zip(body.parts, body.canvases, layers):
        if part.leg is not None and len(part.joints) == 2:
            hip = part.joints[0]
            foot = np.array([hip.x, hip.y + part.leg.length]) * body.radius - offset
            seen.append(layer.from_canvas(np.tile(foot, (72, 1)), np.arange(72)))
            over.append(ground.to_canvas(seen[-1], np.arange(72)))
    view, turns = strides[0]
    return Walk(
        stage, body, np.array(over), np.array(seen), turns, project(view, np.zeros((72, 2)))
    )


def paces(path: np.ndarray) -> np.ndarray:
    """Pixels a frame (F, T - 1) of paths F T 2."""
    return np.linalg.norm(np.diff(path, axis=1), axis=-1)


@pytest.mark.parametrize("seed", range(6))
def test_feet_stand_on_the_background_as_it_is_drawn_and_swing_on(seed, monkeypatch):
    walk = walked(seed, monkeypatch, speed=(0.01, 0.03))
    over, radius = paces(walk.over), walk.body.radius
    assert (
        len(over) in (2, 4) and paces(walk.seen).min(0).max() > 1e-3 * radius
    )  # the ground itself moves
    still = over < 1e-3 * radius
    assert 0.2 < still.mean() < 0.8
    assert (still.any(1) & (over > 0.01 * radius).any(1)).all()  # each of them does both


@pytest.mark.parametrize("seed", range(4))
def test_a_figure_keeps_its_place_in_the_frame_where_the_camera_follows(seed, monkeypatch):
    settings = {"object_size": (0.4, 0.4), "tilting": 0.0, "speed": (1e-3, 1e-3)}
    facing = 1 if seed % 2 else -1
    parts = figures.animal(np.random.default_rng(seed))
    monkeypatch.setattr(
        bodies, "_parts", lambda *_: (parts if facing > 0 else figures.mirrored(parts), facing)
    )
    kept = {}
    for way, followed in itertools.product(
        (-1, 1), (0.0, 1.0)
    ):  # the scene passes backwards, or as it walks
        walk = walked(seed, monkeypatch, 8.0 * way * facing, **settings, followed=followed)
        kept[way, followed] = bool(
            np.ptp(walk.middle[:, 0]) < 0.1 * 8.0 * 72
        )  # on a slope it is not quite kept
    assert kept == {(-1, 0.0): False, (-1, 1.0): True, (1, 0.0): False, (1, 1.0): False}


def test_no_figure_steps_faster_than_can_be_seen(monkeypatch):
    monkeypatch.setattr(things, "RHYTHM", (1, 1.5))  # frames a stride: wanted, and not given
    for seed in range(3):
        walk = walked(seed, monkeypatch, speed=(0.5, 0.9), still_camera=1.0, followed=0.0)
        assert np.diff(walk.turns).max() == pytest.approx(FASTEST, rel=1e-6) and FASTEST <= 0.25


def test_figures_begin_anywhere_in_their_stride(monkeypatch):
    first = [walked(seed, monkeypatch).turns[0] % 1 for seed in range(6)]
    assert np.ptp(first) > 0.3


@pytest.mark.parametrize("seed", range(4))
def test_an_arm_is_back_while_its_sides_foot_is_ahead(seed, monkeypatch):
    """Of a person: arm and leg of a side are drawn one after the other."""
    rng = np.random.default_rng(seed)
    parts, gait = figures.person(rng), draw_gait(rng)
    monkeypatch.setattr(bodies, "_parts", lambda recipe, rng: (parts, 1))
    monkeypatch.setattr(bodies, "draw_gait", lambda rng: gait)
    walk = walked(seed, monkeypatch)
    places = walk.stage._places(walk.body, TURNS)
    hand, foot = parts[0], parts[2]  # the far side's: forearm, upper arm, shin, thigh
    reach = []
    for number, part in ((0, hand), (2, foot)):
        (_, offset), place = walk.body.canvases[number], places[number]
        tip = part.outline[part.outline[:, 1].argmax()] * walk.body.radius - offset
        reach.append(project(place, np.tile(tip, (len(TURNS), 1)))[:, 0])
    assert np.corrcoef(*reach)[0, 1] < -0.5


def test_legs_only_swing_where_nothing_is_grounded():
    recipe, behind = Recipe(**{**STEPPING, "grounded": 0.0}), np.zeros((64, 64, 4), np.uint8)
    drawn = [
        draw_body(recipe, Textures(None, 1.0), np.random.default_rng(seed), behind)
        for seed in range(5)
    ]
    assert all(body.facing and body.gait is None for body in drawn)
