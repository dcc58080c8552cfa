"""Layered 2-D scenes: textured things, whole and articulated, over a background, with exact tracks and visibility."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator

from cotracker.data.synthetic.camera_effects import draw_look
from cotracker.data.synthetic.motion import log_uniform
from cotracker.data.synthetic.recipe import Recipe
from cotracker.data.synthetic.sprites.camera import draw_camera
from cotracker.data.synthetic.sprites.layers import Layer
from cotracker.data.synthetic.sprites.objects import Stage, out_of_focus
from cotracker.data.synthetic.sprites.scene import Scene
from cotracker.data.synthetic.textures import Textures
from cotracker.types import Clip

# The shots of one frame's exposure, of nine that fill it evenly, and the motion in pixels up to which they are enough.
SHOTS = ((1.5, (4,)), (4.5, (1, 4, 7)), (9.0, (0, 2, 4, 6, 8)), (np.inf, tuple(range(9))))
FINEST = 9


@dataclass
class Sprites(Recipe):
    """Clips of layered scenes; `clip(rng)` is a pure function of the generator it is given. The fields: see Recipe."""

    def __post_init__(self):
        super().__post_init__()
        self._textures = Textures(self.textures, self.procedural)

    def clip(self, rng: Generator) -> Clip:
        """One Clip: video T 3 H W uint8 RGB, tracks T N 2, visible and valid T N; all drawn from `rng`."""
        scene = self.scene(rng)
        return scene.clip(
            torch.from_numpy(np.ascontiguousarray(scene.render().transpose(0, 3, 1, 2)))
        )

    def scene(self, rng: Generator) -> Scene:
        """Everything about a clip but its pixels, for either renderer."""
        layers, frame_of, middle = self.moving_layers(rng)
        size = (self.height, self.width)
        if self.crop is not None:
            corner = rng.integers(0, np.subtract(size, self.crop) + 1)
            layers, size = [layer.seen_from(corner[::-1]) for layer in layers], tuple(self.crop)
        scene = Scene(layers, frame_of, middle, size, draw_look(self, rng))
        tracks, visible = scene.follow(*scene.choose(rng, self.points, self.background_points))
        return replace(scene, tracks=tracks, visible=visible)

    def moving_layers(self, rng: Generator) -> tuple[list[Layer], np.ndarray, np.ndarray]:
        """The layers from the back, the frame of each shot (K,), and the middle shot of each frame (T,)."""
        blurred = rng.random() < self.motion_blur
        open_for = rng.uniform(*self.shutter)
        offsets = open_for * (np.arange(FINEST) - FINEST // 2) / FINEST if blurred else np.zeros(1)
        times = (np.arange(self.frames)[:, None] + offsets).ravel()
        stage = Stage(self, self._textures, rng, times, draw_camera(self, rng, times))
        layers = [stage.background()]
        for parallax in np.sort(
            rng.uniform(1.0, 1.8, rng.integers(self.objects[0], self.objects[1] + 1))
        ):
            layers += stage.thing(parallax, layers[0].canvas)
        shallow = rng.random() < self.shallow_focus
        softness, near = log_uniform(rng, 0.8, 3) * self.width / 256, rng.random() < 0.5
        if shallow and not near:
            layers[0] = out_of_focus(layers[0], softness)
        if rng.random() < self.foreground:
            for parallax in np.sort(rng.uniform(1.8, 2.4, rng.integers(1, 4))):
                front = stage.foreground(parallax, layers[0].canvas)
                layers += (
                    [out_of_focus(layer, softness) for layer in front]
                    if shallow and near
                    else front
                )
        kept = _needed_shots(layers, self.frames, len(offsets))
        frame_of = kept // len(offsets)
        middle = np.searchsorted(kept, np.arange(self.frames) * len(offsets) + len(offsets) // 2)
        return [layer.at(kept) for layer in layers], frame_of, middle


def _needed_shots(layers: list[Layer], frames: int, shots: int) -> np.ndarray:
    """Indices (K,) of the shots worth drawing, of `shots` a frame: more where the fastest layer moves further."""
    first = np.arange(frames) * shots
    if shots == 1:
        return first
    moved = np.max([_moved(layer, first, first + shots - 1) for layer in layers], axis=0)
    enough = [next(inner for most, inner in SHOTS if far < most) for far in np.minimum(moved, 1e6)]
    return np.concatenate([start + np.array(inner) for start, inner in zip(first, enough)])


def _moved(layer: Layer, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Pixels (n,) that the layer's canvas moves at most from the times `before` (n,) to `after`, at nine places."""
    places = (
        np.array([(x, y) for x in (0, 0.5, 1) for y in (0, 0.5, 1)]) * layer.canvas.shape[1::-1]
    )
    uv = np.tile(places, (len(before), 1))
    early, late = (layer.from_canvas(uv, np.repeat(k, len(places))) for k in (before, after))
    return np.linalg.norm(late - early, axis=1).reshape(len(before), -1).max(1)
