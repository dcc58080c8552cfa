"""Augmentations that change colours and move no point: patches, colour, blur (appendix A)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.random import Generator

from cotracker import checks
from cotracker.data.augment.common import replace_frames, to_frames
from cotracker.types import Clip

GREY = (0.299, 0.587, 0.114)  # of RGB
LEVELS = np.arange(256)


class Colour(NamedTuple):
    """One change of colour.

    brightness, contrast, saturation: factors.
    hue: a share of the colour circle.
    order: in which the four are applied, as the indices 0 to 3.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    order: tuple[int, ...]


def recolour(
    image: np.ndarray, colour: Colour, whole: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """An image h w 3 uint8 RGB after the change, and `whole` after it.

    whole: the image of which this one is a part, since contrast is about its mean grey; None is the
    image itself.
    Each of the four steps rounds to whole levels, as torchvision's do on images of PIL.
    """
    pictures = [image] if whole is None else [image, whole]
    for step in colour.order:
        grey = cv2.cvtColor(pictures[-1], cv2.COLOR_RGB2GRAY).mean() if step == 1 else 0.0
        pictures = [_apply_step(picture, step, colour, grey) for picture in pictures]
    return pictures[0], pictures[-1]


def _apply_step(image: np.ndarray, step: int, colour: Colour, grey: float) -> np.ndarray:
    """The image after one step: 0 brightness, 1 contrast about `grey`, 2 saturation, 3 hue."""
    factor = colour[step]
    if step in (0, 1):
        table = factor * LEVELS + (1 - factor) * (round(grey) if step else 0)
        return cv2.LUT(image, table.clip(0, 255).round().astype(np.uint8))
    if step == 2:
        return cv2.transform(image, factor * np.eye(3) + (1 - factor) * np.tile(GREY, (3, 1)))
    shift = round(256 * factor) % 256  # hue in 256 steps
    if not shift:
        return image
    rotated = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    rotated[..., 0] += np.uint8(shift)
    return cv2.cvtColor(rotated, cv2.COLOR_HSV2RGB_FULL)


@dataclass(frozen=True)
class ColourJitter:
    """With a probability, a change of colour for every frame, its four steps in random order.

    brightness, contrast, saturation: factors are within 1 +- these.
    hue: within +- this share of the colour circle.
    """

    probability: float = 0.25
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.0796

    def __post_init__(self):
        for name in ("probability", "brightness", "contrast", "saturation"):
            checks.share(f"colour.{name}", getattr(self, name))
        checks.number("colour.hue", self.hue, 0, 0.5)

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        if rng.random() >= self.probability:
            return clip
        frames = [recolour(frame, self.sample(rng))[0] for frame in to_frames(clip)]
        return replace_frames(clip, np.stack(frames))

    def sample(self, rng: Generator) -> Colour:
        """One change of colour within the ranges."""
        spread = np.array([self.brightness, self.contrast, self.saturation, self.hue])
        values = rng.uniform(-spread, spread) + (1, 1, 1, 0)
        return Colour(*values.tolist(), order=tuple(rng.permutation(4).tolist()))


@dataclass(frozen=True)
class Blur:
    """With a probability, every frame blurred by a Gaussian of its own.

    sigma: range in pixels.
    kernel: its width in pixels.
    """

    probability: float = 0.25
    sigma: tuple[float, float] = (0.1, 2.0)
    kernel: int = 11

    def __post_init__(self):
        checks.share("blur.probability", self.probability)
        checks.pair("blur.sigma", self.sigma, 0.01, 100)
        if checks.whole("blur.kernel", self.kernel, 1) % 2 == 0:
            raise ValueError(f"blur.kernel must be an odd number of pixels, not {self.kernel}")

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        if rng.random() >= self.probability:
            return clip
        frames = to_frames(clip)
        blurred = np.empty_like(frames)
        sigmas = rng.uniform(*self.sigma, len(frames)).tolist()
        for frame, sigma, out in zip(frames, sigmas, blurred):  # mirrored at the borders
            cv2.GaussianBlur(frame, (self.kernel, self.kernel), sigma, dst=out)
        return replace_frames(clip, blurred)


class Rectangle(NamedTuple):
    """Pixels left <= x < right, top <= y < bottom of a frame."""

    frame: int
    left: int
    top: int
    right: int
    bottom: int

    def cut(self, frames: np.ndarray) -> np.ndarray:
        """Its pixels h w 3 in frames T H W 3, a view."""
        return frames[self.frame, self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class Rectangles:
    """The rectangles of Eraser and Replace, in each frame but the first with a probability.

    count: range of their number in a frame.
    side: range in pixels.
    """

    probability: float = 0.5
    count: tuple[int, int] = (1, 10)
    side: tuple[int, int] = (2, 99)

    def __post_init__(self):
        checks.share("rectangles.probability", self.probability)
        checks.pair("rectangles.count", self.count, 1, 10**4, whole=True)
        checks.pair("rectangles.side", self.side, 1, 10**5, whole=True)

    def sample(self, shape: tuple[int, ...], rng: Generator) -> Iterator[Rectangle]:
        """Rectangles in frames of shape (T, H, W, …), cut at the borders; centres are uniform."""
        total, high, wide = shape[:3]
        for frame in range(1, total):
            if rng.random() >= self.probability:
                continue
            number = int(rng.integers(self.count[0], self.count[1] + 1))
            sides = rng.integers(self.side[0], self.side[1] + 1, (number, 2))
            first = rng.integers((wide, high), size=(number, 2)) - sides // 2
            last = np.minimum(first + sides, (wide, high))
            for (left, top), (right, bottom) in zip(np.maximum(first, 0).tolist(), last.tolist()):
                yield Rectangle(frame, left, top, right, bottom)


def hide_points(clip: Clip, rectangles: list[Rectangle]) -> Clip:
    """The clip with the points inside the rectangles no longer visible.

    A pixel reaches half a pixel beyond its centre: inside is left - 1/2 <= x < right - 1/2.
    """
    visible, tracks = clip.visible.numpy().copy(), clip.tracks.numpy()
    for one in rectangles:
        x, y = tracks[one.frame].T
        across = (x >= one.left - 0.5) & (x < one.right - 0.5)
        visible[one.frame] &= ~(across & (y >= one.top - 0.5) & (y < one.bottom - 0.5))
    return replace(clip, visible=torch.from_numpy(visible))


@dataclass(frozen=True)
class Eraser:
    """Rectangles filled with their own mean colour; points inside are no longer visible."""

    rectangles: Rectangles = Rectangles()

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        frames = to_frames(clip).copy()
        rectangles = list(self.rectangles.sample(frames.shape, rng))
        for one in rectangles:
            patch = one.cut(frames)
            patch[:] = np.rint(cv2.mean(patch)[:3])
        return hide_points(replace_frames(clip, frames), rectangles)


@dataclass(frozen=True)
class Replace:
    """Rectangles pasted from anywhere in the clip, recoloured twice; points inside are not visible.

    colour: both changes of colour, sampled once a frame.
    """

    rectangles: Rectangles = Rectangles()
    colour: ColourJitter = ColourJitter()

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        source = to_frames(clip)
        frames = source.copy()
        colours = [(self.colour.sample(rng), self.colour.sample(rng)) for _ in frames]
        rectangles = list(self.rectangles.sample(frames.shape, rng))
        for one in rectangles:
            high, wide = one.bottom - one.top, one.right - one.left
            other = int(rng.integers(len(source)))
            y = int(rng.integers(source.shape[1] - high + 1))
            x = int(rng.integers(source.shape[2] - wide + 1))
            patch = source[other, y : y + high, x : x + wide]
            small = np.ascontiguousarray(source[other, ::8, ::8])  # enough for its mean grey
            for colour in colours[other]:
                patch, small = recolour(patch, colour, small)
            one.cut(frames)[:] = patch
        return hide_points(replace_frames(clip, frames), rectangles)
