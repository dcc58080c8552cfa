"""A layered scene as numbers: everything that either renderer needs, and the truth about its points."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator

from cotracker.data.synthetic.camera_effects import Look, applied
from cotracker.data.synthetic.sprites.layers import Layer, hidden, top_layer
from cotracker.data.synthetic.sprites.render_opencv import drawn
from cotracker.types import Clip


@dataclass(frozen=True)
class Scene:
    """Layers from the back over K shots, before any pixel is drawn; small enough to pass between processes.

    frame_of: (K,) the frame whose exposure each shot belongs to, rising.  middle: (T,) the shot in the middle of each
    frame's exposure, for which the truth holds.  size: (H, W).  look: the effects.
    tracks: T N 2 pixels, visible: T N bool: of the points, at the middle shots; None until they are chosen.
    seed, replaced, reason: as a Clip's.
    """

    layers: list[Layer]
    frame_of: np.ndarray
    middle: np.ndarray
    size: tuple[int, int]
    look: Look = Look()
    tracks: np.ndarray | None = None
    visible: np.ndarray | None = None
    seed: tuple = (0, 0)
    replaced: int = 0
    reason: str = ""

    def render(self) -> np.ndarray:
        """Frames T H W 3 uint8 RGB, drawn on the CPU."""
        return applied(self.look, drawn(self.layers, self.frame_of, self.size))

    def clip(self, video: torch.Tensor, name: str = "sprites") -> Clip:
        """The Clip with this video T 3 H W. Visible: within the frame, under no layer, on a thing's near side.

        Valid: at most a quarter of the frame outside it.
        """
        extent = np.array(self.size[::-1])
        outside = np.maximum(-self.tracks, self.tracks - (extent - 1)) / extent
        return Clip(
            video=video,
            tracks=torch.from_numpy(self.tracks.astype(np.float32)),
            visible=torch.from_numpy(self.visible),
            valid=torch.from_numpy((outside <= 0.25).all(-1)),
            name=name,
            seed=self.seed,
            replaced=self.replaced,
            reason=self.reason,
        )

    def follow(
        self, own: np.ndarray, xy: np.ndarray, moment: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tracks (T, N, 2) and visible (T, N) of points on layers `own` (N,), seen at xy (N, 2) in frames `moment`."""
        count, total = len(own), len(self.middle)
        tracks, visible = np.empty((total, count, 2)), np.empty((total, count), bool)
        for number in np.unique(own):
            layer, mine = self.layers[number], np.flatnonzero(own == number)
            uv = np.tile(layer.backward(xy[mine], self.middle[moment[mine]]), (total, 1))
            k = np.repeat(self.middle, len(mine))
            tracks[:, mine] = layer.forward(uv, k).reshape(total, -1, 2)
            visible[:, mine] = layer.facing(uv, k).reshape(total, -1)
        flat, k = tracks.reshape(-1, 2), np.repeat(self.middle, count)
        visible &= (
            ((flat >= 0) & (flat <= (self.size[1] - 1, self.size[0] - 1)))
            .all(1)
            .reshape(total, count)
        )
        seen = np.flatnonzero(visible.ravel())
        visible.ravel()[seen] = ~hidden(self.layers, np.tile(own, total)[seen], flat[seen], k[seen])
        return tracks, visible

    def choose(self, rng: Generator, points: int, on_background: float) -> tuple[np.ndarray, ...]:
        """Layer (N,), pixel (N, 2) and frame (N,) where each of `points` points is surely visible.

        Two fifths in frame 0, the rest in the first three quarters; the share `on_background` on the background.
        """
        first = -(-2 * points // 5)
        late = max(3 * len(self.middle) // 4, 1)
        picks = [
            self._pick(rng, 1, first, on_background),
            self._pick(rng, late, points - first, on_background),
        ]
        return tuple(np.concatenate(values) for values in zip(*picks))

    def _pick(
        self, rng: Generator, frames: int, count: int, on_background: float
    ) -> tuple[np.ndarray, ...]:
        """`count` points in the first `frames` from many candidates: small layers count for more than their area."""
        candidates = 6 * count + 256
        xy = rng.random((candidates, 2)) * (self.size[1] - 1, self.size[0] - 1)
        moment = rng.integers(frames, size=candidates)
        own = top_layer(self.layers, xy, self.middle[moment])
        area = np.bincount(own, minlength=len(self.layers))
        weight = 1 / np.sqrt(area[own])
        behind = own == 0
        if 0 < behind.sum() < candidates:
            weight[behind] *= on_background / weight[behind].sum()
            weight[~behind] *= (1 - on_background) / weight[~behind].sum()
        chosen = rng.choice(candidates, count, replace=False, p=weight / weight.sum())
        return own[chosen], xy[chosen], moment[chosen]
