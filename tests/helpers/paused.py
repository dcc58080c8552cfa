"""A generator whose clips take a while where a test has to stop a run in their midst."""

import os
import time

import numpy as np

from cotracker.data.synthetic.sprites import Sprites
from cotracker.types import Clip


class Paused(Sprites):
    """Clips of Sprites, each slower by the number of seconds in the environment's PAUSE."""

    def clip(self, rng: np.random.Generator) -> Clip:
        time.sleep(float(os.environ.get("PAUSE", 0)))
        return super().clip(rng)
