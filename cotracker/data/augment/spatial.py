"""Augmentations that move points with the image: appendix A's, and a roll of the frames."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.random import Generator

from cotracker import checks
from cotracker.data.augment.common import move_points, to_frames
from cotracker.data.synthetic.motion import sample_log_uniform, sample_path
from cotracker.geometry import inside_frame
from cotracker.types import Clip

LEAST_SCALE, MOST_SCALE = 0.2, 2.0  # to which drift is clipped


@dataclass(frozen=True)
class Pad:
    """A black border of 0 to `max_pixels` on each side by itself, the same in all frames."""

    max_pixels: int = 24

    def __post_init__(self):
        checks.whole("pad.max_pixels", self.max_pixels, 0)

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        left, top, right, bottom = rng.integers(self.max_pixels + 1, size=4).tolist()
        frames = to_frames(clip)
        total, high, wide, _ = frames.shape
        padded = np.zeros((total, high + top + bottom, wide + left + right, 3), np.uint8)
        padded[:, top : top + high, left : left + wide] = frames
        return move_points(clip, padded, clip.tracks + clip.tracks.new_tensor([left, top]))


@dataclass(frozen=True)
class ScaleAndCrop:
    """Every frame scaled, then cut to a window of height x width, in one bilinear step.

    The window is centred on the points visible in the first frame, or on the frame if there are
    none, and wanders from there.

    scale: range of the factor of the first frame, of both axes.
    scale_drift: how fast it changes from there, axis by axis.
    crop_drift: largest step of the window, in pixels a frame.
    room: a scaled frame is at least this many pixels larger than the window.

    A frame W wide becomes W' wide, W' whole, and x becomes x (W'-1)/(W-1) less the window's first
    pixel, which is whole too.  ValueError: a frame is 1 pixel wide or high.
    """

    height: int = 384
    width: int = 512
    scale: tuple[float, float] = (0.75, 1.25)
    scale_drift: float = 0.05
    crop_drift: int = 15
    room: int = 10

    def __post_init__(self):
        checks.whole("crop.height", self.height, 1)
        checks.whole("crop.width", self.width, 1)
        checks.pair("crop.scale", self.scale, LEAST_SCALE, MOST_SCALE)
        checks.number("crop.scale_drift", self.scale_drift, 0, 1)
        checks.whole("crop.crop_drift", self.crop_drift, 0)
        checks.whole("crop.room", self.room, 0)

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        frames = to_frames(clip)
        total, high, wide, _ = frames.shape
        if min(high, wide) < 2:
            raise ValueError(
                f"its frames are {high}x{wide} (height x width): scaling needs 2 pixels a side"
            )
        sizes = self._sample_sizes(total, (wide, high), rng)
        factors = (sizes - 1) / (np.array([wide, high]) - 1)  # T 2
        seen = (clip.visible & clip.valid)[0].numpy()
        first = clip.tracks[0].numpy().astype(float)[seen]
        centre = first.mean(0) * factors[0] if seen.any() else (sizes[0] - 1) / 2
        corners = self._sample_corners(sizes, centre, rng)
        cut = np.empty((total, self.height, self.width, 3), np.uint8)
        size, flags = (self.width, self.height), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        for frame, (across, down), (left, top), out in zip(frames, factors, corners, cut):
            back = np.array([[1 / across, 0, left / across], [0, 1 / down, top / down]])
            cv2.warpAffine(frame, back, size, out, flags, cv2.BORDER_REPLICATE)
        tracks = clip.tracks.double() * torch.from_numpy(factors)[:, None]
        tracks = tracks - torch.from_numpy(corners)[:, None]
        return move_points(clip, cut, tracks.to(clip.tracks.dtype))

    def _sample_sizes(self, total: int, size: tuple[int, int], rng: Generator) -> np.ndarray:
        """Whole sizes T 2 (W', H') of the scaled frames.

        Each step pulls both axes half-way to their mean.
        """
        size = np.array(size)
        least = np.array([self.width, self.height]) + self.room
        scale = np.full(2, rng.uniform(*self.scale))
        drift = rng.uniform(-self.scale_drift, self.scale_drift, (total, 2))
        speed, sizes = np.zeros(2), np.empty((total, 2), int)
        for frame in range(total):
            if frame:
                speed = drift[frame] if frame == 1 else 0.8 * speed + 0.2 * drift[frame]
                scale = scale + speed
                scale = (scale / 2 + scale.mean() / 2).clip(LEAST_SCALE, MOST_SCALE)
            sizes[frame] = np.maximum((size * scale).astype(int), least)
            scale = sizes[frame] / size
        return sizes

    def _sample_corners(self, sizes: np.ndarray, centre: np.ndarray, rng: Generator) -> np.ndarray:
        """First pixels T 2 (x, y) of the window: it wanders from around `centre`."""
        window = np.array([self.width, self.height])
        corner = np.rint(centre - (window - 1) / 2).astype(int)
        drift = rng.integers(-self.crop_drift, self.crop_drift + 1, (len(sizes), 2))
        speed, corners = np.zeros(2, int), np.empty((len(sizes), 2), int)
        for frame, size in enumerate(sizes):
            if frame:
                change = np.trunc(0.8 * speed + 0.2 * drift[frame]).astype(int)
                speed = drift[frame] if frame == 1 else change
            corner = (corner + speed).clip(0, size - window)
            corners[frame] = corner
        return corners


@dataclass(frozen=True)
class Flip:
    """All frames mirrored left to right, or upside down, each with its probability: x -> W-1-x."""

    horizontal: float = 0.5
    vertical: float = 0.5

    def __post_init__(self):
        checks.share("flip.horizontal", self.horizontal)
        checks.share("flip.vertical", self.vertical)

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        across, down = (rng.random(2) < (self.horizontal, self.vertical)).tolist()
        if not across and not down:
            return clip
        frames = to_frames(clip)
        total, high, wide, _ = frames.shape
        axis = -1 if across and down else int(across)  # as OpenCV counts
        flipped = np.empty_like(frames)
        for frame, out in zip(frames, flipped):
            cv2.flip(frame, axis, out)
        x, y = clip.tracks.unbind(-1)
        tracks = torch.stack([wide - 1 - x if across else x, high - 1 - y if down else y], dim=-1)
        return move_points(clip, flipped, tracks)


@dataclass(frozen=True)
class Roll:
    """Each frame shifted in a circle: what leaves on one side comes in again on the other.

    So points leave and return far from where they left.  It is not the paper's.

    probability: of a clip.
    speed: mean speed of the shift, in frame widths a frame, log-uniform; the path is smooth.

    The truth about a point outside the frame before the shift is not known afterwards.
    """

    probability: float = 0.3
    speed: tuple[float, float] = (0.002, 0.03)

    def __post_init__(self):
        checks.share("roll.probability", self.probability)
        checks.pair("roll.speed", self.speed, 1e-6, 1)

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        if rng.random() >= self.probability:
            return clip
        frames = to_frames(clip)
        total, high, wide, _ = frames.shape
        speed = wide * sample_log_uniform(rng, *self.speed)
        shifts = np.rint(sample_path(rng, np.arange(total), speed)).astype(int)
        rolled = np.stack([np.roll(f, (y, x), (0, 1)) for f, (x, y) in zip(frames, shifts)])
        inside = inside_frame(clip.tracks, (high, wide))
        tracks = clip.tracks + torch.from_numpy(shifts)[:, None]
        wrapped = tracks.remainder(clip.tracks.new_tensor([wide, high]))
        moved = move_points(clip, rolled, torch.where(inside[..., None], wrapped, tracks))
        return replace(moved, valid=moved.valid & inside)
