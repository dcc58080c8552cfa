"""A generator whose clips take a while where a test has to stop a run in their midst."""

import os
import time

import numpy as np

from cotracker.data.synthetic.sprites import Sprites
from cotracker.types import Clip


class Paused(Sprites):
    """The clips of Sprites, each of which takes so many seconds longer as the environment's PAUSE says."""

    def clip(self, rng: np.random.Generator) -> Clip:
        time.sleep(float(os.environ.get("PAUSE", 0)))
        return super().clip(rng)
