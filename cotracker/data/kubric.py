"""Kubric as published for CoTracker (kubric_movi_f, and with 120 frames), or anything in its layout, for training."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cotracker.data.augment_parts import check_least
from cotracker.data.layout import clip_names, open_frames, read_tracks
from cotracker.geometry import inside_frame
from cotracker.types import Clip


@dataclass
class Kubric:
    """A Reader (see stream.py) of the clips below `root`: `clip_at(position, rng)` is an example to train on.

    frames: so many consecutive ones, from a random start.  height, width: of a random crop, None for whole frames.
    points: so many, drawn from those visible in the first or the middle frame, None for all in their order.
    least_points: clips that have so many keep all they have; None is `points`, so that all clips have equally many.
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
            raise ValueError(f"the folder {root} does not exist: data.root must be the folder of the clips' folders")
        self.names = clip_names(root)
        if not self.names:
            raise ValueError(f"{root} holds no clip: each is a folder NAME with frames and NAME.npy")
        for name in self.names:
            if not (root / name / f"{name}.npy").is_file():
                raise ValueError(f"{root / name / name}.npy is missing: each folder in data.root must be one clip")
        for field in ("frames", "height", "width", "points"):
            value = getattr(self, field)
            if (type(value) is not int or value < 1) and (value is not None or field == "frames"):
                raise ValueError(f"data.{field} must be a whole number, 1 or more, not {value}")
        check_least("data.least_points", self.least_points, self.points)

    def __len__(self) -> int:
        return len(self.names)

    def clip_at(self, position: int, rng: np.random.Generator) -> Clip:
        """An example of clip `position`: video T 3 H W, tracks T N 2, visible and valid T N; the rest drawn from `rng`.

        ValueError, one sentence naming the file: it cannot be read, or has too few frames, pixels or points.
        """
        folder = Path(self.root) / self.names[position]
        truth = read_tracks(folder)
        total = len(truth[0])
        if total < self.frames:
            raise ValueError(f"{folder} has {total} frames: data.frames={self.frames} are too many for it")
        start = int(rng.integers(total - self.frames + 1))
        span = slice(start, start + self.frames)
        video = open_frames(folder, total)[:, span][0]
        truth = [torch.from_numpy(np.ascontiguousarray(array[span])) for array in truth]
        clip = Clip(video, *truth, name=self.names[position])
        try:
            clip = random_crop(clip, self.height, self.width, rng)
            return clip if self.points is None else choose_points(clip, self.points, rng, self.least_points)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error


def random_crop(clip: Clip, height: int | None, width: int | None, rng: np.random.Generator) -> Clip:
    """The clip cut to height x width at a random place, the same in all frames; None keeps a side whole.

    Points that leave the frame are no longer visible. ValueError: the frames are smaller.
    """
    high, wide = clip.video.shape[-2:]
    height, width = height or high, width or wide
    if height > high or width > wide:
        raise ValueError(f"its frames are {high}x{wide} (height x width), smaller than the {height}x{width} wanted")
    y, x = (int(rng.integers(room + 1)) for room in (high - height, wide - width))
    video = clip.video
    if (height, width) != (high, wide):
        video = video[..., y : y + height, x : x + width].contiguous()
    tracks = clip.tracks - clip.tracks.new_tensor([x, y])
    return replace(clip, video=video, tracks=tracks, visible=clip.visible & inside_frame(tracks, (height, width)))


def choose_points(clip: Clip, count: int, rng: np.random.Generator, least: int | None = None) -> Clip:
    """The clip with `count` of its points, in random order, all visible and known in its first or its middle frame.

    ValueError: there are fewer; or, where `least` is a number, fewer than that, while all of fewer than `count` stay.
    """
    least = count if least is None else least
    seen = clip.visible & clip.valid
    candidates = torch.nonzero(seen[0] | seen[len(seen) // 2])[:, 0]
    if len(candidates) < least:
        raise ValueError(
            f"only {len(candidates)} of its points are visible in the first or the middle frame, {least} are wanted"
        )
    chosen = candidates[torch.from_numpy(rng.permutation(len(candidates))[:count])]
    tracks, visible, valid = (getattr(clip, name)[:, chosen] for name in ("tracks", "visible", "valid"))
    return replace(clip, tracks=tracks, visible=visible, valid=valid)
