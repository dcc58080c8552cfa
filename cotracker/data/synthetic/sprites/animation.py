"""How the objects of a scene move: paths, turns, limbs and steps, as matrices over time."""

import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic import motion
from cotracker.data.synthetic.recipe import Recipe
from cotracker.data.synthetic.sprites.bodies import Body
from cotracker.data.synthetic.sprites.camera import Camera
from cotracker.data.synthetic.sprites.gait import FASTEST
from cotracker.data.synthetic.sprites.warps import Bend

RHYTHM = (6, 36)  # frames that limbs take to swing, or feet to make a stride


class Animator:
    """Samples the motions of one clip's objects, at `times` (K,).

    speed: range of this clip's objects, in frame widths a frame.  Its top is sampled from the
    highest eighth of the recipe's range up, so that there are calm clips and wild ones.
    ground: the unbent background, scene -> frame (K, 3, 3); set by `sample_ground`, which comes
    first.
    """

    ground: np.ndarray

    def __init__(self, recipe: Recipe, rng: Generator, times: np.ndarray, camera: Camera):
        self.recipe = recipe
        self.rng = rng
        self.times = times
        self.camera = camera
        self.size = np.array([recipe.width, recipe.height])
        low, high = recipe.speed
        self.speed = low, motion.sample_log_uniform(rng, max(low, high / 8), high)

    def sample_ground(self) -> np.ndarray:
        """Background -> frame (K, 3, 3), its origin in the frame's middle."""
        rng, times, recipe = self.rng, self.times, self.recipe
        tilt = np.radians(recipe.tilt) * 0.3 * (rng.random() < recipe.tilting)
        yaw = motion.sample_wave(rng, times, tilt)
        pitch = motion.sample_wave(rng, times, tilt)
        tilted = motion.tilted_plane(1.0, 1.0, 0.0, yaw, pitch, focal=3.5 * recipe.width)
        view = self.camera.at_depth(1.0) @ motion.translation(self.size / 2) @ tilted
        self.ground = view @ motion.translation(-self.size / 2)
        return view

    def sample_view(self, body: Body, parallax: float) -> np.ndarray:
        """Object -> frame (K, 3, 3): its own path, turn and tilt under the camera.

        The object is within the frame at some early time.
        """
        rng, recipe = self.rng, self.recipe
        view = self.camera.at_depth(0.0 if rng.random() < recipe.followed else parallax)
        path, moment = self._sample_path()
        if body.direction:  # walkers go where they look, on ground that is nearly level
            path[:, 1] *= rng.uniform(0, 0.4)
            path[:, 0] *= body.direction * (1 if path[-1, 0] >= path[0, 0] else -1)
        target = rng.uniform(0.08, 0.92, 2) * self.size
        path = path - path[moment] + motion.project(np.linalg.inv(view[moment]), target)
        return view @ motion.translation(path) @ self._sample_turns(body)

    def _sample_turns(self, body: Body) -> np.ndarray:
        """Growth, roll and tilt of a body about its centre, (K, 3, 3)."""
        rng, recipe, times = self.rng, self.recipe, self.times
        lively = motion.sample_log_uniform(rng, *recipe.liveliness)
        scale = np.exp(rng.uniform(-0.2, 0.2) + motion.sample_wave(rng, times, 0.3 * lively))
        stretch = np.exp(motion.sample_wave(rng, times, 0.15 * lively))
        roll = rng.normal(0, 0.4)
        roll = roll + motion.sample_wave(rng, times, 0.5 * lively) * (rng.random() < recipe.turning)
        roll = (0.3 if body.direction else 1.0) * roll
        if body.revolution is not None:
            roll = roll + rng.uniform(0, 2 * np.pi)
        if not body.direction and rng.random() < 0.5 * recipe.turning:
            roll = roll + rng.choice((-1, 1)) * motion.sample_log_uniform(rng, 0.005, 0.1) * times
        tilt = np.radians(recipe.tilt) * (rng.random() < recipe.tilting)
        yaw, pitch = (
            rng.uniform(-0.3, 0.3) * tilt
            + motion.sample_wave(rng, times, 0.7 * lively * tilt, (8, 50))
            for _ in range(2)
        )
        focal = rng.uniform(4, 8) * body.radius
        return motion.tilted_plane(scale, stretch, roll, yaw, pitch, focal)

    def _sample_path(self) -> tuple[np.ndarray, int]:
        """A path (K, 2), and the time index at which the object is surely within the frame."""
        rng, recipe, times = self.rng, self.recipe, self.times
        if rng.random() < recipe.returning:
            reach = rng.uniform(0.5, 1.3) * recipe.width
            return motion.sample_excursion(rng, times, reach, 1.6 * self.speed[1] * recipe.width)
        path = motion.sample_path(rng, times, recipe.sample_speed(rng, self.speed))
        return path, self._sample_early_time()

    def sample_cover_path(self, reach: float) -> np.ndarray:
        """Where a cover is from the middle of what it covers, (K, 2) pixels.

        It comes from at least `reach` pixels away, stays for the recipe's cover_frames, and goes.
        """
        rng, times = self.rng, self.times
        stay = motion.sample_log_uniform(rng, *self.recipe.cover_frames)
        slide = motion.sample_log_uniform(rng, 4, 16)
        begin = times[0] + slide + rng.uniform(0, max(np.ptp(times) - stay, np.ptp(times) / 2))
        angles = rng.uniform(0, 2 * np.pi, 2)
        ways = np.column_stack([np.cos(angles), np.sin(angles)])  # from where, and to where
        before = np.maximum(begin - times, 0) / slide
        after = np.maximum(times - begin - stay, 0) / slide
        wobble = motion.sample_wave(rng, times, 0.05 * reach)[:, None]
        return reach * np.column_stack([before, after]) @ ways + wobble

    def _sample_early_time(self) -> int:
        return int(self.rng.integers(0, max(len(self.times) * 6 // 10, 1)))

    def sample_walk_on_ground(self, body: Body) -> tuple[np.ndarray, np.ndarray]:
        """Object -> frame (K, 3, 3) and strides made (K,) of a body with a gait, straight on.

        It walks on the background itself, so that a standing foot moves as the ground beside it.
        One that is `followed` keeps its place in the frame, where the camera moves as a body walks.
        """
        rng, recipe, ground = self.rng, self.recipe, self.ground
        scale = np.exp(rng.uniform(-0.2, 0.2))
        slope = np.clip(rng.normal(0, 0.1), -0.3, 0.3)
        length = next(part.leg.length for part in body.parts if part.leg is not None)
        leg = scale * body.radius * length
        stride = body.gait.stride * leg
        heading = body.direction * np.array([np.cos(slope), np.sin(slope)])
        moment = self._sample_early_time()
        target = rng.uniform(0.08, 0.92, 2) * self.size
        start = motion.project(np.linalg.inv(ground[moment]), target)
        walked = self._sample_distance(stride)
        if rng.random() < recipe.followed:
            targets = np.tile(target, (len(walked), 1))
            carried = (motion.project(np.linalg.inv(ground), targets) - start) @ heading
            if self._is_walkable(carried, stride):
                walked = carried
        strides = rng.random() + (walked - walked[0]) / stride
        way = start + (walked - walked[moment])[:, None] * heading
        rise = -body.gait.hip_rise(strides) * leg / scale
        risen = motion.translation(np.stack([0 * strides, rise], axis=1))
        turned = motion.similarity(np.full(len(strides), scale), np.full(len(strides), slope))
        return ground @ motion.translation(way) @ turned @ risen, strides

    def _sample_distance(self, stride: float) -> np.ndarray:
        """Pixels (K,) walked so far, never faster than feet can step."""
        rng, recipe = self.rng, self.recipe
        speed = stride / motion.sample_log_uniform(rng, *RHYTHM)
        path = motion.sample_path(rng, self.times, min(speed, self.speed[1] * recipe.width))
        walked = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1)))
        return walked * min(1.0, FASTEST * stride / max(self._speeds(walked).max(), 1e-6))

    def _is_walkable(self, walked: np.ndarray, stride: float) -> bool:
        """Whether feet can walk so far (K,): not too slow, too fast or backwards."""
        speeds = self._speeds(walked)
        fast_enough = stride / RHYTHM[1] < speeds.mean()
        return fast_enough and speeds.max() < FASTEST * stride and -speeds.min() < speeds.max() / 4

    def _speeds(self, walked: np.ndarray) -> np.ndarray:
        """Pixels a frame (K - 1,) from each time to the next."""
        return np.diff(walked) / np.diff(self.times)

    def sample_part_poses(self, body: Body, strides: np.ndarray | None) -> list[np.ndarray]:
        """Canvas -> object of each part, (3, 3) or (K, 3, 3).

        Limbs swing, their tips within the range of speeds.
        strides: (K,) made by a body with a gait: its legs step, its other limbs swing in time.
        """
        rng = self.rng
        rhythm = motion.sample_log_uniform(rng, *RHYTHM)
        fastest = self.recipe.sample_speed(rng, self.speed) * 1.5
        least = 0.25 * (body.direction != 0)
        force = min(0.8, max(fastest * rhythm / (2 * np.pi * body.radius), least))
        # a quarter back, so that an arm is behind while its side's foot is ahead
        cycles = self.times / rhythm if strides is None else strides - 0.25
        poses = []
        for part, (_, offset) in zip(body.parts, body.canvases):
            if strides is not None and part.leg is not None:
                angles = body.gait.joint_angles(part.leg, strides)
                angles = [body.direction * angle for angle in angles]
            else:
                angles = [force * joint.share * joint.swing(cycles) for joint in part.joints]
            pose = motion.translation(offset)[0]
            for joint, angle in reversed(list(zip(part.joints, angles))):
                pivot = np.array([joint.x, joint.y]) * body.radius
                pose = motion.rotation_about(pivot, angle) @ pose
            poses.append(pose)
        return poses

    def sample_spin(self, body: Body) -> np.ndarray:
        """Angles (K,) float32 of a surface of revolution about its axis."""
        speed = self.recipe.sample_speed(self.rng, self.speed) / body.radius
        angle = motion.sample_path(self.rng, self.times, speed)[:, 0]
        return np.clip(angle, -60, 60).astype(np.float32)

    def sample_bend(self, size: float, strength: float) -> Bend:
        """Travelling waves of 0.5 to 2 periods over `size` pixels.

        Amplitude times wave number stays under 0.45.
        """
        rng, times = self.rng, self.times
        wave_number = 2 * np.pi * rng.uniform(0.5, 2, 2) / size
        swell = np.ones((len(times), 2))
        if rng.random() >= 0.5:
            waves = [motion.sample_wave(rng, times, 1.0, (6, 40)) for _ in range(2)]
            swell = np.stack(waves, axis=1)
        most = strength * 0.45 * motion.sample_log_uniform(rng, *self.recipe.liveliness)
        amplitude = most * rng.uniform(0.1, 1, 2) / wave_number * swell
        travel = rng.uniform(-1, 1, 2) * 2 * np.pi / motion.sample_log_uniform(rng, 10, 120)
        phase = rng.uniform(0, 2 * np.pi, 2) + np.outer(times, travel)
        arrays = (amplitude, wave_number, np.mod(phase, 2 * np.pi))
        return Bend(*(array.astype(np.float32) for array in arrays))
