"""How the frame moves over a layered scene."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic import motion
from cotracker.data.synthetic.recipe import Recipe


@dataclass(frozen=True)
class Camera:
    """Pan (K, 2) pixels, zoom and roll (K,) about the frame's centre (2,).

    Near objects follow more of pan and zoom.
    """

    pan: np.ndarray
    zoom: np.ndarray
    roll: np.ndarray
    centre: np.ndarray

    def at_depth(self, parallax: float) -> np.ndarray:
        """Scene -> frame (K, 3, 3) of objects with this parallax; the background has 1."""
        zoomed = motion.translation(self.centre) @ motion.similarity(self.zoom**parallax, self.roll)
        return zoomed @ motion.translation(parallax * self.pan - self.centre)


def sample_camera(recipe: Recipe, rng: Generator, times: np.ndarray) -> Camera:
    """A Camera at `times` (K,): still, or panning, zooming and rolling; some shake."""
    pan = np.zeros((len(times), 2))
    zoom = np.ones(len(times))
    roll = np.zeros(len(times))
    if rng.random() >= recipe.still_camera:
        pan = motion.sample_path(
            rng, times, recipe.sample_speed(rng, recipe.camera_speed), (16, 80)
        )
        drift = (times - times.mean()) / len(np.unique(times.round()))
        lively = motion.sample_log_uniform(rng, *recipe.liveliness)
        swing = lively * motion.sample_wave(rng, times, 0.15)
        zoom = np.exp(swing + np.clip(rng.normal(0, 0.15), -0.3, 0.3) * drift)
        roll = lively * motion.sample_wave(rng, times, 0.12) + rng.normal(0, 0.1) * drift
    if rng.random() < recipe.shaking_camera:
        pan = pan + motion.sample_path(rng, times, recipe.sample_speed(rng, recipe.shake), (2.5, 7))
        roll = roll + motion.sample_wave(rng, times, 0.006, (2.5, 9))
    return Camera(pan, zoom, roll, np.array([recipe.width - 1, recipe.height - 1]) / 2)
