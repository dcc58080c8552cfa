"""Textured layers that move by maps with exact inverses: where their points are, and what hides what.

A layer's map runs (skin -> (lathe) ->) canvas -> (place) -> thing -> (bend) -> thing -> (view) -> frame. Place and
view are homographies; each step is inverted in closed form, so tracks are exact and no map can fold.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cotracker.data.synthetic.motion import project, shift
from cotracker.data.synthetic.sprites.warps import Bend, Lathe

OPAQUE = 0.5


@dataclass(frozen=True)
class Layer:
    """One piece over K times. Times are indices k into the arrays.

    canvas: h w 4 uint8 RGB and alpha, its border clear.  place, view: (K, 3, 3).  gain: (K,) shading.  opaque: hides
    what is below (a shadow does not: it darkens).  endless: the canvas repeats as in mirrors and its alpha is ignored
    (the background).  lathe: its points are those of the lathe's skin, its outline the canvas's alpha.
    """

    canvas: np.ndarray
    place: np.ndarray
    view: np.ndarray
    gain: np.ndarray
    bend: Bend | None = None
    lathe: Lathe | None = None
    opaque: bool = True
    endless: bool = False

    @cached_property
    def views_back(self) -> np.ndarray:
        """Frame -> thing (K, 3, 3)."""
        return np.linalg.inv(self.view)

    @cached_property
    def places_back(self) -> np.ndarray:
        """Thing -> canvas (K, 3, 3)."""
        return np.linalg.inv(self.place)

    @cached_property
    def alpha(self) -> np.ndarray:
        """The canvas's alpha, h w uint8."""
        return np.ascontiguousarray(self.canvas[..., 3])

    def at(self, k: np.ndarray) -> "Layer":
        """The same layer at the times `k` alone."""
        bend, lathe = (part and part.at(k) for part in (self.bend, self.lathe))
        return replace(
            self, place=self.place[k], view=self.view[k], gain=self.gain[k], bend=bend, lathe=lathe
        )

    def seen_from(self, corner: np.ndarray) -> "Layer":
        """The same layer in a frame whose pixel (0, 0) is this one's pixel `corner` (x, y)."""
        return replace(self, view=shift(-np.asarray(corner)) @ self.view)

    def forward(self, uv: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Pixels of the frame (n, 2) of the layer's own positions uv (n, 2) at times k (n,)."""
        if self.lathe is not None:
            uv = np.stack(self.lathe.forward(uv[:, 0], uv[:, 1], k), axis=1)
        return self.from_canvas(uv, k)

    def backward(self, xy: np.ndarray, k: np.ndarray) -> np.ndarray:
        """The layer's own positions (n, 2) seen at the pixels of the frame xy (n, 2) at times k (n,)."""
        uv = self.to_canvas(xy, k)
        return (
            uv
            if self.lathe is None
            else np.stack(self.lathe.backward(uv[:, 0], uv[:, 1], k)[:2], axis=1)
        )

    def facing(self, uv: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Bool (n,): the layer's own positions uv (n, 2) are on its near side at times k (n,)."""
        return np.ones(len(uv), bool) if self.lathe is None else self.lathe.facing(uv[:, 0], k)

    def from_canvas(self, uv: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Pixels of the frame (n, 2) of canvas positions uv (n, 2) at times k (n,)."""
        xy = project(self.place[k], uv)
        if self.bend is not None:
            xy = np.stack(self.bend.forward(xy[:, 0], xy[:, 1], k), axis=1)
        return project(self.view[k], xy)

    def to_canvas(self, xy: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Canvas positions (n, 2) of the pixels of the frame xy (n, 2) at times k (n,): undoes `from_canvas`."""
        xy = project(self.views_back[k], xy)
        if self.bend is not None:
            xy = np.stack(self.bend.backward(xy[:, 0], xy[:, 1], k), axis=1)
        return project(self.places_back[k], xy)

    def alpha_at(self, xy: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Alpha in 0..1 (n,) at the pixels of the frame xy (n, 2) at times k (n,), between canvas pixels bilinear."""
        if self.endless:
            return np.ones(len(xy))
        height, width = self.canvas.shape[:2]
        uv = np.clip(
            self.to_canvas(xy, k), 0, (width - 1.001, height - 1.001)
        )  # the border is clear: outside is 0
        corner = uv.astype(int)
        (u, v), (right, down) = corner.T, (uv - corner).T
        alpha = self.alpha
        upper = (1 - right) * alpha[v, u] + right * alpha[v, u + 1]
        lower = (1 - right) * alpha[v + 1, u] + right * alpha[v + 1, u + 1]
        return ((1 - down) * upper + down * lower) / 255

    def covers(self, xy: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Bool (n,): the layer is opaque at the pixels of the frame xy (n, 2) at times k (n,)."""
        if self.endless or not self.opaque:
            return np.full(len(xy), self.opaque)
        covered = ((xy >= self.boxes[k, :2]) & (xy <= self.boxes[k, 2:])).all(1)
        near = np.flatnonzero(covered)
        covered[near] = self.alpha_at(xy[near], k[near]) > OPAQUE
        return covered

    @cached_property
    def boxes(self) -> np.ndarray:
        """(K, 4) left, top, right, bottom of the canvas in each frame: its border is mapped, bends get a margin."""
        height, width = self.canvas.shape[:2]
        s = np.linspace(0, 1, 5 if self.bend is None else 17)
        ring = np.concatenate(
            [
                np.stack(side, -1)
                for side in ((s, 0 * s), (s, 0 * s + 1), (0 * s, s), (0 * s + 1, s))
            ]
        )
        ring = ring * (width - 1, height - 1)
        times = np.arange(len(self.view))
        points = self.from_canvas(np.tile(ring, (len(times), 1)), np.repeat(times, len(ring)))
        points = points.reshape(len(times), len(ring), 2)
        margin = 2 if self.bend is None else 3 + 0.5 * np.abs(self.bend.amplitude).sum(1).max()
        return np.concatenate([points.min(1) - margin, points.max(1) + margin], axis=1)

    def box(self, k: int, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
        """First column and row, and those after the last, that the layer may touch in a frame of `size` (H, W)."""
        height, width = size
        if self.endless:
            return 0, 0, width, height
        left, top, right, bottom = self._whole_boxes[k]
        box = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        return box if box[0] < box[2] and box[1] < box[3] else None

    @cached_property
    def _whole_boxes(self) -> list[list[int]]:
        return (np.clip(self.boxes, -2, 1e4).astype(int) + (0, 0, 1, 1)).tolist()


def top_layer(layers: list[Layer], xy: np.ndarray, k: np.ndarray) -> np.ndarray:
    """The number (n,) of the uppermost opaque layer at the pixels xy (n, 2) of the frames at times k (n,)."""
    top = np.zeros(len(xy), int)
    for number, layer in enumerate(layers):
        top[layer.covers(xy, k)] = number
    return top


def hidden(layers: list[Layer], own: np.ndarray, xy: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Bool (n,): an opaque layer above the points' `own` (n,) covers the pixels xy (n, 2) at times k (n,)."""
    covered = np.zeros(len(xy), bool)
    for number, layer in enumerate(layers):
        below = np.flatnonzero((own < number) & ~covered)
        covered[below] = layer.covers(xy[below], k[below])
    return covered
