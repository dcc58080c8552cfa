"""3-D scenes by MuJoCo: things and creatures fall, walk and collide before a moving camera; tracks as in Kubric."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator

from cotracker.data.kubric.tracks import sample_tracks
from cotracker.data.synthetic.camera_effects import apply_camera_effects, sample_camera_effects
from cotracker.data.synthetic.motion import sample_log_uniform
from cotracker.data.synthetic.recipe import check_probabilities, check_sizes
from cotracker.data.synthetic.scenes3d import staging
from cotracker.data.synthetic.scenes3d.camera import clearance, moving_camera, seen_share
from cotracker.data.synthetic.scenes3d.creatures import below, creature, gait
from cotracker.data.synthetic.scenes3d.mujoco_world import World
from cotracker.data.synthetic.scenes3d.recorded import Surface, in_front, recorded
from cotracker.data.synthetic.scenes3d.scene import Body, Camera, Poses, Scene
from cotracker.data.synthetic.textures import Textures
from cotracker.types import Clip

STEPS = 20  # of physics in a frame
CAMERAS = 12  # tried until one sees enough
CLEAR = 0.25  # metres that a camera keeps from everything


@dataclass
class Scenes3D:
    """Clips of 3-D scenes; `clip(rng)` is a pure function of the generator it is given (and of the OpenGL at work).

    frames, height, width, points: the sizes of a clip.  sampled: points that the track algorithm draws, of which a clip
    keeps `points`, those well seen; a recording keeps all, and so does a clip where the two are equal.
    textures: folder(s) of photographs, None for patterns only; procedural: the share of patterns when there are
    photographs.  fps: frames a second.  objects: fewest and most; object_size: metres from middle to edge.
    speed, spin: m/s and radians/s at the start, log-uniform.  camera_speed: m/s.  fov: degrees, vertical.
    background_points: the share of points wanted on the background.  All the others are probabilities.  Of an object:
    being a creature, moving its limbs itself, being a made mesh, standing fixed, sharing the texture of another.  Of
    a scene having walls, a light casting shadows; of the camera being still, shaking, following something; of each
    effect on the frames.
    """

    frames: int = 24
    height: int = 256
    width: int = 256
    points: int = 64
    sampled: int = 2048
    textures: str | list[str] | None = None
    procedural: float = 0.2
    fps: float = 12.0
    objects: tuple[int, int] = (5, 20)
    object_size: tuple[float, float] = (0.14, 0.7)
    speed: tuple[float, float] = (0.2, 4.0)
    spin: tuple[float, float] = (0.2, 9.0)
    camera_speed: tuple[float, float] = (0.05, 1.8)
    fov: tuple[float, float] = (28.0, 62.0)
    background_points: float = 0.4
    creatures: float = 0.15
    walking: float = 0.7
    meshes: float = 0.45
    fixed: float = 0.12
    twins: float = 0.15
    walls: float = 0.5
    shadows: float = 0.8
    still_camera: float = 0.1
    shaking_camera: float = 0.4
    following_camera: float = 0.3
    motion_blur: float = 0.2
    light_drift: float = 0.4
    light_field: float = 0.1
    low_contrast: float = 0.08
    defocus: float = 0.2
    noise: float = 0.4
    compression: float = 0.3

    def __post_init__(self):
        check_sizes(self)
        if self.sampled < self.points:
            raise ValueError(
                f"Scenes3D cannot choose points={self.points} of sampled={self.sampled}: raise sampled"
            )
        if not 0 <= self.objects[0] <= self.objects[1] <= 24:
            raise ValueError(
                f"Scenes3D.objects must be a fewest and a most within 0..24, not {self.objects}"
            )
        check_probabilities(self, "creatures")
        self._textures = Textures(self.textures, self.procedural)

    def clip(self, rng: Generator) -> Clip:
        """One Clip: video T 3 H W uint8 RGB, tracks T N 2, visible and valid T N; all drawn from `rng`.

        Visible: within the frame and seen. Valid: before the camera, at most a quarter of the frame outside it.
        ValueError: the physics went wrong or too little is seen; draw again.
        """
        frames, surface = self._filmed(rng)
        clip, own = self._tracked(rng, frames, surface)
        if self.points == self.sampled:
            return clip
        kept = self._choose(rng, clip.visible.numpy(), own)
        return replace(
            clip, **{name: getattr(clip, name)[:, kept] for name in ("tracks", "visible", "valid")}
        )

    def recording(self, rng: Generator) -> tuple[Clip, dict[str, np.ndarray]]:
        """A Clip of all `sampled` points, and by-products: depth T H W float32, the distance in metres to the camera's
        centre (10,000 in the sky); segments T H W uint8, 0 background.
        """
        frames, surface = self._filmed(rng)
        clip, _ = self._tracked(rng, frames, surface)
        return clip, {"depth": surface.recording.depth, "segments": surface.recording.segments}

    def _filmed(self, rng: Generator) -> tuple[np.ndarray, Surface]:
        """Frames T H W 3 uint8 and the Surface that they show."""
        world, poses, camera, exact = self._played(rng)
        frames, depth, seen = world.film(poses, camera, exact)
        exposures = frames.reshape(self.frames, -1, *frames.shape[1:])
        frames = (
            exposures[:, 0]
            if exposures.shape[1] == 1
            else exposures.mean(1).round().astype(np.uint8)
        )
        frames = apply_camera_effects(sample_camera_effects(self, rng), frames)
        return frames, recorded(poses.at(exact), camera.at(exact), depth, seen)

    def _played(self, rng: Generator) -> tuple[World, Poses, Camera, np.ndarray]:
        """The World, the Poses and Camera at all its moments, and which of these (T,) are the frames' truth."""
        moments = self._moments(rng)
        scene, azimuth = self._scene(rng, moments[-1, -1] + 1)
        world = World(scene, self.height, self.width)
        poses = world.simulate(moments.ravel())
        camera = self._camera(rng, scene, moments.ravel() * scene.step, poses, azimuth)
        return (
            world,
            poses,
            camera,
            np.arange(moments.size).reshape(moments.shape)[:, moments.shape[1] // 2],
        )

    def _moments(self, rng: Generator) -> np.ndarray:
        """The steps (T, s) of physics whose mean each frame is; the middle one is its truth."""
        offsets = np.zeros(1, int)
        if rng.random() < self.motion_blur:
            offsets = np.array([-1, 0, 1]) * rng.integers(1, STEPS // 3)
        start = rng.integers(STEPS // 3, STEPS * self.fps // 2)
        return start + STEPS * np.arange(self.frames)[:, None] + offsets

    def _scene(self, rng: Generator, steps: int) -> tuple[Scene, float]:
        """The Scene, and an azimuth from where it is well seen."""
        step, count = 1 / (STEPS * self.fps), rng.integers(self.objects[0], self.objects[1] + 1)
        side, wide = int(0.6 * self.height), min(4 * self.height, 1024)
        textures = [staging.sheet(rng, self._textures, wide)]
        planes, azimuths = [staging.ground(rng, 0)], np.array([rng.uniform(0, 2 * np.pi)])
        if rng.random() < self.walls:
            more = rng.choice((1, 2), p=(0.4, 0.6))
            textures += [staging.sheet(rng, self._textures, wide) for _ in range(more)]
            built, azimuths = staging.walls(rng, list(range(1, 1 + more)))
            planes += built
        first = len(textures)
        textures += [staging.cube(rng, self._textures, side) for _ in range(count)]
        numbers = first + np.arange(count)
        twin = rng.random(count) < self.twins
        numbers[twin] = first + rng.integers(count, size=twin.sum())
        lights, ambient = staging.lights(rng, self.shadows)
        scene = Scene(
            bodies=tuple(self._bodies(rng, numbers, steps, step)),
            planes=tuple(planes),
            lights=tuple(lights),
            textures=tuple(textures),
            shine=tuple(rng.uniform(0, 0.8, len(textures)) * (rng.random(len(textures)) < 0.4)),
            sky=staging.sky(rng, self._textures, int(1.5 * self.height)),
            ambient=ambient,
            step=step,
            steps=steps,
        )
        return scene, azimuths.mean() + np.pi

    def _bodies(self, rng: Generator, textures: np.ndarray, steps: int, step: float) -> list[Body]:
        """One thing or creature for each of the numbers `textures`, in places apart from each other."""
        alive = rng.random(len(textures)) < self.creatures
        times = step * np.arange(steps)
        sizes = np.array([sample_log_uniform(rng, *self.object_size) for _ in textures])
        bodies, taken = [], []
        for texture, size in zip(textures[alive], sizes[alive]):
            made, place = self._creature(
                rng, 2.2 * size, len(bodies), [texture, *textures[:2]], times
            )
            bodies += made
            taken.append((place, 1.2 * size))
        places = staging.apart(rng, sizes[~alive], taken)
        for texture, size, place in zip(textures[~alive], sizes[~alive], places):
            body = staging.thing(rng, size, texture, self.meshes)
            velocity = staging.throw(
                rng,
                place,
                sample_log_uniform(rng, *self.speed),
                sample_log_uniform(rng, *self.spin),
            )
            free = rng.random() >= self.fixed
            place = place if free else place * (1, 1, 0) + (0, 0, 0.6 * size)
            bodies.append(
                replace(
                    body,
                    position=tuple(place),
                    quaternion=staging.any_turn(rng),
                    free=free,
                    velocity=velocity,
                )
            )
        return bodies

    def _creature(
        self, rng: Generator, size: float, first: int, textures: list[int], times: np.ndarray
    ):
        """The bodies of a creature that walks, floats or falls, and where it is half way."""
        walks = rng.random() < self.walking
        bodies = creature(rng, size, first, textures, times if walks else None)
        place = np.append(rng.normal(0, 0.6 * staging.RADIUS, 2), 0.0)
        height = below(bodies, first) * rng.uniform(0.9, 1.0)
        if walks:
            height += (rng.random() < 0.25) * rng.uniform(0.2, 1.2)
            way = gait(rng, times, size, height)
            way[:, :3] += place
            bodies[0] = replace(bodies[0], position=tuple(way[0, :3]), motion=way)
        else:
            place[2] = height + rng.uniform(0.1, 1.5)
            velocity = staging.throw(
                rng,
                place,
                sample_log_uniform(rng, *self.speed),
                sample_log_uniform(rng, *self.spin) / 2,
            )
            turned = staging.any_turn(rng)
            bodies[0] = replace(
                bodies[0], position=tuple(place), quaternion=turned, velocity=velocity
            )
        return bodies, place + (0, 0, height)

    def _camera(
        self, rng: Generator, scene: Scene, times: np.ndarray, poses: Poses, azimuth: float
    ) -> Camera:
        """The first of some cameras that stands free and sees enough, or else the best of them."""
        best, most = None, -np.inf
        for _ in range(CAMERAS):
            followed = None
            if len(poses.positions) and rng.random() < self.following_camera:
                followed = poses.positions[rng.integers(len(poses.positions))]
            speed = (
                0.0
                if rng.random() < self.still_camera
                else sample_log_uniform(rng, *self.camera_speed)
            )
            shake = sample_log_uniform(rng, 0.1, 0.8) if rng.random() < self.shaking_camera else 0.0
            interest = (
                np.median(poses.positions.mean(1), axis=0)
                if len(poses.positions)
                else np.array([0, 0, 0.5])
            )
            side = azimuth + rng.normal(0, 0.6)
            camera = moving_camera(
                rng, times, interest, followed, side, speed, shake, rng.uniform(*self.fov)
            )
            score = seen_share(camera, poses, self.width / self.height)
            score -= 3 * (clearance(camera, poses, scene.planes) < CLEAR)
            if score > most:
                best, most = camera, score
            if most > 0.6:
                break
        if most < 0:
            raise ValueError("no camera stands free in this scene: draw another")
        return best

    def _tracked(
        self, rng: Generator, frames: np.ndarray, surface: Surface
    ) -> tuple[Clip, np.ndarray]:
        """The Clip of all sampled points, and the segment (N,) that each stands on."""
        coords, occluded, queries = sample_tracks(
            surface.recording, rng, self.sampled, max_segments=255
        )
        t, column, row = np.floor(queries).astype(int).T
        own = surface.recording.segments[t, row, column].astype(int)
        front = in_front(surface, np.stack([t, row, column], axis=1))
        size = np.array([self.width, self.height])
        tracks = coords.transpose(1, 0, 2).astype(float) - 0.5
        tracks = np.where(front[..., None], tracks, _beyond(tracks, size))
        outside = np.maximum(-tracks, tracks - (size - 1)) / size
        visible = ~occluded.T & (outside <= 0).all(-1)
        clip = Clip(
            video=torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))),
            tracks=torch.from_numpy(tracks.astype(np.float32)),
            visible=torch.from_numpy(visible),
            valid=torch.from_numpy((outside <= 0.25).all(-1)),
            name="scenes3d",
        )
        return clip, own

    def _choose(self, rng: Generator, visible: np.ndarray, own: np.ndarray) -> np.ndarray:
        """`points` of the tracks: 2/5 seen in frame 0, all in the first three quarters; small pieces favoured."""
        first = -(-2 * self.points // 5)
        early = _pick(rng, own, np.flatnonzero(visible[0]), first, self.background_points)
        late = visible[: max(3 * self.frames // 4, 1)].any(0)
        late[early] = False
        return np.append(
            early,
            _pick(rng, own, np.flatnonzero(late), self.points - first, self.background_points),
        )


def _pick(
    rng: Generator, own: np.ndarray, candidates: np.ndarray, count: int, background: float
) -> np.ndarray:
    """`count` of the `candidates`, `background` of the chance on segment 0. ValueError: there are too few."""
    if len(candidates) < count:
        raise ValueError(
            f"only {len(candidates)} of the {count} points wanted are seen: draw another"
        )
    segment = own[candidates]
    weight = 1 / np.sqrt(np.bincount(segment)[segment])
    behind = segment == 0
    if 0 < behind.sum() < len(segment):
        weight[behind] *= background / weight[behind].sum()
        weight[~behind] *= (1 - background) / weight[~behind].sum()
    return rng.choice(candidates, count, replace=False, p=weight / weight.sum())


def _beyond(tracks: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Far outside the frame, on the side where what is now behind the camera left it; `tracks` there are mirrored."""
    away = size / 2 - tracks
    return size / 2 + 4 * size.max() * away / np.maximum(
        np.linalg.norm(away, axis=-1, keepdims=True), 1e-6
    )
