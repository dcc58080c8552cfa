"""How feet step: each stands on the ground while the body goes on over it, then swings ahead to its next place."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

FASTEST = 1 / 6  # strides a frame: a foot is seen in the air and on the ground in each


@dataclass(frozen=True)
class Leg:
    """A leg of two equal segments, of a figure that looks to the right, in units of the figure's radius.

    length: of both together.  bend: the side to which the knee bends, 1 or -1.  phase: turns ahead of the figure's.
    """

    length: float
    bend: int
    phase: float


@dataclass(frozen=True)
class Gait:
    """A way of walking; lengths in legs' lengths.

    stance: the share of a stride's time that a foot stands.  reach: how far ahead of the hip it comes down, and behind
    it leaves.  height: of the hips over the ground, in the mean.  lift: of a foot in mid swing.  bob: of the hips.
    """

    stance: float
    reach: float
    height: float
    lift: float
    bob: float

    @property
    def stride(self) -> float:
        """How far the body goes in a turn: a foot that stands is passed from `reach` to -`reach`."""
        return 2 * self.reach / self.stance

    def rise(self, turns: np.ndarray) -> np.ndarray:
        """How far the hips are above their mean height (K,), twice up and down a turn: most over a foot."""
        return self.bob * np.cos(4 * np.pi * (turns - self.stance / 2))

    def foot(self, leg: Leg, turns: np.ndarray) -> np.ndarray:
        """Where the foot is from its hip (K, 2), x ahead and y down, after `turns` (K,) strides."""
        share = np.mod(turns + leg.phase, 1.0)
        swing = np.clip((share - self.stance) / (1 - self.stance), 0, 1)
        standing = self.reach * (1 - 2 * share / self.stance)
        ahead = np.where(
            share < self.stance, standing, self.reach * (2 * swing * swing * (3 - 2 * swing) - 1)
        )
        return np.stack(
            [ahead, self.height + self.rise(turns) - self.lift * np.sin(np.pi * swing)], axis=-1
        )

    def angles(self, leg: Leg, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far thigh and knee are turned (K,) from a leg that hangs straight down, so that the foot is at `foot`."""
        x, y = self.foot(leg, turns).T
        inner = np.arccos(np.minimum(np.hypot(x, y), 1.0))
        return -np.arctan2(x, y) - leg.bend * inner, 2 * leg.bend * inner


def draw_gait(rng: Generator) -> Gait:
    """A Gait between a slow walk and a gallop, whose feet are always within the legs' length."""
    height, bob = rng.uniform(0.75, 0.93), rng.uniform(0, 0.03)
    reach = rng.uniform(0.6, 0.98) * np.sqrt(1 - (height + bob) ** 2)
    return Gait(rng.uniform(0.3, 0.65), reach, height, rng.uniform(0.08, 0.35), bob)
