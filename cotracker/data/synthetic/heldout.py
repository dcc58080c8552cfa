"""Drawn clips that no training run sees: a benchmark that needs no download."""

import numpy as np

from cotracker.data.synthetic.sprites import Sprites
from cotracker.types import Clip


class HeldOut:
    """`count` clips of Sprites, by index; clip k is drawn from (seed, k) alone, with a seed that training never takes.

    frames, height, width, points, textures: as in Sprites; the rest are its defaults.
    """

    def __init__(
        self,
        count: int = 20,
        seed: int = 1_000_000,
        frames: int = 24,
        height: int = 256,
        width: int = 320,
        points: int = 64,
        textures: str | list[str] | None = None,
    ):
        if seed < 1_000_000:
            raise ValueError(f"benchmark.clips.seed must be 1000000 or more, apart from those of training, not {seed}")
        self.source = Sprites(frames=frames, height=height, width=width, points=points, textures=textures)
        self.seed = seed
        self.expected = [f"{k:03d}" for k in range(count)]

    def __len__(self) -> int:
        return len(self.expected)

    def __getitem__(self, k: int) -> Clip:
        clip = self.source.clip(np.random.default_rng((self.seed, k)))
        fields = (clip.video, clip.tracks, clip.visible, clip.valid)
        return Clip(*fields, name=self.expected[k], seed=(self.seed, k))
