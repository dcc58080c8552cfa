"""Textured layers that move by invertible warps: where their points are, and what hides what.

A layer maps (skin -> (revolution) ->) canvas -> object -> (bend) -> object -> frame. The first and
the last step are homographies; each step is inverted in closed form, so tracks are exact and no
map can fold.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cotracker.data.synthetic.motion import project, translation
from cotracker.data.synthetic.sprites.warps import Bend, SurfaceOfRevolution

OPAQUE = 0.5


@dataclass(frozen=True)
class Layer:
    """One piece over K times. Times are indices k into the arrays.

    canvas: h w 4 uint8 RGB and alpha, its border clear.
    canvas_to_object, object_to_frame: (K, 3, 3).
    gain: (K,) shading.
    bend: waves that bend it, or None.
    revolution: its points are those of the solid's skin, its outline is the canvas's alpha.
    opaque: whether it hides what is below (a shadow does not: it darkens).
    endless: the canvas is mirrored for ever and its alpha ignored (the background).
    """

    canvas: np.ndarray
    canvas_to_object: np.ndarray
    object_to_frame: np.ndarray
    gain: np.ndarray
    bend: Bend | None = None
    revolution: SurfaceOfRevolution | None = None
    opaque: bool = True
    endless: bool = False

    @cached_property
    def frame_to_object(self) -> np.ndarray:
        """Frame -> object (K, 3, 3)."""
        return np.linalg.inv(self.object_to_frame)

    @cached_property
    def object_to_canvas(self) -> np.ndarray:
        """Object -> canvas (K, 3, 3)."""
        return np.linalg.inv(self.canvas_to_object)

    @cached_property
    def alpha(self) -> np.ndarray:
        """The canvas's alpha, h w uint8."""
        return np.ascontiguousarray(self.canvas[..., 3])

    def at(self, k: np.ndarray) -> "Layer":
        """The same layer at the times `k` alone."""
        return replace(
            self,
            canvas_to_object=self.canvas_to_object[k],
            object_to_frame=self.object_to_frame[k],
            gain=self.gain[k],
            bend=self.bend and self.bend.at(k),
            revolution=self.revolution and self.revolution.at(k),
        )

    def shifted(self, corner: np.ndarray) -> "Layer":
        """The same layer in a frame whose pixel (0, 0) is this one's pixel `corner` (x, y)."""
        shift = translation(-np.asarray(corner))
        return replace(self, object_to_frame=shift @ self.object_to_frame)

    def forward(self, uv: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Pixels of the frame (n, 2) of the layer's own positions uv (n, 2) at times k (n,)."""
        if self.revolution is not None:
            uv = np.stack(self.revolution.forward(uv[:, 0], uv[:, 1], k), axis=1)
        return self.from_canvas(uv, k)

    def backward(self, xy: np.ndarray, k: np.ndarray) -> np.ndarray:
        """The layer's own positions (n, 2) at the pixels of the frame xy (n, 2), times k (n,)."""
        uv = self.to_canvas(xy, k)
        if self.revolution is None:
            return uv
        column, row, _ = self.revolution.backward(uv[:, 0], uv[:, 1], k)
        return np.stack([column, row], axis=1)

    def is_front(self, uv: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Bool (n,): the layer's own positions uv (n, 2) are on its near side at times k (n,)."""
        if self.revolution is None:
            return np.ones(len(uv), bool)
        return self.revolution.is_front(uv[:, 0], k)

    def from_canvas(self, uv: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Pixels of the frame (n, 2) of canvas positions uv (n, 2) at times k (n,)."""
        xy = project(self.canvas_to_object[k], uv)
        if self.bend is not None:
            xy = np.stack(self.bend.forward(xy[:, 0], xy[:, 1], k), axis=1)
        return project(self.object_to_frame[k], xy)

    def to_canvas(self, xy: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Canvas positions (n, 2) of the pixels of the frame xy (n, 2) at times k (n,)."""
        xy = project(self.frame_to_object[k], xy)
        if self.bend is not None:
            xy = np.stack(self.bend.backward(xy[:, 0], xy[:, 1], k), axis=1)
        return project(self.object_to_canvas[k], xy)

    def alpha_at(self, xy: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Alpha in 0..1 (n,), bilinear, at the pixels of the frame xy (n, 2) and times k (n,)."""
        if self.endless:
            return np.ones(len(xy))
        height, width = self.canvas.shape[:2]
        # the border is clear: alpha outside is 0
        uv = np.clip(self.to_canvas(xy, k), 0, (width - 1.001, height - 1.001))
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
        """(K, 4) left, top, right, bottom of the canvas in each frame.

        Its border is mapped; bends get a margin.
        """
        height, width = self.canvas.shape[:2]
        s = np.linspace(0, 1, 5 if self.bend is None else 17)
        sides = ((s, 0 * s), (s, 0 * s + 1), (0 * s, s), (0 * s + 1, s))
        ring = np.concatenate([np.stack(side, -1) for side in sides])
        ring = ring * (width - 1, height - 1)
        times = np.arange(len(self.object_to_frame))
        points = self.from_canvas(np.tile(ring, (len(times), 1)), np.repeat(times, len(ring)))
        points = points.reshape(len(times), len(ring), 2)
        margin = 2 if self.bend is None else 3 + 0.5 * np.abs(self.bend.amplitude).sum(1).max()
        return np.concatenate([points.min(1) - margin, points.max(1) + margin], axis=1)

    def clip_box(self, k: int, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
        """left, top, right, bottom that the layer may touch in a frame of `size` (H, W), or None.

        right and bottom are one more than the last.
        """
        height, width = size
        if self.endless:
            return 0, 0, width, height
        left, top, right, bottom = self._integer_boxes[k]
        box = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        return box if box[0] < box[2] and box[1] < box[3] else None

    @cached_property
    def _integer_boxes(self) -> list[list[int]]:
        return (np.clip(self.boxes, -2, 1e4).astype(int) + (0, 0, 1, 1)).tolist()


def find_top_layer(layers: list[Layer], xy: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Index (n,) of the uppermost opaque layer at the pixels xy (n, 2) and times k (n,)."""
    top = np.zeros(len(xy), int)
    for number, layer in enumerate(layers):
        top[layer.covers(xy, k)] = number
    return top


def is_hidden(layers: list[Layer], owner: np.ndarray, xy: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Bool (n,): an opaque layer above `owner` (n,) covers the pixels xy (n, 2), times k (n,)."""
    covered = np.zeros(len(xy), bool)
    for number, layer in enumerate(layers):
        below = np.flatnonzero((owner < number) & ~covered)
        covered[below] = layer.covers(xy[below], k[below])
    return covered
