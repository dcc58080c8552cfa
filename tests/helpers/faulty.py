"""A Source of quick clips that fails at one rank or example: data._target_=faulty.Faulty."""

import os
import signal
import time
from dataclasses import dataclass

import numpy as np
import torch
from moving import STEP, moving_texture

from cotracker.data.synthetic.sprites import Sprites
from cotracker.types import Clip


@dataclass
class Faulty(Sprites):
    """Clips of a sliding texture, the points of which are fewer in every third one.

    fault: what goes wrong, `none`, or one of the methods below.
    seconds: how long a clip takes.
    Where the environment names a folder SEEN, each process writes its examples' numbers there.
    """

    fault: str = "none"
    seconds: float = 0.0

    def __post_init__(self):
        """Nothing: Sprites would check `fault` and `seconds` as probabilities."""

    def clip(self, rng: np.random.Generator) -> Clip:
        k = rng.bit_generator.seed_seq.entropy[1]  # of (seed, k): which example this is
        if "SEEN" in os.environ:
            with open(f"{os.environ['SEEN']}/{os.getpid()}", "a") as file:
                file.write(f"{k}\n")
        time.sleep(self.seconds)
        return getattr(self, self.fault)(self._sliding(rng, k), k)

    def _sliding(self, rng: np.random.Generator, k: int) -> Clip:
        frames, points = self.frames, self.points - 5 * (k % 3 == 0)
        shift = rng.integers(0, 32)
        video = moving_texture(frames, self.height, self.width + 32)[
            :, :, shift : shift + self.width
        ]
        video = np.clip(video.astype(int) + rng.integers(-20, 20, video.shape), 0, 255).astype(
            np.uint8
        )
        begin = rng.uniform((0, 0), (self.width - 1, self.height - 1), (points, 2))
        tracks = begin + np.arange(frames)[:, None, None] * np.array(STEP)
        visible = (rng.random((frames, points)) < 0.8) & (tracks < (self.width, self.height)).all(
            -1
        )
        tracks, visible = torch.from_numpy(tracks.astype(np.float32)), torch.from_numpy(visible)
        video = torch.from_numpy(np.ascontiguousarray(video.transpose(0, 3, 1, 2)))
        return Clip(video, tracks, visible, torch.ones_like(visible))

    def none(self, clip: Clip, k: int) -> Clip:
        return clip

    def killed(self, clip: Clip, k: int) -> Clip:
        """Rank 1 is killed at its example 13, once."""
        if rank() == 1 and k == 13 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        return clip

    def breaks(self, clip: Clip, k: int) -> Clip:
        """Rank 1 meets what no reader foresaw, at its example 9."""
        if rank() == 1 and k == 9:
            raise RuntimeError("the disk of rank 1 is on fire")
        return clip

    def all_bad(self, clip: Clip, k: int) -> Clip:
        """Rank 1 reads no good clip from its example 9 on."""
        if rank() == 1 and k >= 9:
            raise ValueError(f"clip number {k} has no tracks")
        return clip

    def some_bad(self, clip: Clip, k: int) -> Clip:
        """Half of what rank 1 reads is bad."""
        if rank() == 1 and clip.tracks[0, 0, 0] % 4 < 2:
            raise ValueError("the disk of rank 1 gave half a clip")
        return clip

    def infinite(self, clip: Clip, k: int) -> Clip:
        """Example 5 has an infinite loss (its gradient is finite), example 10 a NaN gradient."""
        if k not in (5, 10):
            return clip
        clip.tracks[~clip.visible] = torch.inf if k == 5 else torch.nan
        return clip

    def not_numbers(self, clip: Clip, k: int) -> Clip:
        """From example 4 on, those with odd numbers have no finite loss."""
        if k >= 4 and k % 2:
            clip.tracks[~clip.visible] = torch.nan
        return clip


def rank() -> int:
    return int(os.environ.get("RANK", 0))
