"""How cameras move in 3-D: still, on a line, panning, in an orbit, following; with hand shake."""

import cv2
import numpy as np
from numpy.random import Generator

from cotracker.data.kubric.tracks import rotations
from cotracker.data.synthetic.motion import sample_log_uniform, sample_wave
from cotracker.data.synthetic.recipe3d import Recipe3D
from cotracker.data.synthetic.scenes3d.scene3d import (
    Camera3D,
    Plane,
    Poses,
    Scene3D,
    direction_at,
    multiply_quaternions,
    quaternion_about,
)

FRAMES_PER_SECOND = 12  # sample_wave counts its periods in frames
TRIES = 12  # cameras sampled until one sees enough
CLEARANCE = 0.25  # metres that a camera keeps from everything


def choose_camera(
    recipe: Recipe3D,
    rng: Generator,
    scene: Scene3D,
    times: np.ndarray,
    poses: Poses,
    azimuth: float,
) -> Camera3D:
    """The first sampled Camera3D that stands free and sees enough, or else the best of them.

    times: (M,) seconds of the poses.
    azimuth: radians, about the side on which it stands.
    ValueError: none stands free.
    """
    best, most = None, -np.inf
    for _ in range(TRIES):
        camera = _sample_camera(recipe, rng, times, poses, azimuth)
        score = visible_share(camera, poses, recipe.width / recipe.height)
        score -= 3 * (clearance(camera, poses, scene.planes) < CLEARANCE)
        if score > most:
            best, most = camera, score
        if most > 0.6:
            break
    if most < 0:
        raise ValueError("no camera stands free in this scene")
    return best


def _sample_camera(
    recipe: Recipe3D, rng: Generator, times: np.ndarray, poses: Poses, azimuth: float
) -> Camera3D:
    """A Camera3D that looks at or past the pieces, or follows one."""
    followed = None
    if len(poses.positions) and rng.random() < recipe.following_camera:
        followed = poses.positions[rng.integers(len(poses.positions))]
    still = rng.random() < recipe.still_camera
    speed = 0.0 if still else sample_log_uniform(rng, *recipe.camera_speed)
    shaking = rng.random() < recipe.shaking_camera
    shake = sample_log_uniform(rng, 0.1, 0.8) if shaking else 0.0
    interest = np.array([0, 0, 0.5])
    if len(poses.positions):
        interest = np.median(poses.positions.mean(1), axis=0)
    azimuth = azimuth + rng.normal(0, 0.6)
    fov = rng.uniform(*recipe.fov)
    distance = np.clip(rng.uniform(1.1, 2.3) / np.tan(np.radians(fov) / 2), 2.0, 12.0)
    away = distance * direction_at(azimuth, np.radians(rng.uniform(4, 45)))
    aim = interest + rng.normal(0, 0.3, 3) * (1, 1, 0.5)
    aims, positions = _sample_course(rng, times, aim, away, speed)
    if followed is not None:
        walk = followed - followed[len(times) // 2]
        aims = aims + walk * rng.uniform(0.7, 1.1)
        positions = positions + walk * rng.choice((0.0, rng.uniform(0.3, 1.0))) * (1, 1, 0.3)
    positions[:, 2] = np.maximum(positions[:, 2], 0.35)
    roll = np.radians(rng.normal(0, 4))
    swing = np.radians(rng.uniform(0, 6))
    roll = roll + sample_wave(rng, FRAMES_PER_SECOND * times, swing, (12, 60))
    hand = _sample_hand_shake(rng, times, roll, shake)
    return Camera3D(positions, multiply_quaternions(_look_along(aims - positions), hand), fov)


def _sample_course(
    rng: Generator, times: np.ndarray, aim: np.ndarray, away: np.ndarray, speed: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where the camera aims and where it is, both (M, 3): still, or a line, a pan or an orbit.

    aim: (3,) where it aims in the middle of the clip.
    away: (3,) from there to the camera.
    """
    clock = times - times.mean()
    clock = clock + sample_wave(rng, FRAMES_PER_SECOND * times, 0.15, (12, 40))
    kind = rng.choice(("line", "pan", "orbit", "line and pan"), p=(0.3, 0.15, 0.3, 0.25))
    distance = np.linalg.norm(away)
    aims = np.tile(aim, (len(times), 1))
    positions = np.tile(aim + away, (len(times), 1))
    if kind == "orbit":
        angle = np.clip(rng.choice((-1, 1)) * 1.5 * speed / distance * clock, -1.0, 1.0)
        positions = aim + np.einsum("mij,j->mi", _rotate_about_z(angle), away)
        positions[:, 2] += rng.normal(0, 0.3) * speed * clock
    if kind.startswith("line"):
        course = rng.normal(size=3) * (1, 1, 0.5)
        line = speed * clock[:, None] * course / np.linalg.norm(course)
        positions = positions + line
        aims = aims + line * rng.uniform(0, 0.7)
    if kind.endswith("pan"):
        across = np.cross(away, (0, 0, 1.0)) + (0, 0, distance * rng.normal(0, 0.3))
        pan = speed * clock[:, None] * across / np.linalg.norm(across)
        aims = aims + pan * rng.choice((-1, 1))
    return aims, positions


def _rotate_about_z(angle: np.ndarray) -> np.ndarray:
    """Rotations (M, 3, 3) by `angle` (M,) about z."""
    cos, sin, zero = np.cos(angle), np.sin(angle), 0 * angle
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1]
    return np.stack(rows, axis=-1).reshape(-1, 3, 3)


def _look_along(ahead: np.ndarray) -> np.ndarray:
    """Quaternions (M, 4) of level cameras that look along `ahead` (M, 3)."""
    back = -ahead / np.linalg.norm(ahead, axis=1, keepdims=True)
    right = np.cross((0.0, 0.0, 1.0), back)
    right /= np.maximum(np.linalg.norm(right, axis=1, keepdims=True), 1e-6)
    matrices = np.stack([right, np.cross(back, right), back], axis=-1)
    vectors = np.stack([cv2.Rodrigues(matrix)[0][:, 0] for matrix in matrices])
    angles = np.linalg.norm(vectors, axis=1)
    return quaternion_about(vectors + (angles < 1e-9)[:, None] * (0, 0, 1.0), angles)


def _sample_hand_shake(
    rng: Generator, times: np.ndarray, roll: np.ndarray, shake: float
) -> np.ndarray:
    """Rotations (M, 4) about the camera's own axes: the roll, and a hand's `shake` degrees."""
    rotation = quaternion_about(np.broadcast_to((0.0, 0.0, 1.0), (len(times), 3)), roll)
    clock = FRAMES_PER_SECOND * times
    for axis in np.eye(3):
        slow = sample_wave(rng, clock, np.radians(shake), (2.5, 6))
        angle = slow + sample_wave(rng, clock, np.radians(shake), (6, 20))
        axes = np.broadcast_to(axis, (len(times), 3))
        rotation = multiply_quaternions(rotation, quaternion_about(axes, angle))
    return rotation


def visible_share(camera: Camera3D, poses: Poses, aspect: float) -> float:
    """The share of pieces and times whose middle is within the frame."""
    if not len(poses.positions):
        return 1.0
    offsets = poses.positions - camera.positions
    local = np.einsum("mji,kmj->kmi", rotations(camera.quaternions), offsets)
    reach = np.tan(np.radians(camera.fov) / 2) * -local[..., 2]
    x, y = np.abs(local[..., 0]), np.abs(local[..., 1])
    inside = (local[..., 2] < 0) & (y < reach) & (x < aspect * reach)
    return float(inside.mean())


def clearance(camera: Camera3D, poses: Poses, planes: tuple[Plane, ...]) -> float:
    """The least distance in metres between the camera and a piece's box or a plane.

    It is negative within them.
    """
    local = np.einsum("kmji,kmj->kmi", poses.rotations, camera.positions - poses.positions)
    least = [(np.abs(local) - poses.half[:, None]).max(-1).min(initial=np.inf)]
    for plane in planes:
        normal = rotations(plane.quaternion)[:, 2]
        least.append(((camera.positions - plane.position) @ normal).min())
    return float(min(least))
