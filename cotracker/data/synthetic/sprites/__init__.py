"""Layered 2-D scenes: textured objects, some with joints, over a background; exact tracks."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator

from cotracker.data.synthetic.camera_effects import sample_camera_effects
from cotracker.data.synthetic.motion import sample_log_uniform
from cotracker.data.synthetic.recipe import Recipe
from cotracker.data.synthetic.sprites.builder import SceneBuilder, defocus
from cotracker.data.synthetic.sprites.camera import sample_camera
from cotracker.data.synthetic.sprites.layers import Layer
from cotracker.data.synthetic.sprites.scene import Scene
from cotracker.data.synthetic.textures import Textures
from cotracker.types import Clip

FINEST = 9  # shots that fill a frame's exposure evenly
# (motion in pixels, the shots of these nine that are enough below it)
SHOTS = ((1.5, (4,)), (4.5, (1, 4, 7)), (9.0, (0, 2, 4, 6, 8)), (np.inf, tuple(range(FINEST))))


@dataclass
class Sprites(Recipe):
    """Clips of layered scenes.  The fields: see Recipe.

    `clip(rng)` is a pure function of the generator.
    """

    def __post_init__(self):
        super().__post_init__()
        self._textures = Textures(self.textures, self.procedural)

    def clip(self, rng: Generator) -> Clip:
        """One Clip: video T 3 H W uint8 RGB, tracks T N 2, visible and valid T N."""
        scene = self.scene(rng)
        frames = np.ascontiguousarray(scene.render().transpose(0, 3, 1, 2))
        return scene.to_clip(torch.from_numpy(frames))

    def scene(self, rng: Generator) -> Scene:
        """Everything about a clip but its pixels, for either renderer."""
        layers, frame_of, middle = self.sample_layers(rng)
        size = (self.height, self.width)
        if self.crop is not None:
            corner = rng.integers(0, np.subtract(size, self.crop) + 1)
            layers = [layer.shifted(corner[::-1]) for layer in layers]
            size = tuple(self.crop)
        scene = Scene(layers, frame_of, middle, size, sample_camera_effects(self, rng))
        points = scene.sample_points(rng, self.points, self.background_points)
        tracks, visible = scene.track_points(*points)
        return replace(scene, tracks=tracks, visible=visible)

    def sample_layers(self, rng: Generator) -> tuple[list[Layer], np.ndarray, np.ndarray]:
        """The layers from the back, each shot's frame (K,) and each frame's middle shot (T,)."""
        offsets = self._sample_exposure(rng)
        shots = len(offsets)
        times = (np.arange(self.frames)[:, None] + offsets).ravel()
        camera = sample_camera(self, rng, times)
        layers = self._build_layers(SceneBuilder(self, self._textures, rng, times, camera), rng)
        kept = _choose_shots(layers, self.frames, shots)
        middle = np.searchsorted(kept, np.arange(self.frames) * shots + shots // 2)
        return [layer.at(kept) for layer in layers], kept // shots, middle

    def _sample_exposure(self, rng: Generator) -> np.ndarray:
        """Times of a frame's shots, in frames from its middle."""
        blurred = rng.random() < self.motion_blur
        shutter = rng.uniform(*self.shutter)
        return shutter * (np.arange(FINEST) - FINEST // 2) / FINEST if blurred else np.zeros(1)

    def _build_layers(self, builder: SceneBuilder, rng: Generator) -> list[Layer]:
        layers = [builder.build_background()]
        behind = layers[0].canvas
        objects = rng.integers(self.objects[0], self.objects[1] + 1)
        for parallax in np.sort(rng.uniform(1.0, 1.8, objects)):
            layers += builder.build_object(parallax, behind)
        shallow = rng.random() < self.shallow_focus
        sigma = sample_log_uniform(rng, 0.8, 3) * self.width / 256
        front_blurred = rng.random() < 0.5
        if shallow and not front_blurred:
            layers[0] = defocus(layers[0], sigma)
            behind = layers[0].canvas
        if rng.random() < self.foreground:
            for parallax in np.sort(rng.uniform(1.8, 2.4, rng.integers(1, 4))):
                front = builder.build_foreground(parallax, behind)
                layers.append(defocus(front, sigma) if shallow and front_blurred else front)
        return layers


def _choose_shots(layers: list[Layer], frames: int, shots: int) -> np.ndarray:
    """Indices (K,) of the shots to render, of `shots` a frame: more where a layer moves further."""
    first = np.arange(frames) * shots
    if shots == 1:
        return first
    ends = first + shots - 1
    motion = np.max([_measure_motion(layer, first, ends) for layer in layers], axis=0)
    chosen = [next(inner for most, inner in SHOTS if far < most) for far in np.minimum(motion, 1e6)]
    return np.concatenate([start + np.array(inner) for start, inner in zip(first, chosen)])


def _measure_motion(layer: Layer, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Pixels (n,) that nine positions of the canvas move at most, between times (n,)."""
    grid = np.array([(x, y) for x in (0, 0.5, 1) for y in (0, 0.5, 1)]) * layer.canvas.shape[1::-1]
    uv = np.tile(grid, (len(before), 1))
    early, late = (layer.from_canvas(uv, np.repeat(k, len(grid))) for k in (before, after))
    return np.linalg.norm(late - early, axis=1).reshape(len(before), -1).max(1)
