"""Clips laid out as CoTracker's kubric_movi_f and its successor of 120 frames, for training."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cotracker.data.augment.sampling import check_cut, choose_points, random_crop
from cotracker.data.kubric.layout import clip_names, open_frames, read_tracks
from cotracker.types import Clip


@dataclass
class Kubric:
    """A Reader (see stream.py) of the clips below `root`, for training.

    frames: the number of consecutive ones, from a random start.
    height, width: of a random crop; None for whole frames.
    points: the number sampled from those visible in the first or the middle frame; None for all,
    in their order.
    least_points: a clip with at least this many keeps all it has; None is `points`, so that all
    clips have equally many.
    ValueError, one sentence: the folder, a clip's tracks or its frames are missing.
    """

    root: str
    frames: int = 24
    height: int | None = 384
    width: int | None = 512
    points: int | None = 256
    least_points: int | None = None

    def __post_init__(self):
        root = Path(self.root)
        if not root.is_dir():
            raise ValueError(
                f"the folder {root} does not exist: "
                "data.root must be the folder of the clips' folders"
            )
        self.names = clip_names(root)
        if not self.names:
            raise ValueError(
                f"{root} holds no clip: each is a folder NAME with frames and NAME.npy"
            )
        for name in self.names:
            if not (root / name / f"{name}.npy").is_file():
                raise ValueError(
                    f"{root / name / name}.npy is missing: "
                    "each folder in data.root must be one clip"
                )
        check_cut(self.frames, self.height, self.width, self.points, self.least_points)

    def __len__(self) -> int:
        return len(self.names)

    def clip_at(self, position: int, rng: np.random.Generator) -> Clip:
        """An example of clip `position`: video T 3 H W, tracks T N 2, visible and valid T N.

        rng: start, crop and points are sampled from it.
        ValueError, one sentence naming the file: it cannot be read, or has too few frames, pixels
        or points.
        """
        folder = Path(self.root) / self.names[position]
        truth = read_tracks(folder)
        total = len(truth[0])
        if total < self.frames:
            raise ValueError(
                f"{folder} has {total} frames: data.frames={self.frames} are too many for it"
            )
        start = int(rng.integers(total - self.frames + 1))
        span = slice(start, start + self.frames)
        video = open_frames(folder, total)[:, span][0]
        truth = [torch.from_numpy(np.ascontiguousarray(array[span])) for array in truth]
        clip = Clip(video, *truth, name=self.names[position])
        try:
            clip = random_crop(clip, self.height, self.width, rng)
            if self.points is not None:
                clip = choose_points(clip, self.points, rng, self.least_points)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error
        return clip
