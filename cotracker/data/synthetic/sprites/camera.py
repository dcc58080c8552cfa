"""How the frame moves over the scene."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic import motion
from cotracker.data.synthetic.recipe import Recipe


@dataclass(frozen=True)
class Camera:
    """Pan (K, 2) pixels, zoom and roll (K,) about the frame's centre (2,); near things follow more of pan and zoom."""

    pan: np.ndarray
    zoom: np.ndarray
    roll: np.ndarray
    centre: np.ndarray

    def at_depth(self, parallax: float) -> np.ndarray:
        """Scene -> frame (K, 3, 3) for things that follow `parallax` of pan and zoom (the background: 1)."""
        turn = motion.shift(self.centre) @ motion.similarity(self.zoom**parallax, self.roll)
        return turn @ motion.shift(parallax * self.pan - self.centre)


def draw_camera(recipe: Recipe, rng: Generator, times: np.ndarray) -> Camera:
    """A Camera over `times` (K,): still, or panning, zooming and rolling; perhaps held in a shaking hand."""
    pan, zoom, roll = np.zeros((len(times), 2)), np.ones(len(times)), np.zeros(len(times))
    if rng.random() >= recipe.still_camera:
        pan = motion.path(rng, times, recipe.pace(rng, recipe.camera_speed), (16, 80))
        drift = (times - times.mean()) / len(np.unique(times.round()))
        lively = motion.log_uniform(rng, *recipe.liveliness)
        zoom = np.exp(
            lively * motion.wave(rng, times, 0.15) + np.clip(rng.normal(0, 0.15), -0.3, 0.3) * drift
        )
        roll = lively * motion.wave(rng, times, 0.12) + rng.normal(0, 0.1) * drift
    if rng.random() < recipe.shaking_camera:
        pan = pan + motion.path(rng, times, recipe.pace(rng, recipe.shake), (2.5, 7))
        roll = roll + motion.wave(rng, times, 0.006, (2.5, 9))
    return Camera(pan, zoom, roll, np.array([recipe.width - 1, recipe.height - 1]) / 2)
