"""From renderings to what the track algorithm needs: distances, surfaces, normals, boxes."""

from dataclasses import dataclass

import numpy as np

from cotracker.data.kubric.tracks import Recording, rotations
from cotracker.data.synthetic.scenes3d.scene3d import Camera3D, Poses

SKY = 10_000.0  # metres: so far that no camera seems to move in it
CORNERS = np.array([(x, y, z) for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


@dataclass(frozen=True)
class Surface:
    """A Recording, and where every pixel's surface is in the world, T H W 3 float32 metres."""

    recording: Recording
    points: np.ndarray


def record_surface(poses: Poses, camera: Camera3D, depth: np.ndarray, seen: np.ndarray) -> Surface:
    """The Surface of T frames.

    poses, camera: at the times of the frames.
    depth: T H W along the camera's axis, infinite in the sky.
    seen: T H W uint8, one more than the index of the piece, 0 for none.
    """
    _, height, width = depth.shape
    focal = height / 2 / np.tan(np.radians(camera.fov) / 2)
    rays = _pixel_rays(height, width, focal)
    length = np.linalg.norm(rays, axis=-1)
    distance = np.where(np.isfinite(depth), depth * length, SKY).astype(np.float32)
    points, normals, coordinates = (np.zeros((*depth.shape, 3), np.float32) for _ in range(3))
    for t, (eye, rotation) in enumerate(zip(camera.positions, rotations(camera.quaternions))):
        exact = (distance[t] / length)[..., None] * rays @ rotation.T + eye
        on = seen[t] > 0
        own = seen[t][on].astype(int) - 1
        offsets = exact[on] - poses.positions[own, t]
        local = np.einsum("nji,nj->ni", poses.rotations[own, t], offsets)
        coordinates[t][on] = local / (2 * poses.half[own])
        normals[t] = _estimate_normals(exact, distance[t], seen[t], eye)
        points[t] = exact
    corners = CORNERS * poses.half[:, None]
    boxes = np.einsum("ktij,knj->ktni", poses.rotations, corners) + poses.positions[:, :, None]
    recording = Recording(
        distance,
        seen,
        normals,
        coordinates,
        camera.positions,
        camera.quaternions,
        focal / width,
        boxes,
        to_quaternion(poses.rotations),
    )
    return Surface(recording, points)


def _pixel_rays(height: int, width: int, focal: float) -> np.ndarray:
    """Directions (H, W, 3) through the pixels' centres, in the camera's axes, of unit depth."""
    x = (np.arange(width) + 0.5 - width / 2) / focal
    y = (height / 2 - np.arange(height) - 0.5) / focal
    return np.stack([*np.broadcast_arrays(x[None], y[:, None]), -np.ones((height, width))], axis=-1)


def _estimate_normals(
    points: np.ndarray, distance: np.ndarray, seen: np.ndarray, eye: np.ndarray
) -> np.ndarray:
    """Normals (H, W, 3) float32 towards the camera, from the flatter step to either side."""
    across = _estimate_tangents(points, distance, seen, 1)
    down = _estimate_tangents(points, distance, seen, 0)
    normals = np.cross(down, across)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    away = np.einsum("hwi,hwi->hw", normals, points - eye) > 0
    return np.where(away[..., None], -normals, normals).astype(np.float32)


def _estimate_tangents(
    points: np.ndarray, distance: np.ndarray, seen: np.ndarray, axis: int
) -> np.ndarray:
    """Steps (H, W, 3) along the surface in the image's direction `axis`, within the piece."""
    ahead = np.diff(points, axis=axis, append=np.take(points, [-1], axis))
    jump = np.abs(np.diff(distance, axis=axis)) + 1e9 * (np.diff(seen.astype(int), axis=axis) != 0)
    pad = [(0, 0), (0, 0)]
    pad[axis] = (0, 1)
    after = np.pad(jump, pad, constant_values=np.inf)
    behind = np.roll(ahead, 1, axis)
    before = np.roll(after, 1, axis)
    return np.where((before < after)[..., None], behind, ahead)


def is_in_front(surface: Surface, pixels: np.ndarray) -> np.ndarray:
    """Bool (T, N): the points seen at `pixels` (N, 3) t, row, column are before the camera."""
    recording = surface.recording
    t = pixels[:, 0]
    points = surface.points[tuple(pixels.T)]
    own = recording.segments[tuple(pixels.T)].astype(int)
    moved = np.repeat(points[None], len(recording.depth), 0)
    on = np.flatnonzero(own)
    instance = own[on] - 1
    to_world = rotations(recording.quaternions)
    middle = recording.boxes.mean(2)
    local = np.einsum("nji,nj->ni", to_world[instance, t[on]], points[on] - middle[instance, t[on]])
    offsets = middle[instance].transpose(1, 0, 2)
    moved[:, on] = np.einsum("ntij,nj->tni", to_world[instance], local) + offsets
    axis = rotations(recording.camera_quaternions)[..., 2]
    return np.einsum("tni,ti->tn", moved - recording.camera_positions[:, None], axis) < -1e-3


def to_quaternion(matrices: np.ndarray) -> np.ndarray:
    """Quaternions (..., 4) of rotations (..., 3, 3): the main axis of a symmetric matrix."""
    a = matrices
    k = np.empty((*a.shape[:-2], 4, 4))
    trace = np.trace(a, axis1=-2, axis2=-1)
    k[..., 1:, 1:] = a + a.swapaxes(-1, -2) - trace[..., None, None] * np.eye(3)
    k[..., 0, 0] = trace
    skew = np.stack(
        [a[..., 2, 1] - a[..., 1, 2], a[..., 0, 2] - a[..., 2, 0], a[..., 1, 0] - a[..., 0, 1]],
        axis=-1,
    )
    k[..., 0, 1:] = k[..., 1:, 0] = skew
    return np.linalg.eigh(k)[1][..., -1]
