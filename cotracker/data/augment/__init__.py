"""The augmentations of training (appendix A), put together: (Clip, rng) -> Clip."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from numpy.random import Generator

from cotracker.data.augment.photometric import Blur, ColourJitter, Eraser, Rectangles, Replace
from cotracker.data.augment.sampling import ChoosePoints
from cotracker.data.augment.spatial import Flip, Pad, ScaleAndCrop
from cotracker.types import Clip


@dataclass(frozen=True)
class AugmentConfig:
    """The augmentations of appendix A with their settings, in the order in which they apply.

    They want whole frames with all their points; a clip of crop.height x crop.width with
    points.count comes out.  A field may be given as a mapping of its settings.
    ValueError: a value that is impossible, or a setting that does not exist.
    """

    eraser: Rectangles = Rectangles()
    replace: Rectangles = Rectangles()
    colour: ColourJitter = ColourJitter()
    blur: Blur = Blur()
    pad: Pad = Pad()
    crop: ScaleAndCrop = ScaleAndCrop()
    flip: Flip = Flip()
    points: ChoosePoints = ChoosePoints()

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Mapping):
                object.__setattr__(self, field.name, _build(field.name, field.type, value))

    def effects(self) -> tuple[Callable[[Clip, Generator], Clip], ...]:
        """The effects in their order."""
        patches = (Eraser(self.eraser), Replace(self.replace, self.colour))
        return (*patches, self.colour, self.blur, self.pad, self.crop, self.flip, self.points)

    def __call__(self, clip: Clip, rng: Generator) -> Clip:
        for effect in self.effects():
            clip = effect(clip, rng)
        return clip


def _build(name: str, kind: type, settings: Mapping):
    names = [field.name for field in fields(kind)]
    for key in settings:
        if key not in names:
            raise ValueError(f"{name}.{key} is no setting of augment: use {', '.join(names)}")
    return kind(**settings)


def no_augmentation() -> None:
    """None: the stream hands clips over as they were read or rendered."""
    return None
