"""What the layered scenes are made of: every number that a config may set."""

from dataclasses import dataclass, fields

from numpy.random import Generator

from cotracker.data.synthetic.motion import log_uniform


@dataclass
class Recipe:
    """The settings of layered scenes. Speeds are in frame widths a frame, so that any frame size moves alike.

    frames, height, width, points: the sizes of a clip.  crop: (h, w), the clip is a window of that size at a random
    place of a scene laid out for height x width, so that small clips show things as large and as fast, in pixels, as
    large ones do; None for the whole scene.  textures: folder(s) of photographs, None for patterns only;
    procedural: the share of patterns when there are photographs.
    objects: fewest and most.  object_size: radius over the frame's shorter side, log-uniform.  speed, camera_speed,
    shake: mean speeds, log-uniform (0.01 is 5 pixels a frame at 512; 1/16 is half the width in 8 frames).
    liveliness: how much of the most a camera zooms and rolls, and a thing turns, grows, tilts and bends in time; drawn
    for each, log-uniform.  tilt: most degrees out of the plane.  background_points: the share of points wanted on the
    background.  shutter: the share of a frame's time that it is open, in clips with motion blur.
    All the others are probabilities.  Of a clip: still_camera, shaking_camera, foreground (one to three near, still
    poles or bushes that hide things for long), shallow_focus (background or foreground out of focus), and each effect
    on the frames (motion_blur … compression).  Of a thing: followed by the camera, articulated (a figure with
    joints), walking (of figures: an animal or a person, not a machine), grounded (of those: they go straight on, and
    between steps their feet stand on the background, which bends more rarely then), lathe (round and turning, so that
    its surface goes out of view), bending, tilting, turning, returning (leaves and comes back), twins (drawn twice),
    shadows, shading (its light changes), rounded (darker towards the rim), camouflage (the background's texture).
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
    shutter: tuple[float, float] = (0.2, 0.8)
    still_camera: float = 0.12
    shaking_camera: float = 0.3
    foreground: float = 0.25
    shallow_focus: float = 0.15
    followed: float = 0.25
    articulated: float = 0.4
    walking: float = 0.7
    grounded: float = 0.0
    lathe: float = 0.15
    bending: float = 0.4
    tilting: float = 0.5
    turning: float = 0.6
    returning: float = 0.12
    twins: float = 0.1
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
        if self.frames < 2 or self.points < 1 or min(self.height, self.width) < 16:
            raise ValueError(
                "Sprites needs frames >= 2, points >= 1, and height and width of at least 16 pixels"
            )
        if self.crop is not None and not self._fits(self.crop):
            raise ValueError(
                f"crop of Sprites is a height and a width, whole numbers of at least 16 and within {self.height} x "
                f"{self.width} (its height and width), or null: not {self.crop}"
            )
        for name in ("objects", "object_size", "shake", "liveliness", "shutter"):
            low, high = getattr(self, name)
            if not 0 <= low <= high or (
                low == 0 and name in ("object_size", "shake", "liveliness")
            ):
                raise ValueError(
                    f"{name} of Sprites is a lowest and a highest value, both positive: not {[low, high]}"
                )
        check_probabilities(self, "still_camera")
        if (
            not 0 < self.speed[0] <= self.speed[1] <= 1
            or not 0 < self.camera_speed[0] <= self.camera_speed[1] <= 1
        ):
            raise ValueError(
                "speed and camera_speed of Sprites are frame widths a frame, lowest and highest within 0..1: "
                f"not {self.speed} and {self.camera_speed} (0.01 is 5 pixels a frame at width 512)"
            )

    def _fits(self, crop: tuple[int, int]) -> bool:
        sides = list(zip(crop, (self.height, self.width), strict=True)) if len(crop) == 2 else []
        return bool(sides) and all(
            side == int(side) and 16 <= side <= whole for side, whole in sides
        )

    def pace(self, rng: Generator, speeds: tuple[float, float]) -> float:
        """Pixels a frame, log-uniform between `speeds` in frame widths a frame."""
        return self.width * log_uniform(rng, *speeds)


def check_probabilities(settings: object, first: str) -> None:
    """ValueError where a share of a generator's settings, or one from `first` to compression, is not within 0..1."""
    names = [field.name for field in fields(settings)]
    for name in (
        "procedural",
        "background_points",
        *names[names.index(first) : names.index("compression") + 1],
    ):
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(
                f"{name} of {type(settings).__name__} must be a number from 0 to 1, not {value}"
            )
