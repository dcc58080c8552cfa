"""Warps with exact inverses in closed form: waves that bend, and turning surfaces of revolution."""

import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Bend:
    """Two travelling shear waves: x moves with y, then y with x.  No amplitude can fold it.

    amplitude: (K, 2) pixels.
    wave_number: (2,) radians a pixel.
    phase: (K, 2) radians.  All are float32.
    """

    amplitude: np.ndarray
    wave_number: np.ndarray
    phase: np.ndarray

    def forward(self, x: np.ndarray, y: np.ndarray, k) -> tuple[np.ndarray, np.ndarray]:
        """Where x, y (broadcastable) go at times `k`."""
        (first, second), (early, late) = self.amplitude[k].T, self.phase[k].T
        x = x + first * np.sin(self.wave_number[0] * y + early)
        return x, y + second * np.sin(self.wave_number[1] * x + late)

    def backward(self, x: np.ndarray, y: np.ndarray, k) -> tuple[np.ndarray, np.ndarray]:
        """Where x, y (broadcastable) came from at times `k`."""
        (first, second), (early, late) = self.amplitude[k].T, self.phase[k].T
        y = y - second * np.sin(self.wave_number[1] * x + late)
        return x - first * np.sin(self.wave_number[0] * y + early), y

    def at(self, k: np.ndarray) -> "Bend":
        """The same bend at the times `k` alone."""
        return Bend(self.amplitude[k], self.wave_number, self.phase[k])


@dataclass(frozen=True)
class SurfaceOfRevolution:
    """A solid of revolution about an upright axis of the canvas, seen from the side, that turns.

    skin: h W+1 3 uint8, its surface all round in W columns, the last equal to the first; its rows
    are those of the canvas.
    axis: (x, y) on the canvas.
    quadric: radius² = a + b (y - axis y) + c (y - axis y)², in pixels.
    angle: (K,) radians float32.
    light: the share of ambient light, and the side (radians) from which the rest comes.
    """

    skin: np.ndarray
    axis: tuple[float, float]
    quadric: tuple[float, float, float]
    angle: np.ndarray
    light: tuple[float, float]

    @property
    def columns(self) -> float:
        """Columns of skin in one radian."""
        return (self.skin.shape[1] - 1) / (2 * math.pi)

    def forward(self, u: np.ndarray, v: np.ndarray, k) -> tuple[np.ndarray, np.ndarray]:
        """Canvas x, y of the position u, v of the skin at times k, on the near side or behind."""
        return self.axis[0] + self.radius(v) * np.sin(u / self.columns + self.angle[k]), v

    def is_front(self, u: np.ndarray, k) -> np.ndarray:
        """Bool: column u of the skin is on the near side at times k."""
        return np.cos(u / self.columns + self.angle[k]) > 0

    def backward(
        self, x: np.ndarray, y: np.ndarray, k
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Skin column (0..W) and row at canvas x, y at times k, and the light (factor) there."""
        sine = np.clip((x - self.axis[0]) / self.radius(y), -1, 1)
        rounds = (np.arcsin(sine) - self.angle[k]) * (1 / (2 * math.pi))
        return (rounds - np.floor(rounds)) * (self.skin.shape[1] - 1), y, self._light(sine)

    def radius(self, y: np.ndarray) -> np.ndarray:
        """Pixels; never zero, so that every y has an inverse."""
        a, b, c = self.quadric
        y = y - self.axis[1]
        return np.sqrt(np.maximum(a + y * (b + y * c), 1e-2))

    def _light(self, sine: np.ndarray) -> np.ndarray:
        ambient, side = self.light
        direct = np.sqrt(1 - sine * sine) * math.cos(side) + sine * math.sin(side)
        return ambient + (1 - ambient) * np.maximum(direct, 0)

    def at(self, k: np.ndarray) -> "SurfaceOfRevolution":
        """The same solid at the times `k` alone."""
        return replace(self, angle=self.angle[k])
