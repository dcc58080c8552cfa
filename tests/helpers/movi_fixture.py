"""A MOVi example made by hand: two boxes over a textured ground, ray-cast exactly.

Written by a writer of its own.

Nothing here uses the code under test, OpenCV, protobuf or a checksum library.
"""

import struct
import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np

FOCAL, SENSOR = 35.0, 32.0
GROUND = 0
CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)


def turn(axis, angles):
    """Matrices T 3 3 (Rodrigues) and quaternions T 4 of turns by `angles` T about one axis."""
    axis, angles = np.asarray(axis, float) / np.linalg.norm(axis), np.asarray(angles, float)
    skew = np.cross(np.eye(3), axis)
    matrices = [np.eye(3) + np.sin(a) * skew + (1 - np.cos(a)) * skew @ skew for a in angles]
    return np.array(matrices), np.column_stack(
        [np.cos(angles / 2), np.sin(angles / 2)[:, None] * axis]
    )


@dataclass(frozen=True)
class Box:
    half: np.ndarray  # 3
    centres: np.ndarray  # T 3
    turns: np.ndarray  # T 3 3
    quaternions: np.ndarray  # T 4

    def corners(self):
        """T 8 3 in the world."""
        return self.centres[:, None] + np.einsum("tij,nj->tni", self.turns, CORNERS * self.half)

    def hit(self, t, origin, rays):
        """Distances n along unit rays n 3, infinite if missed, and local points n 3 (slabs)."""
        start, rays = self.turns[t].T @ (origin - self.centres[t]), rays @ self.turns[t]
        rays = np.where(np.abs(rays) < 1e-12, 1e-12, rays)
        one, two = (-self.half - start) / rays, (self.half - start) / rays
        near, far = np.minimum(one, two).max(-1), np.maximum(one, two).min(-1)
        met = (near <= far) & (near > 0)
        local = start + rays * np.where(met, near, 0)[:, None]
        return np.where(met, near, np.inf), local / self.half


@dataclass(frozen=True, eq=False)
class Scene:
    """Frames T of `size` x `size`; the camera looks down on the ground z = 0."""

    size: int
    positions: np.ndarray  # T 3
    turns: np.ndarray  # T 3 3
    quaternions: np.ndarray  # T 4
    boxes: list

    def rays(self, t, raster):
        """Unit rays (n, 3) in the world through raster positions (n, 2)."""
        x, y = (np.asarray(raster, float) / self.size - 0.5).T * SENSOR
        rays = np.column_stack([x, -y, np.full(len(x), -FOCAL)])
        return (rays / np.linalg.norm(rays, axis=1, keepdims=True)) @ self.turns[t].T

    def cast(self, t, rays):
        """What rays (n, 3) from the camera meet first: distance, label (0 ground, i + 1 box i).

        Point in its frame.
        """
        origin = self.positions[t]
        distance = origin[2] / -rays[:, 2]
        point, label = origin + distance[:, None] * rays, np.zeros(len(rays), int)
        for number, box in enumerate(self.boxes, 1):
            found, local = box.hit(t, origin, rays)
            first = found < distance
            distance, label = np.where(first, found, distance), np.where(first, number, label)
            point = np.where(first[:, None], local, point)
        return distance, label, point

    def world(self, label, point, t):
        """The world positions (n, 3) at time t of points in the frames of what they lie on."""
        where = np.array(point, float)
        for number, box in enumerate(self.boxes, 1):
            own = label == number
            where[own] = box.centres[t] + (point[own] * box.half) @ box.turns[t].T
        return where

    def look(self, t, where):
        """Raster positions (n, 2) and z in front (n,) of points (n, 3) of the world at time t."""
        x, y, z = ((where - self.positions[t]) @ self.turns[t]).T
        ratio = FOCAL / SENSOR * self.size / -z
        return np.column_stack([self.size / 2 + ratio * x, self.size / 2 - ratio * y]), -z

    def track(self, query_times, raster):
        """The exact truth of what is seen at raster (n, 2) at query_times (n,): coords n T 2.

        Visible n T.
        """
        frames, n = len(self.positions), len(raster)
        label, point = np.zeros(n, int), np.zeros((n, 3))
        for t in np.unique(query_times):
            own = query_times == t
            _, label[own], point[own] = self.cast(t, self.rays(t, raster[own]))
        coords, visible = np.zeros((n, frames, 2)), np.zeros((n, frames), bool)
        for t in range(frames):
            where = self.world(label, point, t)
            coords[:, t], z = self.look(t, where)
            offset = where - self.positions[t]
            distance = np.linalg.norm(offset, axis=1)
            first, _, _ = self.cast(t, offset / distance[:, None])
            inside = ((coords[:, t] > 0) & (coords[:, t] < self.size)).all(-1)
            visible[:, t] = inside & (z > 0) & (first > distance - 1e-6)
        return coords, visible

    @cache  # noqa: B019 (scenes live as long as the tests)
    def images(self):
        """What the renderer hands over: dict of arrays T H W …, and `faces` T H W.

        Which differ where surfaces do.
        """
        grid = (
            np.stack(np.meshgrid(np.arange(self.size), np.arange(self.size)), axis=-1).reshape(
                -1, 2
            )
            + 0.5
        )
        rows = []
        for t in range(len(self.positions)):
            rays = self.rays(t, grid)
            distance, label, point = self.cast(t, rays)
            axis, ground = np.abs(point).argmax(1), label == GROUND
            sign = np.sign(point[np.arange(len(point)), axis])
            normal = np.eye(3)[axis] * sign[:, None]
            for number, box in enumerate(self.boxes, 1):
                normal[label == number] = normal[label == number] @ box.turns[t].T
            normal[ground] = (0, 0, 1)
            checks = (np.floor(point * np.where(ground, 2.0, 4.0)[:, None] + 0.3).sum(1) % 2)[
                :, None
            ]
            colour = 60 + 90 * checks + 20 * label[:, None] + 30 * (np.arange(3) == label[:, None])
            local = np.where(ground[:, None], 0, point / 2)
            faces = np.where(ground, 0, label * 10 + axis * 2 + (sign > 0))
            rows.append((colour.astype(np.uint8), distance, label, normal, local, faces))
        shape = (len(rows), self.size, self.size)
        names = ("video", "depth", "segments", "normals", "local", "faces")
        stacked = [np.stack(column) for column in zip(*rows)]
        return {name: a.reshape(*shape, *a.shape[2:]) for name, a in zip(names, stacked)}


@cache
def scene(size=96, frames=24) -> Scene:
    """A box that flies and tumbles past a standing one, seen by a camera that moves and pans."""
    s = np.linspace(0, 1, frames)
    flying = Box(
        np.array([0.9, 0.6, 0.7]),
        np.column_stack([-2.2 + 4.4 * s, 1.2 + 0.8 * s, 1.2 + 0.8 * s * (1 - s)]),
        *turn((1, 2, 3), 0.3 + 2.7 * s),
    )
    standing = Box(
        np.array([0.5, 0.4, 1.3]),
        np.tile((0.3, 0.4, 1.3), (frames, 1)),
        *turn((0, 0, 1), 0 * s + 0.4),
    )
    (tilt, tilt_q), (pan, pan_q) = turn((1, 0, 0), 0.5 + 0.1 * s), turn((0, 0, 1), 0.15 - 0.3 * s)
    (a, b), (c, d) = pan_q[:, [0, 3]].T, tilt_q[:, [0, 1]].T  # the product of turns about z and x
    quaternions = np.column_stack([a * c, a * d, b * d, b * c])
    positions = np.column_stack([0.5 - s, -4 + 0.5 * s, 8 - 0.5 * s])
    return Scene(size, positions, pan @ tilt, quaternions, [flying, standing])


def png(image) -> bytes:
    """A PNG of H W (1 or 3) uint8 or uint16."""
    height, width, channels = image.shape
    rows = image.astype(">u2" if image.dtype == np.uint16 else "u1").reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(
        ">IIBBBBB", width, height, 8 * image.dtype.itemsize, {1: 0, 3: 2}[channels], 0, 0, 0
    )
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(data, 1)), (b"IEND", b"")]
    framed = [
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def sixteen(values):
    return np.floor(np.clip(values, 0, 1) * 65535).astype(np.uint16)


def features(made: Scene, blur: float | None = None, name: str = "7") -> dict:
    """The features of one example by the names of TFDS: of MOVi-F with a motion `blur`.

    Else of MOVi-E.
    """
    images, frames = made.images(), len(made.positions)
    near, far = images["depth"].min(), images["depth"].max()
    found = {
        "video": images["video"],
        "segmentations": images["segments"][..., None].astype(np.uint8),
        "depth": sixteen((images["depth"] - near) / (far - near))[..., None],
        "normal": sixteen((images["normals"] + 1) / 2),
        "object_coordinates": sixteen(images["local"] + 0.5),
    }
    found = {key: [png(image) for image in value] for key, value in found.items()}
    found["forward_flow"] = np.arange(2 * frames)
    found |= {
        "metadata/video_name": [name.encode()],
        "metadata/num_instances": np.array([len(made.boxes)]),
    }
    found |= {
        "metadata/depth_range": np.array([near, far]),
        "metadata/num_frames": np.array([frames]),
    }
    found |= {"camera/focal_length": np.array([FOCAL]), "camera/sensor_width": np.array([SENSOR])}
    found |= {"camera/positions": made.positions, "camera/quaternions": made.quaternions}
    found["instances/bboxes_3d"] = np.stack([box.corners() for box in made.boxes])
    found["instances/quaternions"] = np.stack([box.quaternions for box in made.boxes])
    found["instances/positions"] = np.stack([box.centres for box in made.boxes])
    return found | ({} if blur is None else {"metadata/motion_blur": np.array([blur])})


def varint(value) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number, data) -> bytes:
    """A length-delimited field of a protobuf message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def example(named: dict) -> bytes:
    """A serialized tf.train.Example."""
    entries = b""
    for name, value in named.items():
        if isinstance(value, list):
            feature = field(1, b"".join(field(1, item) for item in value))
        elif value.dtype.kind == "f":
            feature = field(2, field(1, value.astype("<f4").tobytes()))
        else:
            feature = field(3, field(1, b"".join(varint(int(number)) for number in value.ravel())))
        entries += field(1, field(1, name.encode()) + field(2, feature))
    return field(1, entries)


@cache
def _table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
        table.append(value)
    return table


def masked(data) -> int:
    """The masked CRC-32C that TFRecord files carry."""
    table, value = _table(), 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 255] ^ value >> 8
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data) -> bytes:
    """One framed record of a TFRecord file."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))
