"""A layered scene as numbers: all that a renderer needs, and the truth about its points."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator

from cotracker.data.synthetic.camera_effects import CameraEffects, apply_camera_effects
from cotracker.data.synthetic.sprites.layers import Layer, find_top_layer, is_hidden
from cotracker.data.synthetic.sprites.render_opencv import render_layers
from cotracker.data.synthetic.sprites.render_torch import render_batch
from cotracker.data.synthetic.tracked_points import distance_outside, pick_points
from cotracker.types import Clip, collate


@dataclass(frozen=True)
class Scene:
    """Layers from the back over K shots, before any pixel is rendered.

    It is small enough to pass between processes.

    frame_of: (K,) the frame whose exposure each shot belongs to, rising.
    middle: (T,) the shot in the middle of each frame's exposure, for which the truth holds.
    size: (H, W).
    effects: the camera effects on the frames.
    tracks, visible: T N 2 pixels and T N bool of the points at the middle shots, or None.
    seed, replaced, reason: as a Clip's.
    """

    layers: list[Layer]
    frame_of: np.ndarray
    middle: np.ndarray
    size: tuple[int, int]
    effects: CameraEffects = CameraEffects()
    tracks: np.ndarray | None = None
    visible: np.ndarray | None = None
    seed: tuple = (0, 0)
    replaced: int = 0
    reason: str = ""

    def render(self) -> np.ndarray:
        """Frames T H W 3 uint8 RGB, rendered on the CPU."""
        frames = render_layers(self.layers, self.frame_of, self.size)
        return apply_camera_effects(self.effects, frames)

    def to_clip(self, video: torch.Tensor) -> Clip:
        """The Clip with this video T 3 H W.

        Visible: within the frame, under no layer, on an object's near side.
        Valid: at most a quarter of the frame outside it.
        """
        outside = distance_outside(self.tracks, self.size)
        return Clip(
            video=video,
            tracks=torch.from_numpy(self.tracks.astype(np.float32)),
            visible=torch.from_numpy(self.visible),
            valid=torch.from_numpy((outside <= 0.25).all(-1)),
            name="sprites",
            seed=self.seed,
            replaced=self.replaced,
            reason=self.reason,
        )

    @staticmethod
    def batch(scenes: Sequence["Scene"]) -> "SceneBatch":
        """The SceneBatch of scenes of equal sizes."""
        return SceneBatch(scenes)

    def track_points(
        self, owner: np.ndarray, xy: np.ndarray, frame: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tracks (T, N, 2) and visible (T, N) of points.

        owner: (N,) the layer of each.
        xy: (N, 2) where it is seen.
        frame: (N,) in which frame.
        """
        count, total = len(owner), len(self.middle)
        tracks = np.empty((total, count, 2))
        visible = np.empty((total, count), bool)
        for number in np.unique(owner):
            layer = self.layers[number]
            own = np.flatnonzero(owner == number)
            uv = np.tile(layer.backward(xy[own], self.middle[frame[own]]), (total, 1))
            k = np.repeat(self.middle, len(own))
            tracks[:, own] = layer.forward(uv, k).reshape(total, -1, 2)
            visible[:, own] = layer.is_front(uv, k).reshape(total, -1)
        visible &= (distance_outside(tracks, self.size) <= 0).all(-1)
        seen = np.nonzero(visible)
        visible[seen] = ~is_hidden(self.layers, owner[seen[1]], tracks[seen], self.middle[seen[0]])
        return tracks, visible

    def sample_points(
        self, rng: Generator, points: int, on_background: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Layer (N,), pixel (N, 2) and frame (N,) where each of `points` points is surely visible.

        Two fifths are in frame 0, the rest in the first three quarters.
        on_background: the share of points on the background.
        """
        first = -(-2 * points // 5)
        late = max(3 * len(self.middle) // 4, 1)
        picks = [
            self._sample_within(rng, 1, first, on_background),
            self._sample_within(rng, late, points - first, on_background),
        ]
        owner, xy, frame = (np.concatenate(values) for values in zip(*picks))
        return owner, xy, frame

    def _sample_within(
        self, rng: Generator, frames: int, count: int, on_background: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`count` points in the first `frames`, out of many candidates."""
        candidates = 6 * count + 256
        xy = rng.random((candidates, 2)) * (self.size[1] - 1, self.size[0] - 1)
        frame = rng.integers(frames, size=candidates)
        owner = find_top_layer(self.layers, xy, self.middle[frame])
        chosen = pick_points(rng, owner, count, on_background)
        return owner[chosen], xy[chosen], frame[chosen]


@dataclass(frozen=True)
class SceneBatch:
    """Scenes of equal sizes in the place of a collated Clip; `.to(device)` renders it there."""

    scenes: Sequence[Scene]

    @property
    def seed(self) -> list[tuple]:
        return [scene.seed for scene in self.scenes]

    @property
    def replaced(self) -> list[int]:
        return [scene.replaced for scene in self.scenes]

    @property
    def reason(self) -> list[str]:
        return [scene.reason for scene in self.scenes]

    def pin_memory(self) -> "SceneBatch":
        """Itself: what a device needs of a scene is put together when it is rendered."""
        return self

    def without_video(self) -> Clip:
        """The Clip before rendering: its video is on the meta device, a shape without pixels."""
        clips = []
        for scene in self.scenes:
            shape = len(scene.middle), 3, *scene.size
            clips.append(scene.to_clip(torch.empty(shape, dtype=torch.uint8, device="meta")))
        return collate(clips)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Clip:
        """The Clip with B in front, rendered on `device`; its video is B T 3 H W uint8.

        non_blocking: as Clip.to has it; rendering always waits for the device.
        """
        videos = render_batch(self.scenes, torch.device(device))
        clips = [scene.to_clip(video) for scene, video in zip(self.scenes, videos)]
        return collate([clip.to(device) for clip in clips])
