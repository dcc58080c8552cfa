"""What 3-D scenes are made of: every number that a config may set."""

from dataclasses import dataclass

from cotracker import checks
from cotracker.data.synthetic.recipe import MANY, TINY, check_probabilities, check_sizes

MOST_OBJECTS = 24


@dataclass
class Recipe3D:
    """The settings of 3-D scenes.

    frames, height, width, points: the sizes of a clip.
    sampled: points that the track algorithm samples, of which a clip keeps `points` that are well
    seen; a recording keeps all, and so does a clip where the two are equal.
    textures: folder or folders of photographs, None for patterns only.
    procedural: the share of patterns when there are photographs.
    fps: frames a second.
    objects: fewest and most.
    object_size: metres from middle to edge.
    speed, spin: m/s and radians/s at the start, log-uniform.
    camera_speed: m/s.
    fov: degrees, vertical.
    background_points: the share of points on the background.

    All others are probabilities.  Of an object:
    creatures: it is a creature.
    walking: of those: it moves its limbs itself.
    meshes: it is a mesh, not a primitive.
    fixed: it does not move.
    twins: it shares the texture of another.
    Of a scene:
    walls, shadows, still_camera, shaking_camera.
    following_camera: the camera follows an object.
    motion_blur to compression: each effect on the frames.
    """

    frames: int = 24
    height: int = 256
    width: int = 256
    points: int = 64
    sampled: int = 2048
    textures: str | list[str] | None = None
    procedural: float = 0.2
    fps: float = 12.0
    objects: tuple[int, int] = (5, 20)
    object_size: tuple[float, float] = (0.14, 0.7)
    speed: tuple[float, float] = (0.2, 4.0)
    spin: tuple[float, float] = (0.2, 9.0)
    camera_speed: tuple[float, float] = (0.05, 1.8)
    fov: tuple[float, float] = (28.0, 62.0)
    background_points: float = 0.4
    creatures: float = 0.15
    walking: float = 0.7
    meshes: float = 0.45
    fixed: float = 0.12
    twins: float = 0.15
    walls: float = 0.5
    shadows: float = 0.8
    still_camera: float = 0.1
    shaking_camera: float = 0.4
    following_camera: float = 0.3
    motion_blur: float = 0.2
    light_drift: float = 0.4
    light_field: float = 0.1
    low_contrast: float = 0.08
    defocus: float = 0.2
    noise: float = 0.4
    compression: float = 0.3

    def __post_init__(self):
        check_sizes(self)
        checks.whole("sampled of Scenes3D", self.sampled, 1, MANY)
        if self.sampled < self.points:
            raise ValueError(
                f"Scenes3D cannot choose points={self.points} of sampled={self.sampled}: "
                "raise sampled"
            )
        checks.number("fps of Scenes3D", self.fps, 1, 1000)
        checks.pair("objects of Scenes3D", self.objects, 0, MOST_OBJECTS, whole=True)
        checks.pair("fov of Scenes3D", self.fov, 1, 170)
        for name in ("object_size", "speed", "spin", "camera_speed"):
            checks.pair(f"{name} of Scenes3D", getattr(self, name), TINY, 1000)
        check_probabilities(self, "creatures")
