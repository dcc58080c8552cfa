"""What a 3-D scene is made of, as plain values: metres, seconds, z up; quaternions W, X, Y, Z."""

from dataclasses import dataclass, field, replace

import numpy as np

from cotracker.data.synthetic.scenes3d.solids import Mesh

UPRIGHT = (1.0, 0.0, 0.0, 0.0)
ORIGIN = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Piece:
    """One rigid shape of a body, with its own segment.

    kind: box, sphere, cylinder, capsule, ellipsoid or mesh.
    size: (3,) half lengths as MuJoCo counts them (capsule and cylinder: radius, half length along
    z; mesh: its scale).
    position, quaternion: within the body.
    texture: its index in the scene; None is plain `colour`, which shines.
    solid: it collides and weighs.
    shown: if not, it is there for the physics alone.
    """

    kind: str
    size: tuple[float, float, float]
    position: tuple = ORIGIN
    quaternion: tuple = UPRIGHT
    texture: int | None = None
    colour: tuple = (1.0, 1.0, 1.0)
    mesh: Mesh | None = None
    solid: bool = True
    shown: bool = True


@dataclass(frozen=True)
class Body:
    """Pieces that move as one: free, fixed, or joined to another body by a hinge at its own origin.

    position, quaternion: at the start, in the world or within the parent.
    parent: index of an earlier body, or None.
    axis: of the hinge.
    velocity: (6,) along, then about the world's axes, for a free body.
    motion: None leaves it to physics; else its pose at each step: (steps, 7) position and
    quaternion, or (steps,) radians of its hinge.
    stiffness, damping: of a hinge, so that it swings back.
    bounce: 0..1.
    friction, density (kg/m3): of its pieces.
    limb: it does not collide with other limbs.
    """

    pieces: tuple[Piece, ...]
    position: tuple = ORIGIN
    quaternion: tuple = UPRIGHT
    parent: int | None = None
    axis: tuple = (0.0, 1.0, 0.0)
    free: bool = True
    velocity: tuple = (0.0,) * 6
    motion: np.ndarray | None = None
    stiffness: float = 0.0
    damping: float = 0.0
    bounce: float = 0.2
    friction: float = 0.8
    density: float = 500.0
    limb: bool = False


@dataclass(frozen=True)
class Plane:
    """A wall or the ground: faces its own +z; half lengths `size`; `repeat`s its texture."""

    position: tuple
    quaternion: tuple
    size: tuple[float, float]
    texture: int | None = None
    repeat: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Light:
    """A sun where `position` is None, else a lamp.

    direction: the way it shines.
    diffuse, specular: RGB 0..1.
    """

    direction: tuple
    position: tuple | None = None
    diffuse: tuple = (0.6, 0.6, 0.6)
    specular: tuple = (0.2, 0.2, 0.2)
    shadow: bool = True


@dataclass(frozen=True)
class Scene3D:
    """All that physics and rendering need.

    textures: uint8, H W 3 for planes and 6w w 3 (right, left, up, down, front, back) for pieces.
    shine: 0..1 of each texture.
    sky: 6w w 3 or None (black).
    ambient: RGB 0..1.
    step: seconds of one step.
    steps: their number.
    """

    bodies: tuple[Body, ...]
    planes: tuple[Plane, ...] = ()
    lights: tuple[Light, ...] = ()
    textures: tuple[np.ndarray, ...] = ()
    shine: tuple[float, ...] = field(default=())
    sky: np.ndarray | None = None
    ambient: tuple = (0.4, 0.4, 0.4)
    step: float = 1 / 240
    steps: int = 480


@dataclass(frozen=True)
class Camera3D:
    """Where a camera is at M moments; it looks along its -Z with +Y up.

    positions: (M, 3).
    quaternions: (M, 4) world from camera.
    fov: degrees, vertical.
    """

    positions: np.ndarray
    quaternions: np.ndarray
    fov: float

    def at(self, moments: np.ndarray) -> "Camera3D":
        """The Camera3D at some of its moments, by number."""
        return replace(
            self, positions=self.positions[moments], quaternions=self.quaternions[moments]
        )


@dataclass(frozen=True)
class Poses:
    """Where the k shown pieces are at M moments.

    positions: k M 3, the middles of their boxes.
    rotations: k M 3 3 world from piece.
    half: k 3, half lengths of each piece's box.
    states: M q, MuJoCo's own.
    """

    positions: np.ndarray
    rotations: np.ndarray
    half: np.ndarray
    states: np.ndarray

    def at(self, moments: np.ndarray) -> "Poses":
        """The Poses at some of their moments, by index."""
        return Poses(
            self.positions[:, moments], self.rotations[:, moments], self.half, self.states[moments]
        )


def direction_at(azimuth: float, elevation: float) -> np.ndarray:
    """The unit vector (3,) at these angles (radians)."""
    level = np.cos(elevation)
    return np.array([np.cos(azimuth) * level, np.sin(azimuth) * level, np.sin(elevation)])


def quaternion_about(axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Quaternions (..., 4) that rotate by `angle` (...) radians about `axis` (..., 3)."""
    axis, angle = np.asarray(axis, float), np.asarray(angle, float)[..., None]
    axis = axis / np.linalg.norm(axis, axis=-1, keepdims=True)
    return _join(np.cos(angle / 2), np.sin(angle / 2) * axis)


def _join(w: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    w = np.broadcast_to(w, (*xyz.shape[:-1], 1))
    return np.concatenate([w, xyz], axis=-1)


def multiply_quaternions(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The product of quaternions (..., 4): the rotation `second`, then `first`."""
    w, v = first[..., :1], first[..., 1:]
    u, p = second[..., :1], second[..., 1:]
    return _join(w * u - (v * p).sum(-1, keepdims=True), w * p + u * v + np.cross(v, p))
