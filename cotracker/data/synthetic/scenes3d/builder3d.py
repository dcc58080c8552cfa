"""A random 3-D scene: its textures, planes, lights, and the bodies of its objects and creatures."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic.motion import sample_log_uniform
from cotracker.data.synthetic.recipe3d import Recipe3D
from cotracker.data.synthetic.scenes3d import elements
from cotracker.data.synthetic.scenes3d.creatures import (
    depth_below,
    sample_creature,
    sample_trunk_motion,
)
from cotracker.data.synthetic.scenes3d.scene3d import Body, Scene3D
from cotracker.data.synthetic.textures import Textures

STEPS_PER_FRAME = 20  # of physics


def build_scene(
    recipe: Recipe3D, textures: Textures, rng: Generator, steps: int
) -> tuple[Scene3D, float]:
    """A Scene3D of `steps` physics steps, and an azimuth (radians) from where it is well seen."""
    step = 1 / (STEPS_PER_FRAME * recipe.fps)
    count = rng.integers(recipe.objects[0], recipe.objects[1] + 1)
    wide = min(4 * recipe.height, 1024)
    images = [elements.sample_plane_texture(rng, textures, wide)]
    planes = [elements.sample_ground(rng, 0)]
    azimuths = np.array([rng.uniform(0, 2 * np.pi)])
    if rng.random() < recipe.walls:
        more = rng.choice((1, 2), p=(0.4, 0.6))
        images += [elements.sample_plane_texture(rng, textures, wide) for _ in range(more)]
        walls, azimuths = elements.sample_walls(rng, list(range(1, 1 + more)))
        planes += walls
    first = len(images)
    side = int(0.6 * recipe.height)
    images += [elements.sample_cube_texture(rng, textures, side) for _ in range(count)]
    numbers = first + np.arange(count)
    twin = rng.random(count) < recipe.twins
    numbers[twin] = first + rng.integers(count, size=twin.sum())
    lights, ambient = elements.sample_lights(rng, recipe.shadows)
    bodies = _BodyBuilder(recipe, rng, step * np.arange(steps)).build_bodies(numbers)
    shine = rng.uniform(0, 0.8, len(images)) * (rng.random(len(images)) < 0.4)
    scene = Scene3D(
        bodies=tuple(bodies),
        planes=tuple(planes),
        lights=tuple(lights),
        textures=tuple(images),
        shine=tuple(shine),
        sky=elements.sample_sky(rng, textures, int(1.5 * recipe.height)),
        ambient=ambient,
        step=step,
        steps=steps,
    )
    return scene, azimuths.mean() + np.pi


@dataclass(frozen=True)
class _BodyBuilder:
    """Builds the bodies of a scene.

    times: of the steps of physics, in seconds.
    """

    recipe: Recipe3D
    rng: Generator
    times: np.ndarray

    def build_bodies(self, textures: np.ndarray) -> list[Body]:
        """An object or creature for each of the `textures` (indices), apart from each other."""
        rng, recipe = self.rng, self.recipe
        alive = rng.random(len(textures)) < recipe.creatures
        sizes = np.array([sample_log_uniform(rng, *recipe.object_size) for _ in textures])
        bodies = []
        taken = []
        for texture, size in zip(textures[alive], sizes[alive]):
            palette = [texture, *textures[:2]]
            creature, position = self._build_creature(2.2 * size, len(bodies), palette)
            bodies += creature
            taken.append((position, 1.2 * size))
        positions = elements.sample_positions(rng, sizes[~alive], taken)
        for texture, size, position in zip(textures[~alive], sizes[~alive], positions):
            bodies.append(self._build_object(size, texture, position))
        return bodies

    def _build_object(self, size: float, texture: int, position: np.ndarray) -> Body:
        rng, recipe = self.rng, self.recipe
        body = elements.sample_object(rng, size, texture, recipe.meshes)
        velocity = self._sample_velocity(position)
        free = rng.random() >= recipe.fixed
        position = position if free else position * (1, 1, 0) + (0, 0, 0.6 * size)
        rotation = elements.sample_rotation(rng)
        return replace(
            body, position=tuple(position), quaternion=rotation, free=free, velocity=velocity
        )

    def _build_creature(
        self, size: float, first: int, textures: list[int]
    ) -> tuple[list[Body], np.ndarray]:
        """The bodies of a creature that walks, floats or falls, and its position half way."""
        rng, times = self.rng, self.times
        walks = rng.random() < self.recipe.walking
        bodies = sample_creature(rng, size, first, textures, times if walks else None)
        position = np.append(rng.normal(0, 0.6 * elements.RADIUS, 2), 0.0)
        height = depth_below(bodies, first) * rng.uniform(0.9, 1.0)
        if walks:
            height += (rng.random() < 0.25) * rng.uniform(0.2, 1.2)
            motion = sample_trunk_motion(rng, times, size, height)
            motion[:, :3] += position
            bodies[0] = replace(bodies[0], position=tuple(motion[0, :3]), motion=motion)
        else:
            position[2] = height + rng.uniform(0.1, 1.5)
            velocity = self._sample_velocity(position, slower_spin=2)
            rotation = elements.sample_rotation(rng)
            bodies[0] = replace(
                bodies[0], position=tuple(position), quaternion=rotation, velocity=velocity
            )
        return bodies, position + (0, 0, height)

    def _sample_velocity(self, position: np.ndarray, slower_spin: float = 1) -> tuple:
        speed = sample_log_uniform(self.rng, *self.recipe.speed)
        spin = sample_log_uniform(self.rng, *self.recipe.spin) / slower_spin
        return elements.sample_velocity(self.rng, position, speed, spin)
