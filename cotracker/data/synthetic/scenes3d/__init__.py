"""3-D scenes by MuJoCo: objects and creatures fall, walk and collide before a moving camera.

Their tracks come from Kubric's algorithm.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator

from cotracker.data.kubric.tracks import sample_tracks
from cotracker.data.synthetic.camera_effects import apply_camera_effects, sample_camera_effects
from cotracker.data.synthetic.recipe3d import Recipe3D
from cotracker.data.synthetic.scenes3d.builder3d import STEPS_PER_FRAME, build_scene
from cotracker.data.synthetic.scenes3d.camera3d import choose_camera
from cotracker.data.synthetic.scenes3d.mujoco_world import World
from cotracker.data.synthetic.scenes3d.recording import Surface, is_in_front, record_surface
from cotracker.data.synthetic.scenes3d.scene3d import Camera3D, Poses
from cotracker.data.synthetic.textures import Textures
from cotracker.data.synthetic.tracked_points import distance_outside, pick_points
from cotracker.types import Clip


@dataclass
class Scenes3D(Recipe3D):
    """Clips of 3-D scenes.  The fields: see Recipe3D.

    `clip(rng)` is a pure function of the generator, and of the OpenGL that renders.
    """

    def __post_init__(self):
        super().__post_init__()
        self._textures = Textures(self.textures, self.procedural)

    def clip(self, rng: Generator) -> Clip:
        """One Clip: video T 3 H W uint8 RGB, tracks T N 2, visible and valid T N.

        Visible: within the frame and seen.
        Valid: before the camera, at most a quarter of the frame outside it.
        ValueError: the physics diverged or too little is seen.
        """
        frames, surface = self._render(rng)
        clip, owner = self._track(rng, frames, surface)
        if self.points == self.sampled:
            return clip
        chosen = self._choose(rng, clip.visible.numpy(), owner)
        return replace(
            clip,
            tracks=clip.tracks[:, chosen],
            visible=clip.visible[:, chosen],
            valid=clip.valid[:, chosen],
        )

    def recording(self, rng: Generator) -> tuple[Clip, dict[str, np.ndarray]]:
        """A Clip of all `sampled` points, and its by-products.

        depth: T H W float32, the distance in metres to the camera's centre (10,000 in the sky).
        segments: T H W uint8, 0 for the background.
        """
        frames, surface = self._render(rng)
        clip, _ = self._track(rng, frames, surface)
        return clip, {"depth": surface.recording.depth, "segments": surface.recording.segments}

    def _render(self, rng: Generator) -> tuple[np.ndarray, Surface]:
        """Frames T H W 3 uint8, and the Surface that they show."""
        world, poses, camera, exact = self._simulate(rng)
        frames, depth, seen = world.render(poses, camera, exact)
        shots = frames.reshape(self.frames, -1, *frames.shape[1:])
        frames = shots[:, 0] if shots.shape[1] == 1 else shots.mean(1).round().astype(np.uint8)
        frames = apply_camera_effects(sample_camera_effects(self, rng), frames)
        return frames, record_surface(poses.at(exact), camera.at(exact), depth, seen)

    def _simulate(self, rng: Generator) -> tuple[World, Poses, Camera3D, np.ndarray]:
        """The World, its Poses and Camera3D at all shots, and which (T,) are the frames' truth."""
        steps = self._sample_steps(rng)
        scene, azimuth = build_scene(self, self._textures, rng, steps[-1, -1] + 1)
        world = World(scene, self.height, self.width)
        poses = world.simulate(steps.ravel())
        times = steps.ravel() * scene.step
        camera = choose_camera(self, rng, scene, times, poses, azimuth)
        exact = np.arange(steps.size).reshape(steps.shape)[:, steps.shape[1] // 2]
        return world, poses, camera, exact

    def _sample_steps(self, rng: Generator) -> np.ndarray:
        """The steps (T, s) of physics whose mean each frame is; the middle one is its truth."""
        offsets = np.zeros(1, int)
        if rng.random() < self.motion_blur:
            offsets = np.array([-1, 0, 1]) * rng.integers(1, STEPS_PER_FRAME // 3)
        start = rng.integers(STEPS_PER_FRAME // 3, STEPS_PER_FRAME * self.fps // 2)
        return start + STEPS_PER_FRAME * np.arange(self.frames)[:, None] + offsets

    def _track(
        self, rng: Generator, frames: np.ndarray, surface: Surface
    ) -> tuple[Clip, np.ndarray]:
        """The Clip of all sampled points, and the segment (N,) that each is on."""
        recording = surface.recording
        coords, occluded, queries = sample_tracks(recording, rng, self.sampled, max_segments=255)
        t, column, row = np.floor(queries).astype(int).T
        front = is_in_front(surface, np.stack([t, row, column], axis=1))
        tracks = coords.transpose(1, 0, 2).astype(float) - 0.5
        size = np.array([self.width, self.height])
        tracks = np.where(front[..., None], tracks, _push_outside(tracks, size))
        outside = distance_outside(tracks, (self.height, self.width))
        visible = ~occluded.T & (outside <= 0).all(-1)
        clip = Clip(
            video=torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))),
            tracks=torch.from_numpy(tracks.astype(np.float32)),
            visible=torch.from_numpy(visible),
            valid=torch.from_numpy((outside <= 0.25).all(-1)),
            name="scenes3d",
        )
        return clip, recording.segments[t, row, column].astype(int)

    def _choose(self, rng: Generator, visible: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """Indices of `points` tracks: two fifths seen in frame 0, all in the first 3/4."""
        first = -(-2 * self.points // 5)
        early = self._pick(rng, owner, np.flatnonzero(visible[0]), first)
        late = visible[: max(3 * self.frames // 4, 1)].any(0)
        late[early] = False
        return np.append(early, self._pick(rng, owner, np.flatnonzero(late), self.points - first))

    def _pick(
        self, rng: Generator, owner: np.ndarray, candidates: np.ndarray, count: int
    ) -> np.ndarray:
        """`count` of the `candidates`.  ValueError: there are too few."""
        if len(candidates) < count:
            raise ValueError(f"only {len(candidates)} of the {count} points wanted are seen")
        return candidates[pick_points(rng, owner[candidates], count, self.background_points)]


def _push_outside(tracks: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Positions far outside the frame, on the side where a point went behind the camera.

    tracks: where the projection, which mirrors what is behind, puts them.
    """
    away = size / 2 - tracks
    length = np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-6)
    return size / 2 + 4 * size.max() * away / length
