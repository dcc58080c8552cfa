"""What layered scenes are made of: every number that a config may set."""

from dataclasses import dataclass, fields

from numpy.random import Generator

from cotracker import checks
from cotracker.data.synthetic.motion import sample_log_uniform

TINY = 1e-9  # the least of what must be positive
MANY = 10**6  # points of a clip, at most
LARGEST = 16384  # pixels of a side, and frames, at most


@dataclass
class Recipe:
    """The settings of layered scenes.

    Speeds are in frame widths a frame, so that any frame size moves alike.

    frames, height, width, points: the sizes of a clip.
    crop: (h, w); the clip is a window of that size at a random place of a scene laid out for
    height x width, so that small clips show objects as large and as fast, in pixels, as large ones
    do; None for the whole scene.
    textures: folder or folders of photographs, None for patterns only.
    procedural: the share of patterns when there are photographs.
    objects: fewest and most.
    object_size: radius over the frame's shorter side, log-uniform.
    speed, camera_speed, shake: mean speeds, log-uniform (0.01 is 5 pixels a frame at width 512;
    1/16 is half the width in 8 frames).
    liveliness: how much of the most a camera zooms and rolls, and an object turns, grows, tilts and
    bends over time; sampled for each, log-uniform.
    tilt: most degrees out of the plane.
    background_points: the share of points on the background.
    cover_frames: for how long a cover hides its object, log-uniform; it may outlast the clip.
    shutter: the share of a frame's time that it is open, in clips with motion blur.

    All others are probabilities.  Of a clip:
    still_camera, shaking_camera.
    foreground: one to three near, still poles or bushes hide objects for long.
    shallow_focus: background or foreground is out of focus.
    motion_blur to compression: each effect on the frames.
    Of an object:
    followed: the camera follows it.
    articulated: it is a figure with joints.
    walking: of figures: it is an animal or a person, not a machine.
    grounded: of those: it walks straight on, and between steps its feet stand on the background,
    which bends more rarely then.
    revolution: it is a surface of revolution that turns, so that its surface goes out of view.
    bending, tilting, turning.
    returning: it leaves and comes back.
    twins: it is there twice.
    covered: another object slides before it, stays there for cover_frames, and slides on.
    shadows: it casts one.
    shading: its light changes.
    rounded: it is darker towards the rim.
    camouflage: it has the background's texture.
    """

    frames: int = 24
    height: int = 192
    width: int = 256
    points: int = 64
    crop: tuple[int, int] | None = None
    textures: str | list[str] | None = None
    procedural: float = 0.3
    objects: tuple[int, int] = (3, 12)
    object_size: tuple[float, float] = (0.07, 0.4)
    speed: tuple[float, float] = (0.0005, 0.0625)
    camera_speed: tuple[float, float] = (0.0003, 0.025)
    shake: tuple[float, float] = (0.0004, 0.006)
    liveliness: tuple[float, float] = (0.1, 1.0)
    tilt: float = 50.0
    background_points: float = 0.4
    cover_frames: tuple[float, float] = (10, 60)
    shutter: tuple[float, float] = (0.2, 0.8)
    still_camera: float = 0.12
    shaking_camera: float = 0.3
    foreground: float = 0.25
    shallow_focus: float = 0.15
    followed: float = 0.25
    articulated: float = 0.4
    walking: float = 0.7
    grounded: float = 0.0
    revolution: float = 0.15
    bending: float = 0.4
    tilting: float = 0.5
    turning: float = 0.6
    returning: float = 0.12
    twins: float = 0.1
    covered: float = 0.0
    shadows: float = 0.3
    shading: float = 0.5
    rounded: float = 0.3
    camouflage: float = 0.08
    motion_blur: float = 0.3
    light_drift: float = 0.6
    light_field: float = 0.25
    low_contrast: float = 0.15
    defocus: float = 0.3
    noise: float = 0.5
    compression: float = 0.35

    def __post_init__(self):
        check_sizes(self)
        if self.crop is not None:
            crop = checks.pair("crop of Sprites", self.crop, 16, whole=True, ordered=False)
            if crop[0] > self.height or crop[1] > self.width:
                raise ValueError(
                    f"crop of Sprites must be within its height and width, {self.height} x "
                    f"{self.width}, not {crop}"
                )
        checks.pair("objects of Sprites", self.objects, 0, 1000, whole=True)
        checks.number("tilt of Sprites", self.tilt, 0, 89)
        checks.pair("shutter of Sprites", self.shutter, 0)
        checks.pair("cover_frames of Sprites", self.cover_frames, 1)
        for name in ("object_size", "shake", "liveliness"):
            checks.pair(f"{name} of Sprites", getattr(self, name), TINY)
        for name in ("speed", "camera_speed"):  # frame widths a frame
            checks.pair(f"{name} of Sprites", getattr(self, name), TINY, 1)
        check_probabilities(self, "still_camera")

    def sample_speed(self, rng: Generator, speeds: tuple[float, float]) -> float:
        """Pixels a frame, log-uniform between `speeds` in frame widths a frame."""
        return self.width * sample_log_uniform(rng, *speeds)


def check_sizes(recipe: object) -> None:
    """ValueError unless a generator's frames, points, height and width can be."""
    owner = type(recipe).__name__
    checks.whole(f"points of {owner}", recipe.points, 1, MANY)
    for name, least in (("frames", 2), ("height", 16), ("width", 16)):
        checks.whole(f"{name} of {owner}", getattr(recipe, name), least, LARGEST)
    if recipe.textures is not None:
        checks.texts(f"textures of {owner}", recipe.textures)


def check_probabilities(recipe: object, first: str) -> None:
    """ValueError unless the shares, and all fields from `first` on, are within 0..1."""
    names = [field.name for field in fields(recipe)]
    for name in ("procedural", "background_points", *names[names.index(first) :]):
        checks.share(f"{name} of {type(recipe).__name__}", getattr(recipe, name))
