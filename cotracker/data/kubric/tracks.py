"""Point tracks of a rendered recording, by TAP-Vid-Kubric's algorithm (Doersch et al. 2022, 3.2).

Raster coordinates throughout, as on disk: pixel (row, column) has its centre at
(column + 1/2, row + 1/2).
"""

from dataclasses import dataclass

import numpy as np

NEARER = 0.99  # a surface hides what is more than one per cent further away
NORMALS_DIFFER = 0.05


@dataclass(frozen=True)
class Recording:
    """What a renderer knows of T frames H W with k moving instances, in the renderer's unit.

    depth: T H W float32, distance to the camera's centre (not along its axis), finite.
    segments: T H W uint8, 0 background, instance i is i + 1.
    normals: T H W 3 float32 of the surfaces, in the world's axes.
    object_coordinates: T H W 3 float32 within each instance's own box, -0.5 at its lower and 0.5
    at its upper sides.
    camera_positions: T 3.
    camera_quaternions: T 4 (W, X, Y, Z), world from camera; it looks along -Z with +Y up.
    focal: focal length / sensor width.
    boxes: k T 8 3 corners in the world, x slowest and z fastest, lower before upper.
    quaternions: k T 4 (W, X, Y, Z) of the instances.
    """

    depth: np.ndarray
    segments: np.ndarray
    normals: np.ndarray
    object_coordinates: np.ndarray
    camera_positions: np.ndarray
    camera_quaternions: np.ndarray
    focal: float
    boxes: np.ndarray
    quaternions: np.ndarray


def sample_tracks(
    recording: Recording,
    rng: np.random.Generator,
    count: int = 2048,
    stride: int = 4,
    max_segments: int = 25,
    max_share: float = 0.1,
    window: tuple[int, int, int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates N T 2 float32 raster, occluded N T bool and queries N 3 float32 (t, x, y).

    count: N.
    stride: points lie on a grid of every `stride`-th frame, row and column, equally many of each
    segment. What then lacks is sampled from the whole grid (published: one point is repeated).
    max_segments: segments with a higher number are left out.
    max_share: of a segment's pixels on the grid, the most that are sampled.
    window: top, left, bottom, right, in pixels. Outside it points are occluded, and coordinates
    are those of the window resized to H W.
    ValueError: shapes that do not fit each other, depth that is not finite, or a zero quaternion.
    """
    _check(recording)
    height, width = recording.depth.shape[1:]
    top, left, bottom, right = window or (0, 0, height, width)
    grid = _make_grid(recording.depth.shape[0], (top, left, bottom, right), stride, rng)
    pixels = _sample_pixels(grid, recording.segments, rng, count, max_segments, max_share)
    points = _locate_points(recording, pixels)
    coords, front = project(recording, points)
    hidden = _is_behind_surface(recording, pixels, points, coords)
    hidden |= _is_facing_away(recording, pixels, points)
    outside = (coords < (left, top)).any(-1) | (coords > (right, bottom)).any(-1)
    corner = np.array([left, top])
    scale = np.array([width / (right - left), height / (bottom - top)])
    xy = pixels[:, [2, 1]] + 0.5
    queries = np.concatenate([pixels[:, :1], (xy - corner) * scale], axis=1)
    coords = ((coords - corner) * scale).astype(np.float32)
    return coords, hidden | outside | ~front, queries.astype(np.float32)


def rotations(quaternions: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of quaternions (..., 4) as W, X, Y, Z, of any length but 0."""
    q = np.asarray(quaternions, float)
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    w = q[..., 0, None, None]
    x, y, z = np.moveaxis(q[..., 1:], -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    return np.eye(3) + 2 * (w * cross + cross @ cross)


def project(recording: Recording, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Raster coordinates N T 2 of points N T 3 in the world, and N T: in front of the camera."""
    height, width = recording.depth.shape[1:]
    rotation = rotations(recording.camera_quaternions)
    local = np.einsum("tji,ntj->nti", rotation, points - recording.camera_positions)
    x, y, z = np.moveaxis(local, -1, 0)
    away = np.where(np.abs(z) < 1e-9, 1e-9, -z)
    focal = recording.focal * width  # pixels are square
    return np.stack([width / 2 + focal * x / away, height / 2 - focal * y / away], axis=-1), z < 0


def _check(recording: Recording) -> None:
    """ValueError where the arrays do not fit each other."""
    frames, height, width = recording.depth.shape
    instances = len(recording.boxes)
    expected = {
        "segments": (frames, height, width),
        "normals": (frames, height, width, 3),
        "object_coordinates": (frames, height, width, 3),
        "camera_positions": (frames, 3),
        "camera_quaternions": (frames, 4),
        "boxes": (instances, frames, 8, 3),
        "quaternions": (instances, frames, 4),
    }
    for name, shape in expected.items():
        found = np.shape(getattr(recording, name))
        if found != shape:
            raise ValueError(
                f"{name} has the shape {found}, "
                f"but the depth's {frames, height, width} requires {shape}"
            )
    last = recording.segments.max()
    if last > instances:
        raise ValueError(f"segments name instance {last - 1}, but only {instances} are described")
    if not np.isfinite(recording.depth).all():
        raise ValueError("depth is not finite everywhere: give the sky a far but finite distance")
    for quaternions in (recording.camera_quaternions, recording.quaternions):
        if not np.any(quaternions, axis=-1).all():
            raise ValueError("a quaternion of the camera or an instance is zero: no rotation")


def _make_grid(frames: int, window: tuple, stride: int, rng: np.random.Generator) -> np.ndarray:
    """Pixels (M, 3) of the grid as (t, row, column), from a random start on each axis."""
    top, left, bottom, right = window
    spans = ((0, frames), (top, bottom), (left, right))
    axes = [
        np.arange(low + rng.integers(min(stride, high - low)), high, stride) for low, high in spans
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def allocate(sizes: np.ndarray, count: int, max_share: float) -> np.ndarray:
    """How many points (n,) to sample of each of n segments of `sizes` (n,) pixels.

    Equally many, the smallest first, at most `max_share` of each. What small segments cannot give
    passes on to larger ones; the sum may fall short of `count`.
    """
    taken = np.zeros(len(sizes), int)
    for rank, segment in enumerate(np.argsort(sizes, kind="stable")):
        want = round((count - taken.sum()) / (len(sizes) - rank))
        taken[segment] = min(want, round(sizes[segment] * max_share))
    return taken


def _sample_pixels(
    grid: np.ndarray,
    segments: np.ndarray,
    rng: np.random.Generator,
    count: int,
    max_segments: int,
    max_share: float,
) -> np.ndarray:
    """`count` pixels N 3 of the grid, with replacement: of each segment, then of the whole grid."""
    ids = segments[tuple(grid.T)]
    sizes = np.bincount(ids, minlength=max_segments + 1)[: max_segments + 1]
    shares = allocate(sizes, count, max_share)
    chosen = [
        rng.choice(np.flatnonzero(ids == segment), n) for segment, n in enumerate(shares) if n
    ]
    rest = rng.integers(len(grid), size=count - shares.sum())
    return grid[np.concatenate([*chosen, rest])]


def _locate_points(recording: Recording, pixels: np.ndarray) -> np.ndarray:
    """Positions N T 3 in the world, in every frame, of the surfaces seen at pixels N 3."""
    own = recording.segments[tuple(pixels.T)].astype(int)
    frames = len(recording.depth)
    points = np.repeat(_unproject(recording, pixels)[:, None], frames, axis=1)
    moving = np.flatnonzero(own)
    signs = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3, indexing="ij"), axis=-1).reshape(8, 3)
    centres = recording.boxes.mean(2)
    # Exactly the least squares of the eight corners.
    edges = np.einsum("na,ktnc->ktac", signs, recording.boxes) / 2
    local = recording.object_coordinates[tuple(pixels[moving].T)].astype(float)
    instance = own[moving] - 1
    points[moving] = centres[instance] + np.einsum("na,ntac->ntc", local, edges[instance])
    return points


def _unproject(recording: Recording, pixels: np.ndarray) -> np.ndarray:
    """The points N 3 in the world that pixels N 3 show, by their depth and their frame's camera."""
    height, width = recording.depth.shape[1:]
    t, row, column = pixels.T
    focal = recording.focal * width
    x = (column + 0.5 - width / 2) / focal
    y = (height / 2 - row - 0.5) / focal
    rays = np.stack([x, y, -np.ones(len(t))], axis=-1)
    rays *= (recording.depth[t, row, column] / np.linalg.norm(rays, axis=-1))[:, None]
    rotation = rotations(recording.camera_quaternions)[t]
    return (
        np.einsum("nij,nj->ni", rotation, rays) + np.asarray(recording.camera_positions, float)[t]
    )


def _is_behind_surface(recording: Recording, pixels, points, coords) -> np.ndarray:
    """Bool N T: all four pixels around are nearer than the point, or all show another segment."""
    frames, height, width = recording.depth.shape
    corner = np.floor(np.clip(coords - 0.5, -2, (width + 1, height + 1))).astype(int)
    columns = np.clip(corner[..., :1] + (0, 1, 0, 1), 0, width - 1)
    rows = np.clip(corner[..., 1:] + (0, 0, 1, 1), 0, height - 1)
    around = (np.arange(frames)[:, None], rows, columns)
    distance = np.linalg.norm(points - recording.camera_positions, axis=-1)
    nearer = recording.depth[around].max(-1) < NEARER * distance
    own = recording.segments[tuple(pixels.T)]
    return nearer | (recording.segments[around] != own[:, None, None]).all(-1)


def _is_facing_away(recording: Recording, pixels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bool N T: an instance's surface faces away, by the normal seen at the query pixel.

    Normals that face away already there, or that differ from those around, are not trusted.
    """
    away = np.zeros(points.shape[:2], bool)
    own = recording.segments[tuple(pixels.T)].astype(int)
    moving = np.flatnonzero((own > 0) & _has_smooth_normal(recording.normals, pixels))
    if len(moving):
        t = pixels[moving, 0]
        instance = own[moving] - 1
        rotation = rotations(recording.quaternions)
        normals = recording.normals[tuple(pixels[moving].T)].astype(float)
        still = np.einsum("nji,nj->ni", rotation[instance, t], normals)
        turned = np.einsum("ntij,nj->nti", rotation[instance], still)
        away[moving] = (turned * (points[moving] - recording.camera_positions)).sum(-1) > 0
        away[moving[away[moving, t]]] = False
    return away


def _has_smooth_normal(normals: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Bool N: at least two of the four diagonal neighbours of pixels N 3 have the same normal."""
    _, height, width, _ = normals.shape
    t, row, column = pixels.T
    own = normals[t, row, column]
    differ = np.zeros(len(pixels), int)
    for down, right in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        r = row + down
        c = column + right
        inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
        other = normals[t, np.clip(r, 0, height - 1), np.clip(c, 0, width - 1)] * inside[:, None]
        differ += ((own - other) ** 2).sum(-1) > NORMALS_DIFFER**2
    return differ <= 2
