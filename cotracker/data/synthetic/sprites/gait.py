"""How feet step: each stands on the ground while the body passes over it, then swings ahead."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

FASTEST = 1 / 6  # strides a frame: a foot is seen in the air and on the ground in each


@dataclass(frozen=True)
class Leg:
    """A leg of two equal segments, of a figure that looks to the right, in units of its radius.

    length: of both together.
    bend: the side to which the knee bends, 1 or -1.
    phase: strides ahead of the figure's.
    """

    length: float
    bend: int
    phase: float


@dataclass(frozen=True)
class Gait:
    """A way of walking; lengths are in leg lengths.

    stance: the share of a stride's time that a foot stands.
    reach: how far ahead of the hip it comes down, and behind it leaves.
    height: the mean height of the hips over the ground.
    lift: of a foot in mid swing.
    bob: amplitude of the hips.
    """

    stance: float
    reach: float
    height: float
    lift: float
    bob: float

    @property
    def stride(self) -> float:
        """How far the body moves in one stride; a standing foot goes from `reach` to -`reach`."""
        return 2 * self.reach / self.stance

    def hip_rise(self, strides: np.ndarray) -> np.ndarray:
        """Height of the hips above their mean (K,): up and down twice a stride."""
        return self.bob * np.cos(4 * np.pi * (strides - self.stance / 2))

    def foot_position(self, leg: Leg, strides: np.ndarray) -> np.ndarray:
        """The foot from its hip (K, 2), x ahead and y down, after `strides` (K,)."""
        share = np.mod(strides + leg.phase, 1.0)
        swing = np.clip((share - self.stance) / (1 - self.stance), 0, 1)
        standing = self.reach * (1 - 2 * share / self.stance)
        swinging = self.reach * (2 * swing * swing * (3 - 2 * swing) - 1)
        ahead = np.where(share < self.stance, standing, swinging)
        down = self.height + self.hip_rise(strides) - self.lift * np.sin(np.pi * swing)
        return np.stack([ahead, down], axis=-1)

    def joint_angles(self, leg: Leg, strides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Angles of hip and knee (K,), from a leg that hangs straight down."""
        x, y = self.foot_position(leg, strides).T
        inner = np.arccos(np.minimum(np.hypot(x, y), 1.0))
        return -np.arctan2(x, y) - leg.bend * inner, 2 * leg.bend * inner


def sample_gait(rng: Generator) -> Gait:
    """A Gait between a slow walk and a gallop, whose feet are always within the legs' length."""
    height, bob = rng.uniform(0.75, 0.93), rng.uniform(0, 0.03)
    reach = rng.uniform(0.6, 0.98) * np.sqrt(1 - (height + bob) ** 2)
    return Gait(rng.uniform(0.3, 0.65), reach, height, rng.uniform(0.08, 0.35), bob)
