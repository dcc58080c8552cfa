"""Flat textured layers that move by maps with exact inverses: drawn from the back, and followed point by point.

A layer's map runs canvas -> (place) -> thing -> (bend) -> thing -> (view) -> frame. Place and view are homographies,
a bend is two shear waves; each step is inverted in closed form, so tracks are exact and no map can fold.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from cotracker.data.synthetic.motion import project

OPAQUE = 0.5


@dataclass(frozen=True)
class Bend:
    """Two travelling shear waves: x moves with y, then y with x.

    amplitude (K, 2) pixels, phase (K, 2) radians, number (2,) radians a pixel; all float32.
    """

    amplitude: np.ndarray
    number: np.ndarray
    phase: np.ndarray

    def forward(self, x: np.ndarray, y: np.ndarray, k) -> tuple[np.ndarray, np.ndarray]:
        """Where x, y (broadcastable) go at times `k`."""
        (first, second), (early, late) = self.amplitude[k].T, self.phase[k].T
        x = x + first * np.sin(self.number[0] * y + early)
        return x, y + second * np.sin(self.number[1] * x + late)

    def backward(self, x: np.ndarray, y: np.ndarray, k) -> tuple[np.ndarray, np.ndarray]:
        """Where x, y (broadcastable) came from at times `k`."""
        (first, second), (early, late) = self.amplitude[k].T, self.phase[k].T
        y = y - second * np.sin(self.number[1] * x + late)
        return x - first * np.sin(self.number[0] * y + early), y


@dataclass(frozen=True)
class Layer:
    """One flat piece over K times. Times are indices k into the arrays.

    canvas: h w 4 uint8 RGB and alpha.  place, view: (K, 3, 3).  gain: (K,) shading.  opaque: hides what is below (a
    shadow does not).  endless: the canvas repeats as in mirrors and its alpha is ignored (the background).
    """

    canvas: np.ndarray
    place: np.ndarray
    view: np.ndarray
    gain: np.ndarray
    bend: Bend | None = None
    opaque: bool = True
    endless: bool = False

    @cached_property
    def _views_back(self) -> np.ndarray:
        return np.linalg.inv(self.view)

    @cached_property
    def _places_back(self) -> np.ndarray:
        return np.linalg.inv(self.place)

    def forward(self, uv: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Pixels of the frame (n, 2) of the canvas positions uv (n, 2) at times k (n,)."""
        xy = project(self.place[k], uv)
        if self.bend is not None:
            xy = np.stack(self.bend.forward(xy[:, 0], xy[:, 1], k), axis=1)
        return project(self.view[k], xy)

    def backward(self, xy: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Canvas positions (n, 2) of the pixels of the frame xy (n, 2) at times k (n,): the inverse of `forward`."""
        xy = project(self._views_back[k], xy)
        if self.bend is not None:
            xy = np.stack(self.bend.backward(xy[:, 0], xy[:, 1], k), axis=1)
        return project(self._places_back[k], xy)

    def alpha_at(self, xy: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Alpha in 0..1 (n,) at the pixels of the frame xy (n, 2) at times k (n,), between canvas pixels bilinear."""
        if self.endless:
            return np.ones(len(xy))
        height, width = self.canvas.shape[:2]
        uv = np.clip(self.backward(xy, k), 0, (width - 1.001, height - 1.001))  # the border is clear: outside is 0
        corner = uv.astype(int)
        (u, v), (right, down) = corner.T, (uv - corner).T
        alpha = self.canvas[..., 3]
        upper = (1 - right) * alpha[v, u] + right * alpha[v, u + 1]
        lower = (1 - right) * alpha[v + 1, u] + right * alpha[v + 1, u + 1]
        return ((1 - down) * upper + down * lower) / 255

    @cached_property
    def _boxes(self) -> np.ndarray:
        """(K, 4) left, top, right, bottom of the canvas in each frame: its border is mapped, bends get a margin."""
        height, width = self.canvas.shape[:2]
        s = np.linspace(0, 1, 7 if self.bend is None else 17)
        ring = np.concatenate([np.stack(side, -1) for side in ((s, 0 * s), (s, 0 * s + 1), (0 * s, s), (0 * s + 1, s))])
        ring = ring * (width - 1, height - 1)
        times = np.arange(len(self.view))
        points = self.forward(np.tile(ring, (len(times), 1)), np.repeat(times, len(ring)))
        points = points.reshape(len(times), len(ring), 2)
        margin = 2 if self.bend is None else 3 + 0.5 * np.abs(self.bend.amplitude).sum(1).max()
        return np.concatenate([points.min(1) - margin, points.max(1) + margin], axis=1)

    def draw(self, image: np.ndarray, k: int) -> None:
        """Blends the layer at time k over `image` H W 3 uint8, in place."""
        height, width = image.shape[:2]
        left, top, right, bottom = (
            (0, 0, width, height) if self.endless else np.clip(self._boxes[k], -2, 1e4).astype(int)
        )
        left, top, right, bottom = max(left, 0), max(top, 0), min(right + 1, width), min(bottom + 1, height)
        if left >= right or top >= bottom:
            return
        patch = self._warped(k, left, top, right - left, bottom - top)
        colour = cv2.cvtColor(patch, cv2.COLOR_RGBA2RGB)
        if self.gain[k] != 1:
            colour = cv2.convertScaleAbs(colour, alpha=float(self.gain[k]))
        region = image[top:bottom, left:right]
        if self.endless:
            region[:] = colour
            return
        alpha = cv2.extractChannel(patch, 3).astype(np.float32) / 255
        region[:] = cv2.blendLinear(colour, region, alpha, 1 - alpha)

    def _warped(self, k: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        """The canvas as the box of the frame shows it at time k, height width 4 uint8."""
        border = cv2.BORDER_REFLECT_101 if self.endless else cv2.BORDER_CONSTANT
        back = self._views_back[k] @ np.array([[1.0, 0, left], [0, 1, top], [0, 0, 1]])
        if self.bend is None:
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            return cv2.warpPerspective(
                self.canvas, self._places_back[k] @ back, (width, height), flags=flags, borderMode=border
            )
        columns = np.arange(width, dtype=np.float32)[None]
        rows = np.arange(height, dtype=np.float32)[:, None]
        x, y = self.bend.backward(*_through(back, columns, rows), k)
        u, v = _through(self._places_back[k], x, y)
        return cv2.remap(self.canvas, u, v, cv2.INTER_LINEAR, borderMode=border)


def _through(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x, y (h, w or broadcastable, float32) through one matrix (3, 3)."""
    (a, b, c), (d, e, f), (g, h, i) = (matrix / matrix[2, 2]).astype(np.float32)
    u, v = a * x + (b * y + c), d * x + (e * y + f)
    if g == 0 and h == 0:
        return u, v
    depth = g * x + (h * y + i)
    return u / depth, v / depth


def top_layer(layers: list[Layer], xy: np.ndarray, k: np.ndarray) -> np.ndarray:
    """The number (n,) of the uppermost opaque layer at the pixels xy (n, 2) of the frames at times k (n,)."""
    top = np.zeros(len(xy), int)
    for number, layer in enumerate(layers):
        if layer.opaque:
            top[layer.alpha_at(xy, k) > OPAQUE] = number
    return top


def hidden(layers: list[Layer], own: np.ndarray, xy: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Bool (n,): an opaque layer above the points' `own` (n,) covers the pixels xy (n, 2) at times k (n,)."""
    covered = np.zeros(len(xy), bool)
    for number, layer in enumerate(layers):
        below = np.flatnonzero((own < number) & ~covered) if layer.opaque else ()
        if len(below):
            covered[below] = layer.alpha_at(xy[below], k[below]) > OPAQUE
    return covered
