"""The layers of the things in a scene: their paths, turning, limbs and shadows."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic import motion
from cotracker.data.synthetic.recipe import Recipe
from cotracker.data.synthetic.sprites import shapes
from cotracker.data.synthetic.sprites.bodies import Body, cut_out, draw_body, rounded
from cotracker.data.synthetic.sprites.camera import Camera
from cotracker.data.synthetic.sprites.gait import FASTEST
from cotracker.data.synthetic.sprites.layers import Layer
from cotracker.data.synthetic.sprites.warps import Bend
from cotracker.data.synthetic.textures import Textures

RHYTHM = (6, 36)  # frames that limbs take to swing, or feet to make a stride


class Stage:
    """Makes the layers of one clip: what all of its things share is kept here.

    sun: where shadows fall, (2,) in radii of the thing that casts them.  speed: of this clip's things, its top drawn
    from the highest eighth of the recipe's range up, so that there are calm clips and wild ones.  ground: the
    unbent background, as scene -> frame (K, 3, 3); there once `background` is drawn.
    """

    ground: np.ndarray

    def __init__(
        self, recipe: Recipe, textures: Textures, rng: Generator, times: np.ndarray, camera: Camera
    ):
        self.recipe, self.textures, self.rng, self.times, self.camera = (
            recipe,
            textures,
            rng,
            times,
            camera,
        )
        self.size = np.array([recipe.width, recipe.height])
        self.sun = rng.uniform(-0.6, 0.6, 2)
        low, high = recipe.speed
        self.speed = low, motion.log_uniform(rng, max(low, high / 8), high)

    def background(self) -> Layer:
        """The ground, endless, a little tilted and bent at most."""
        rng, times, recipe = self.rng, self.times, self.recipe
        tilt = np.radians(recipe.tilt) * 0.3 * (rng.random() < recipe.tilting)
        yaw, pitch = (motion.wave(rng, times, tilt) for _ in range(2))
        turned = motion.card(1.0, 1.0, 0.0, yaw, pitch, focal=3.5 * recipe.width)
        view = self.camera.at_depth(1.0) @ motion.shift(self.size / 2) @ turned
        corner, (width, height) = self._seen(view)
        colour = self.textures.draw(rng, height, width)
        self.ground = view @ motion.shift(-self.size / 2)
        bent = rng.random() < 0.5 * recipe.bending * (
            1 - recipe.grounded
        )  # feet do not stand on what bends
        bend = self._bend(min(self.size), 0.5) if bent else None
        place = np.broadcast_to(motion.shift(corner), view.shape)
        canvas = np.dstack([colour, np.full((height, width), 255, np.uint8)])
        return Layer(canvas, place, view, np.ones(len(times)), bend, endless=True)

    def _seen(self, view: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """First corner (x, y) and size of the ground that the frames show, at most 2.4 frames a side."""
        corners = np.array([(x, y) for x in (0.0, self.size[0]) for y in (0.0, self.size[1])])
        ground = motion.project(np.linalg.inv(view)[:, None], corners).reshape(-1, 2)
        low, high = ground.min(0) - 4, ground.max(0) + 4
        size = np.minimum(high - low, 2.4 * self.size).astype(int)
        return (low + high - size) / 2, (int(size[0]), int(size[1]))

    def thing(self, parallax: float, behind: np.ndarray) -> list[Layer]:
        """The layers of one thing from the back: perhaps a shadow, its parts, perhaps a twin elsewhere."""
        body = draw_body(self.recipe, self.textures, self.rng, behind)
        layers = self._moving(body, parallax)
        if self.rng.random() < self.recipe.twins:
            layers += self._moving(body, parallax)
        return layers

    def _moving(self, body: Body, parallax: float) -> list[Layer]:
        rng, recipe, times = self.rng, self.recipe, self.times
        turns = None
        if body.gait is None:
            view = self._view(body, parallax)
        else:
            view, turns = self._stepping(body)
        bendable = body.gait is None and rng.random() < recipe.bending
        bend = self._bend(2 * body.radius, 1.0) if bendable else None
        gain = np.ones(len(times))
        if rng.random() < recipe.shading:
            gain = np.exp(rng.normal(0, 0.1) + motion.wave(rng, times, 0.35))
        lathe = None
        if body.lathe is not None:
            spin = motion.path(rng, times, recipe.pace(rng, self.speed) / body.radius)[:, 0]
            lathe = replace(body.lathe, turn=np.clip(spin, -60, 60).astype(np.float32))
        layers = []
        for (canvas, _), place in zip(body.canvases, self._places(body, turns)):
            layers.append(
                Layer(canvas, np.broadcast_to(place, view.shape), view, gain, bend, lathe)
            )
        if rng.random() < recipe.shadows:
            return self._shadows(layers, body.radius) + layers
        return layers

    def _places(self, body: Body, turns: np.ndarray | None) -> list[np.ndarray]:
        """Canvas -> thing of each part, (3, 3) or (K, 3, 3): the limbs swing, their tips within the speed range.

        turns: (K,) strides that a body with a gait has made: its legs step, its other limbs swing in that rhythm.
        """
        rng = self.rng
        rhythm = motion.log_uniform(rng, *RHYTHM)
        fastest = self.recipe.pace(rng, self.speed) * 1.5
        force = min(
            0.8, max(fastest * rhythm / (2 * np.pi * body.radius), 0.25 * (body.facing != 0))
        )
        # a quarter back, so that an arm is behind while its side's foot is ahead
        swung = self.times / rhythm if turns is None else turns - 0.25
        places = []
        for part, (_, offset) in zip(body.parts, body.canvases):
            if turns is not None and part.leg is not None:
                angles = [body.facing * angle for angle in body.gait.angles(part.leg, turns)]
            else:
                swings = [
                    np.sin(2 * np.pi * (swung + joint.phase)) + joint.lean for joint in part.joints
                ]
                angles = [force * joint.share * swing for joint, swing in zip(part.joints, swings)]
            place = motion.shift(offset)[0]
            for joint, angle in reversed(list(zip(part.joints, angles))):
                place = motion.swing(np.array([joint.x, joint.y]) * body.radius, angle) @ place
            places.append(place)
        return places

    def _view(self, body: Body, parallax: float) -> np.ndarray:
        """Thing -> frame (K, 3, 3): own path, turn and tilt under the camera, within the frame at some early time."""
        rng, recipe, times = self.rng, self.recipe, self.times
        seen = self.camera.at_depth(0.0 if rng.random() < recipe.followed else parallax)
        walk, moment = self._walk()
        if body.facing:  # walkers go where they look, on ground that is nearly level
            walk[:, 1] *= rng.uniform(0, 0.4)
            walk[:, 0] *= body.facing * (1 if walk[-1, 0] >= walk[0, 0] else -1)
        wanted = rng.uniform(0.08, 0.92, 2) * self.size
        walk = walk - walk[moment] + motion.project(np.linalg.inv(seen[moment]), wanted)
        lively = motion.log_uniform(rng, *recipe.liveliness)
        scale = np.exp(rng.uniform(-0.2, 0.2) + motion.wave(rng, times, 0.3 * lively))
        stretch = np.exp(motion.wave(rng, times, 0.15 * lively))
        upright = 0.3 if body.facing else 1.0
        roll = upright * (
            rng.normal(0, 0.4)
            + motion.wave(rng, times, 0.5 * lively) * (rng.random() < recipe.turning)
        )
        if body.lathe is not None:
            roll = roll + rng.uniform(0, 2 * np.pi)
        if not body.facing and rng.random() < 0.5 * recipe.turning:
            roll = roll + rng.choice((-1, 1)) * motion.log_uniform(rng, 0.005, 0.1) * times
        tilt = np.radians(recipe.tilt) * (rng.random() < recipe.tilting)
        yaw, pitch = (
            rng.uniform(-0.3, 0.3) * tilt + motion.wave(rng, times, 0.7 * lively * tilt, (8, 50))
            for _ in range(2)
        )
        turned = motion.card(
            scale, stretch, roll, yaw, pitch, focal=rng.uniform(4, 8) * body.radius
        )
        return seen @ motion.shift(walk) @ turned

    def _stepping(self, body: Body) -> tuple[np.ndarray, np.ndarray]:
        """Thing -> frame (K, 3, 3) and strides made (K,) of a body that steps over the ground, straight on.

        Its way is on the background itself, so that a foot that stands moves as what is beside it. `followed` is one
        that keeps its place in the frame, where the camera goes its way as a body may walk.
        """
        rng, recipe = self.rng, self.recipe
        scale, slope = np.exp(rng.uniform(-0.2, 0.2)), np.clip(rng.normal(0, 0.1), -0.3, 0.3)
        leg = (
            scale
            * body.radius
            * next(part.leg.length for part in body.parts if part.leg is not None)
        )
        stride = body.gait.stride * leg
        heading = body.facing * np.array([np.cos(slope), np.sin(slope)])
        moment = int(rng.integers(0, max(len(self.times) * 6 // 10, 1)))
        wanted = rng.uniform(0.08, 0.92, 2) * self.size
        start = motion.project(np.linalg.inv(self.ground[moment]), wanted)
        pace = min(stride / motion.log_uniform(rng, *RHYTHM), self.speed[1] * recipe.width)
        path = motion.path(rng, self.times, pace)
        walked = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1)))
        walked *= min(1.0, FASTEST * stride / max(self._steps(walked).max(), 1e-6))
        if rng.random() < recipe.followed:
            carried = (
                motion.project(np.linalg.inv(self.ground), np.tile(wanted, (len(path), 1))) - start
            ) @ heading
            steps = self._steps(carried)
            if (
                stride / RHYTHM[1] < steps.mean()
                and steps.max() < FASTEST * stride
                and -steps.min() < steps.max() / 4
            ):
                walked = carried
        turns = rng.random() + (walked - walked[0]) / stride
        way = start + (walked - walked[moment])[:, None] * heading
        risen = motion.shift(np.stack([0 * turns, -body.gait.rise(turns) * leg / scale], axis=1))
        turned = motion.similarity(np.full(len(turns), scale), np.full(len(turns), slope))
        return self.ground @ motion.shift(way) @ turned @ risen, turns

    def _steps(self, walked: np.ndarray) -> np.ndarray:
        """Pixels a frame (K - 1,) from each time to the next."""
        return np.diff(walked) / np.diff(self.times)

    def _walk(self) -> tuple[np.ndarray, int]:
        """A path (K, 2) and the time index at which the thing is surely within the frame."""
        rng, recipe, times = self.rng, self.recipe, self.times
        if rng.random() < recipe.returning:
            reach = rng.uniform(0.5, 1.3) * recipe.width
            return motion.excursion(rng, times, reach, 1.6 * self.speed[1] * recipe.width)
        walk = motion.path(rng, times, recipe.pace(rng, self.speed))
        return walk, int(rng.integers(0, max(len(times) * 6 // 10, 1)))

    def foreground(self, parallax: float, behind: np.ndarray) -> list[Layer]:
        """One near, still thing that hides others for long: a trunk or post from top to bottom, or a bush."""
        rng = self.rng
        seen = self.camera.at_depth(parallax)
        if rng.random() < 0.6:
            radius = 0.5 * motion.log_uniform(rng, 0.03, 0.16) * self.size[0]
            part = shapes.Part(shapes.pole(rng, 1.2 * self.size[1] / radius))
        else:
            radius = rng.uniform(0.15, 0.35) * min(self.size)
            part = shapes.Part(shapes.blob(rng))
        ((canvas, offset),) = cut_out(self.recipe, self.textures, rng, [part], radius, behind)
        wanted = rng.uniform(0.05, 0.95, 2) * self.size
        wanted[1] = self.size[1] / 2 if canvas.shape[0] > self.size[1] else wanted[1]
        middle = len(self.times) // 2
        start = motion.project(np.linalg.inv(seen[middle]), wanted)
        sway = motion.wave(rng, self.times, 0.01, (12, 60)) + rng.normal(0, 0.08)
        view = seen @ motion.shift(start) @ motion.similarity(np.ones(len(self.times)), sway)
        place = np.broadcast_to(motion.shift(offset), view.shape)
        return [Layer(rounded(canvas, rng.uniform(0, 0.8)), place, view, np.ones(len(self.times)))]

    def _bend(self, size: float, strength: float) -> Bend:
        """Travelling waves of 0.5 to 2 periods over `size` pixels; amplitude times wave number stays under 0.45."""
        rng, times = self.rng, self.times
        number = 2 * np.pi * rng.uniform(0.5, 2, 2) / size
        steady = rng.random() < 0.5
        swell = np.stack(
            [
                np.ones(len(times)) if steady else motion.wave(rng, times, 1.0, (6, 40))
                for _ in range(2)
            ],
            1,
        )
        most = strength * 0.45 * motion.log_uniform(rng, *self.recipe.liveliness)
        amplitude = most * rng.uniform(0.1, 1, 2) / number * swell
        travel = rng.uniform(-1, 1, 2) * 2 * np.pi / motion.log_uniform(rng, 10, 120)
        phase = np.mod(rng.uniform(0, 2 * np.pi, 2) + np.outer(times, travel), 2 * np.pi)
        return Bend(
            amplitude.astype(np.float32), number.astype(np.float32), phase.astype(np.float32)
        )

    def _shadows(self, layers: list[Layer], radius: float) -> list[Layer]:
        """Soft dark copies of the layers, shifted in the frame away from the sun, that hide nothing."""
        away = motion.shift(self.sun * radius)
        dark, soft = self.rng.uniform(0.2, 0.5), max(0.06 * radius, 1.0)
        shadows = []
        for layer in layers:
            canvas = np.zeros_like(layer.canvas)
            canvas[..., 3] = cv2.GaussianBlur(
                cv2.convertScaleAbs(layer.canvas[..., 3], alpha=dark), (0, 0), soft
            )
            canvas[[0, -1], :, 3] = canvas[:, [0, -1], 3] = 0
            shadows.append(
                replace(layer, canvas=canvas, view=away @ layer.view, opaque=False, lathe=None)
            )
        return shadows


def out_of_focus(layer: Layer, sigma: float) -> Layer:
    """The layer with its canvas blurred by `sigma` pixels."""
    canvas = cv2.GaussianBlur(layer.canvas, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    if not layer.endless:
        canvas[[0, -1], :, 3] = canvas[:, [0, -1], 3] = 0
    return replace(layer, canvas=canvas)
