"""Augmentations that change colours and leave every point where it is: patches, colour, blur (appendix A)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.random import Generator

from cotracker.data.augment.common import (
    check_number,
    check_range,
    check_share,
    check_whole,
    frames_of,
    with_frames,
)
from cotracker.types import Clip

GREY = (0.299, 0.587, 0.114)  # of RGB
LEVELS = np.arange(256)


class Colour(NamedTuple):
    """One change of colour: factors of brightness, contrast and saturation, hue as a share of the circle, their order.

    order: the numbers 0 to 3 of the first four, as they are applied.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    order: tuple[int, ...]


def recoloured(
    image: np.ndarray, colour: Colour, whole: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """An image h w 3 uint8 RGB after the change, and `whole` after it.

    whole: the picture of which the image is a part, since contrast is about its mean grey; None is the image itself.
    Each of the four steps rounds to whole levels, as those of torchvision do on pictures of PIL.
    """
    pictures = [image] if whole is None else [image, whole]
    for step in colour.order:
        grey = cv2.cvtColor(pictures[-1], cv2.COLOR_RGB2GRAY).mean() if step == 1 else 0.0
        pictures = [_stepped(picture, step, colour, grey) for picture in pictures]
    return pictures[0], pictures[-1]


def _stepped(image: np.ndarray, step: int, colour: Colour, grey: float) -> np.ndarray:
    """The image after one of the four: 0 brightness, 1 contrast about `grey`, 2 saturation, 3 hue."""
    factor = colour[step]
    if step in (0, 1):
        table = factor * LEVELS + (1 - factor) * (round(grey) if step else 0)
        return cv2.LUT(image, table.clip(0, 255).round().astype(np.uint8))
    if step == 2:
        return cv2.transform(image, factor * np.eye(3) + (1 - factor) * np.tile(GREY, (3, 1)))
    turn = round(256 * factor) % 256  # hue in 256 steps
    if not turn:
        return image
    turned = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    turned[..., 0] += np.uint8(turn)
    return cv2.cvtColor(turned, cv2.COLOR_HSV2RGB_FULL)


@dataclass(frozen=True)
class ColourJitter:
    """With a probability, every frame by itself brighter, contrastier, more or less saturated, and of turned hue.

    brightness, contrast, saturation: factors 1 +- so much.  hue: +- so much of the colour circle.  In random order.
    """

    probability: float = 0.25
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.0796

    def __post_init__(self):
        check_share("the probability of colour jitter", self.probability)
        for name in ("brightness", "contrast", "saturation"):
            check_share(f"{name} of colour jitter", getattr(self, name))
        check_number("hue of colour jitter", self.hue, 0, 0.5)

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        if rng.random() >= self.probability:
            return clip
        return with_frames(
            clip, np.stack([recoloured(frame, self.drawn(rng))[0] for frame in frames_of(clip)])
        )

    def drawn(self, rng: Generator) -> Colour:
        """One change of colour within the ranges."""
        spread = np.array([self.brightness, self.contrast, self.saturation, self.hue])
        values = rng.uniform(-spread, spread) + (1, 1, 1, 0)
        return Colour(*values.tolist(), order=tuple(rng.permutation(4).tolist()))


@dataclass(frozen=True)
class Blur:
    """With a probability, every frame blurred by a Gaussian of its own `sigma` pixels, cut at `kernel` of them."""

    probability: float = 0.25
    sigma: tuple[float, float] = (0.1, 2.0)
    kernel: int = 11

    def __post_init__(self):
        check_share("the probability of blur", self.probability)
        check_range("sigma of blur", self.sigma, (int, float), 0.01, 100)
        check_whole("the kernel of blur", self.kernel, 1)
        if self.kernel % 2 == 0:
            raise ValueError(
                f"the kernel of blur must be an odd number of pixels, not {self.kernel}"
            )

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        if rng.random() >= self.probability:
            return clip
        frames = frames_of(clip)
        blurred = np.empty_like(frames)
        for frame, sigma, out in zip(
            frames, rng.uniform(*self.sigma, len(frames)).tolist(), blurred
        ):
            cv2.GaussianBlur(
                frame, (self.kernel, self.kernel), sigma, dst=out
            )  # mirrored at the borders
        return with_frames(clip, blurred)


class Rectangle(NamedTuple):
    """Pixels left <= x < right, top <= y < bottom of a frame."""

    frame: int
    left: int
    top: int
    right: int
    bottom: int

    def of(self, frames: np.ndarray) -> np.ndarray:
        """Its pixels h w 3 in frames T H W 3, a view."""
        return frames[self.frame, self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class Rectangles:
    """Draws the rectangles of Eraser and Replace: in each frame but the first with a probability, `count` of `side`."""

    probability: float = 0.5
    count: tuple[int, int] = (1, 10)
    side: tuple[int, int] = (2, 99)

    def __post_init__(self):
        check_share("the probability of rectangles", self.probability)
        check_range("the count of rectangles", self.count, int, 1, 10**4)
        check_range("the side of rectangles", self.side, int, 1, 10**5)

    def drawn(self, shape: tuple[int, ...], rng: Generator) -> Iterator[Rectangle]:
        """Rectangles in frames of shape (T, H, W, …), cut at the borders; their centres are uniform in the frame."""
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


def hidden(clip: Clip, rectangles: list[Rectangle]) -> Clip:
    """The clip with the points inside the rectangles no longer visible: within the area of a rectangle's pixels.

    A pixel reaches half a pixel beyond its centre, so that is left - 1/2 <= x < right - 1/2, and so for y.
    """
    visible, tracks = clip.visible.numpy().copy(), clip.tracks.numpy()
    for one in rectangles:
        x, y = tracks[one.frame].T
        across = (x >= one.left - 0.5) & (x < one.right - 0.5)
        visible[one.frame] &= ~(across & (y >= one.top - 0.5) & (y < one.bottom - 0.5))
    return replace(clip, visible=torch.from_numpy(visible))


@dataclass(frozen=True)
class Eraser:
    """Rectangles filled with their own mean colour; points inside are no longer visible. The first frame stays."""

    rectangles: Rectangles = Rectangles()

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        frames = frames_of(clip).copy()
        rectangles = list(self.rectangles.drawn(frames.shape, rng))
        for one in rectangles:
            patch = one.of(frames)
            patch[:] = np.rint(cv2.mean(patch)[:3])
        return hidden(with_frames(clip, frames), rectangles)


@dataclass(frozen=True)
class Replace:
    """Rectangles pasted from a random place of a random frame, recoloured twice; points inside are no longer visible.

    colour: both changes of colour, drawn once a frame.  The first frame stays.
    """

    rectangles: Rectangles = Rectangles()
    colour: ColourJitter = ColourJitter()

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        source = frames_of(clip)
        frames = source.copy()
        colours = [(self.colour.drawn(rng), self.colour.drawn(rng)) for _ in frames]
        rectangles = list(self.rectangles.drawn(frames.shape, rng))
        for one in rectangles:
            high, wide = one.bottom - one.top, one.right - one.left
            other = int(rng.integers(len(source)))
            y, x = (
                int(rng.integers(room + 1))
                for room in (source.shape[1] - high, source.shape[2] - wide)
            )
            patch = source[other, y : y + high, x : x + wide]
            small = np.ascontiguousarray(
                source[other, ::8, ::8]
            )  # enough for the frame's mean grey
            for colour in colours[other]:
                patch, small = recoloured(patch, colour, small)
            one.of(frames)[:] = patch
        return hidden(with_frames(clip, frames), rectangles)
