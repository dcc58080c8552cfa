"""How cameras move in 3-D: still, along a line, panning, round about, following; by hand or on a stand."""

import cv2
import numpy as np
from numpy.random import Generator

from cotracker.data.kubric.tracks import rotations
from cotracker.data.synthetic.motion import sample_wave
from cotracker.data.synthetic.scenes3d.scene import Camera, Plane, Poses, combined, turn_about

PACE = 12  # motion.wave counts its periods in frames; here 12 to the second


def moving_camera(
    rng: Generator,
    times: np.ndarray,
    interest: np.ndarray,
    followed: np.ndarray | None,
    azimuth: float,
    speed: float,
    shake: float,
    fov: float,
) -> Camera:
    """A Camera of `fov` degrees at `times` (M,) seconds that looks at or past `interest` (3,).

    followed: where what it follows is (M, 3), or None.  azimuth: radians, the side it stands on.  speed: metres a
    second.  shake: degrees.
    """
    distance = np.clip(rng.uniform(1.1, 2.3) / np.tan(np.radians(fov) / 2), 2.0, 12.0)
    height = np.radians(rng.uniform(4, 45))
    away = np.array(
        [np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)]
    )
    aim = interest + rng.normal(0, 0.3, 3) * (1, 1, 0.5)
    aims, positions = _course(rng, times, aim, distance * away, speed)
    if followed is not None:
        walk = followed - followed[len(times) // 2]
        aims = aims + walk * rng.uniform(0.7, 1.1)
        positions = positions + walk * rng.choice((0.0, rng.uniform(0.3, 1.0))) * (1, 1, 0.3)
    positions[:, 2] = np.maximum(positions[:, 2], 0.35)
    roll = np.radians(rng.normal(0, 4)) + sample_wave(
        rng, PACE * times, np.radians(rng.uniform(0, 6)), (12, 60)
    )
    return Camera(
        positions, combined(_looking(aims - positions), _by_hand(rng, times, roll, shake)), fov
    )


def _course(rng: Generator, times: np.ndarray, aim: np.ndarray, away: np.ndarray, speed: float):
    """Where the camera aims and where it is, both (M, 3): still, line, pan or orbit about `aim` from `aim` + `away`."""
    clock = times - times.mean()
    clock = clock + sample_wave(rng, PACE * times, 0.15, (12, 40))
    kind, distance = (
        rng.choice(("line", "pan", "orbit", "line and pan"), p=(0.3, 0.15, 0.3, 0.25)),
        np.linalg.norm(away),
    )
    aims, positions = np.tile(aim, (len(times), 1)), np.tile(aim + away, (len(times), 1))
    if kind == "orbit":
        angle = np.clip(rng.choice((-1, 1)) * 1.5 * speed / distance * clock, -1.0, 1.0)
        turns = _about_z(angle)
        positions = aim + np.einsum("mij,j->mi", turns, away)
        positions[:, 2] += rng.normal(0, 0.3) * speed * clock
    if kind.startswith("line"):
        course = rng.normal(size=3) * (1, 1, 0.5)
        line = speed * clock[:, None] * course / np.linalg.norm(course)
        positions = positions + line
        aims = aims + line * rng.uniform(0, 0.7)
    if kind.endswith("pan"):
        across = np.cross(away, (0, 0, 1.0)) + (0, 0, distance * rng.normal(0, 0.3))
        aims = aims + speed * clock[:, None] * across / np.linalg.norm(across) * rng.choice((-1, 1))
    return aims, positions


def _about_z(angle: np.ndarray) -> np.ndarray:
    """Rotations (M, 3, 3) by `angle` (M,) about z."""
    cos, sin, zero = np.cos(angle), np.sin(angle), 0 * angle
    return np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1], axis=-1).reshape(
        -1, 3, 3
    )


def _looking(ahead: np.ndarray) -> np.ndarray:
    """Quaternions (M, 4) of level cameras that look along `ahead` (M, 3)."""
    back = -ahead / np.linalg.norm(ahead, axis=1, keepdims=True)
    right = np.cross((0.0, 0.0, 1.0), back)
    right /= np.maximum(np.linalg.norm(right, axis=1, keepdims=True), 1e-6)
    turns = np.stack([right, np.cross(back, right), back], axis=-1)
    vectors = np.stack([cv2.Rodrigues(turn)[0][:, 0] for turn in turns])
    angles = np.linalg.norm(vectors, axis=1)
    return turn_about(vectors + (angles < 1e-9)[:, None] * (0, 0, 1.0), angles)


def _by_hand(rng: Generator, times: np.ndarray, roll: np.ndarray, shake: float) -> np.ndarray:
    """Small turns (M, 4) about the camera's own axes: the roll, and the tremble of `shake` degrees of a hand."""
    turns = turn_about(np.broadcast_to((0.0, 0.0, 1.0), (len(times), 3)), roll)
    for axis in np.eye(3):
        angle = sum(
            sample_wave(rng, PACE * times, np.radians(shake), periods)
            for periods in ((2.5, 6), (6, 20))
        )
        turns = combined(turns, turn_about(np.broadcast_to(axis, (len(times), 3)), angle))
    return turns


def seen_share(camera: Camera, poses: Poses, aspect: float) -> float:
    """The share of pieces and times whose middle is within the frame."""
    if not len(poses.positions):
        return 1.0
    local = np.einsum(
        "mji,kmj->kmi", rotations(camera.quaternions), poses.positions - camera.positions
    )
    reach = np.tan(np.radians(camera.fov) / 2) * -local[..., 2]
    inside = (
        (local[..., 2] < 0)
        & (np.abs(local[..., 1]) < reach)
        & (np.abs(local[..., 0]) < aspect * reach)
    )
    return float(inside.mean())


def clearance(camera: Camera, poses: Poses, planes: tuple[Plane, ...]) -> float:
    """The least distance in metres between the camera and a piece's box or a plane; negative within."""
    local = np.einsum("kmji,kmj->kmi", poses.rotations, camera.positions - poses.positions)
    boxes = (np.abs(local) - poses.half[:, None]).max(-1)
    normals = [rotations(plane.quaternion)[:, 2] for plane in planes]
    behind = [
        ((camera.positions - plane.position) @ normal).min()
        for plane, normal in zip(planes, normals)
    ]
    return float(min([*behind, boxes.min(initial=np.inf)]))
