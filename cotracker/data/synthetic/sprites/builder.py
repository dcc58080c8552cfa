"""The layers of a scene's objects: their textures, parts, motions and shadows."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic import motion
from cotracker.data.synthetic.recipe import Recipe
from cotracker.data.synthetic.sprites import shapes
from cotracker.data.synthetic.sprites.animation import Animator
from cotracker.data.synthetic.sprites.bodies import Body, cut_parts, sample_body, shade_rim
from cotracker.data.synthetic.sprites.camera import Camera
from cotracker.data.synthetic.sprites.layers import Layer
from cotracker.data.synthetic.textures import Textures


class SceneBuilder:
    """Builds the layers of one clip, the background first.

    sun: where shadows fall, (2,) in radii of the object that casts them.
    """

    def __init__(
        self, recipe: Recipe, textures: Textures, rng: Generator, times: np.ndarray, camera: Camera
    ):
        self.recipe = recipe
        self.textures = textures
        self.rng = rng
        self.times = times
        self.camera = camera
        self.size = np.array([recipe.width, recipe.height])
        self.sun = rng.uniform(-0.6, 0.6, 2)
        self.animator = Animator(recipe, rng, times, camera)

    def build_background(self) -> Layer:
        """The ground: endless, a little tilted and bent at most."""
        rng, recipe = self.rng, self.recipe
        view = self.animator.sample_ground()
        corner, (width, height) = self._visible_ground(view)
        colour = self.textures.sample(rng, height, width)
        # feet do not stand on what bends
        bent = rng.random() < 0.5 * recipe.bending * (1 - recipe.grounded)
        bend = self.animator.sample_bend(min(self.size), 0.5) if bent else None
        pose = np.broadcast_to(motion.translation(corner), view.shape)
        canvas = np.dstack([colour, np.full((height, width), 255, np.uint8)])
        return Layer(canvas, pose, view, np.ones(len(self.times)), bend, endless=True)

    def _visible_ground(self, view: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """First corner (x, y) and size of the ground in the frames, at most 2.4 frames a side."""
        corners = np.array([(x, y) for x in (0.0, self.size[0]) for y in (0.0, self.size[1])])
        ground = motion.project(np.linalg.inv(view)[:, None], corners).reshape(-1, 2)
        low = ground.min(0) - 4
        high = ground.max(0) + 4
        size = np.minimum(high - low, 2.4 * self.size).astype(int)
        return (low + high - size) / 2, (int(size[0]), int(size[1]))

    def build_object(self, parallax: float, behind: np.ndarray) -> list[Layer]:
        """The layers of one object from the back.

        A shadow, its parts, a twin, a cover; not always all.
        """
        rng, recipe = self.rng, self.recipe
        body = sample_body(recipe, self.textures, rng, behind)
        layers = self._animate(body, parallax)
        if rng.random() < recipe.twins:
            layers += self._animate(body, parallax)
        if recipe.covered > 0 and rng.random() < recipe.covered:
            layers.append(self._build_cover(layers[-1].object_to_frame, body.radius, behind))
        return layers

    def _animate(self, body: Body, parallax: float) -> list[Layer]:
        """The layers of a body that moves, from the back."""
        rng, recipe, animator = self.rng, self.recipe, self.animator
        strides = None
        if body.gait is None:
            view = animator.sample_view(body, parallax)
        else:
            view, strides = animator.sample_walk_on_ground(body)
        bendable = body.gait is None and rng.random() < recipe.bending
        bend = animator.sample_bend(2 * body.radius, 1.0) if bendable else None
        gain = np.ones(len(self.times))
        if rng.random() < recipe.shading:
            gain = np.exp(rng.normal(0, 0.1) + motion.sample_wave(rng, self.times, 0.35))
        revolution = None
        if body.revolution is not None:
            revolution = replace(body.revolution, angle=animator.sample_spin(body))
        poses = animator.sample_part_poses(body, strides)
        layers = []
        for (canvas, _), pose in zip(body.canvases, poses):
            pose = np.broadcast_to(pose, view.shape)
            layers.append(Layer(canvas, pose, view, gain, bend, revolution))
        if rng.random() < recipe.shadows:
            return self._build_shadows(layers, body.radius) + layers
        return layers

    def build_foreground(self, parallax: float, behind: np.ndarray) -> Layer:
        """One near, still object that hides others for long: a trunk, a post or a bush."""
        rng = self.rng
        view = self.camera.at_depth(parallax)
        if rng.random() < 0.6:
            radius = 0.5 * motion.sample_log_uniform(rng, 0.03, 0.16) * self.size[0]
            part = shapes.Part(shapes.sample_pole(rng, 1.2 * self.size[1] / radius))
        else:
            radius = rng.uniform(0.15, 0.35) * min(self.size)
            part = shapes.Part(shapes.sample_blob(rng))
        ((canvas, offset),) = cut_parts(self.recipe, self.textures, rng, [part], radius, behind)
        target = rng.uniform(0.05, 0.95, 2) * self.size
        if canvas.shape[0] > self.size[1]:
            target[1] = self.size[1] / 2
        start = motion.project(np.linalg.inv(view[len(self.times) // 2]), target)
        sway = motion.sample_wave(rng, self.times, 0.01, (12, 60)) + rng.normal(0, 0.08)
        still = np.ones(len(self.times))
        view = view @ motion.translation(start) @ motion.similarity(still, sway)
        pose = np.broadcast_to(motion.translation(offset), view.shape)
        return Layer(shade_rim(canvas, rng.uniform(0, 0.8)), pose, view, still)

    def _build_cover(self, covered: np.ndarray, radius: float, behind: np.ndarray) -> Layer:
        """A blob that slides before an object and hides it for a while.

        covered: object -> frame (K, 3, 3) of that object, whose radius is `radius` pixels.
        """
        rng = self.rng
        size = radius * rng.uniform(1.1, 1.5)
        part = shapes.Part(shapes.sample_blob(rng))
        ((canvas, offset),) = cut_parts(self.recipe, self.textures, rng, [part], size, behind)
        centre = motion.project(covered, np.zeros(2))
        start = centre + self.animator.sample_cover_path(radius + size)
        still = np.ones(len(self.times))
        sway = rng.normal(0, 0.3) + motion.sample_wave(rng, self.times, 0.1)
        view = motion.translation(start) @ motion.similarity(still, sway)
        pose = np.broadcast_to(motion.translation(offset), view.shape)
        return Layer(shade_rim(canvas, rng.uniform(0, 0.8)), pose, view, still)

    def _build_shadows(self, layers: list[Layer], radius: float) -> list[Layer]:
        """Soft dark copies of the layers, shifted away from the sun, that hide nothing."""
        away = motion.translation(self.sun * radius)
        darkness = self.rng.uniform(0.2, 0.5)
        sigma = max(0.06 * radius, 1.0)
        shadows = []
        for layer in layers:
            alpha = cv2.convertScaleAbs(layer.canvas[..., 3], alpha=darkness)
            canvas = np.zeros_like(layer.canvas)
            canvas[..., 3] = cv2.GaussianBlur(alpha, (0, 0), sigma)
            _clear_border(canvas)
            shadow = replace(layer, canvas=canvas, opaque=False, revolution=None)
            shadows.append(replace(shadow, object_to_frame=away @ layer.object_to_frame))
        return shadows


def defocus(layer: Layer, sigma: float) -> Layer:
    """The layer with its canvas blurred by `sigma` pixels."""
    canvas = cv2.GaussianBlur(layer.canvas, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    if not layer.endless:
        _clear_border(canvas)
    return replace(layer, canvas=canvas)


def _clear_border(canvas: np.ndarray) -> None:
    canvas[[0, -1], :, 3] = 0
    canvas[:, [0, -1], 3] = 0
