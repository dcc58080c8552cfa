"""The augmentations of training (appendix A), put together: (Clip, rng) -> Clip, with the published parameters."""

from collections.abc import Callable, Sequence

from numpy.random import Generator

from cotracker.data.augment.photometric import Blur, ColourJitter, Eraser, Rectangles, Replace
from cotracker.data.augment.points import ChoosePoints
from cotracker.data.augment.spatial import Flip, Pad, ScaleAndCrop
from cotracker.types import Clip


class Augmentations:
    """Several augmentations, (Clip, rng) -> Clip each, one after the other in the order given."""

    def __init__(self, effects: Sequence[Callable[[Clip, Generator], Clip]]):
        self.effects = tuple(effects)

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        for effect in self.effects:
            clip = effect(clip, rng)
        return clip


def published(
    height: int = 384,
    width: int = 512,
    points: int = 256,
    least_points: int | None = None,
    eraser: float = 0.5,
    replace: float = 0.5,
    rectangles: tuple[int, int] = (1, 10),
    rectangle_side: tuple[int, int] = (2, 99),
    colour: float = 0.25,
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.2,
    hue: float = 0.0796,
    blur: float = 0.25,
    blur_sigma: tuple[float, float] = (0.1, 2.0),
    pad: int = 24,
    scale: tuple[float, float] = (0.75, 1.25),
    scale_drift: float = 0.05,
    crop_drift: int = 15,
    flip_horizontal: float = 0.5,
    flip_vertical: float = 0.5,
) -> Augmentations:
    """The published chain, for whole frames with all their points; clips of height x width with `points` come out.

    eraser, replace: probability of a frame to have rectangles, so many, of such sides in pixels.  colour, blur,
    flip_*: probability of a clip.  What the others mean is said in their classes. ValueError: a value that cannot be.
    """
    jitter = ColourJitter(colour, brightness, contrast, saturation, hue)
    return Augmentations([
        Eraser(Rectangles(eraser, rectangles, rectangle_side)),
        Replace(Rectangles(replace, rectangles, rectangle_side), jitter),
        jitter,
        Blur(blur, blur_sigma),
        Pad(pad),
        ScaleAndCrop(height, width, scale, scale_drift, crop_drift),
        Flip(flip_horizontal, flip_vertical),
        ChoosePoints(points, least_points),
    ])  # fmt: skip


def no_augmentation() -> None:
    """None: the stream hands its clips over as they were read or drawn."""
    return None
