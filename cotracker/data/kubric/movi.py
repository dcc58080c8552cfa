"""Examples of MOVi-E and MOVi-F (Greff et al. 2022), as TFDS writes them, to Clips."""

import cv2
import numpy as np
import torch

from cotracker.data.kubric.tfrecord import Features
from cotracker.data.kubric.tracks import Recording, sample_tracks
from cotracker.types import Clip

MAX_16_BIT = 65535  # of what is stored in 16 bits
# Of a random window, as published.
ASPECTS = (0.5, 2.0)
AREAS = (0.3, 1.0)
ATTEMPTS = 20


def decode_example(data: bytes) -> tuple[np.ndarray, Recording]:
    """Frames T H W 3 uint8 RGB and the Recording of one example.

    ValueError names the feature that is wrong.
    """
    features = Features(data)
    video = _read_images(features, "video", np.uint8, 3)
    size = video.shape[:3]
    distance = _read_images(features, "depth", np.uint16, 1, size)[..., 0] / np.float32(MAX_16_BIT)
    nearest, farthest = _read_array(features, "metadata/depth_range", (2,)).astype(np.float32)
    focal = _read_array(features, "camera/focal_length", (1,))[0]
    sensor = _read_array(features, "camera/sensor_width", (1,))[0]
    local = _read_images(features, "object_coordinates", np.uint16, 3, size)
    return video, Recording(
        depth=nearest + distance * (farthest - nearest),
        segments=_read_images(features, "segmentations", np.uint8, 1, size)[..., 0],
        normals=_read_images(features, "normal", np.uint16, 3, size) * np.float32(2 / MAX_16_BIT)
        - 1,
        object_coordinates=local / np.float32(MAX_16_BIT) - 0.5,
        camera_positions=_read_array(features, "camera/positions", (size[0], 3)),
        camera_quaternions=_read_array(features, "camera/quaternions", (size[0], 4)),
        focal=float(focal / sensor),
        boxes=_read_array(features, "instances/bboxes_3d", (-1, size[0], 8, 3)),
        quaternions=_read_array(features, "instances/quaternions", (-1, size[0], 4)),
    )


def make_clip(
    video: np.ndarray,
    recording: Recording,
    rng: np.random.Generator,
    count: int = 2048,
    crop: bool = False,
    size: int | None = None,
) -> Clip:
    """A Clip of `count` tracks by the published algorithm.

    size: height and width to resize to; None keeps the frames' own.
    crop: take a random window of the frames, resized likewise, instead of all.
    ValueError: the parts of the recording do not fit each other.
    """
    height, width = video.shape[1:3]
    to = (size or height, size or width)
    window = sample_window(rng, height, width) if crop else (0, 0, height, width)
    coords, occluded, _ = sample_tracks(recording, rng, count, window=window)
    coords = coords * np.float32([to[1] / width, to[0] / height])
    frames = torch.from_numpy(_resize_window(video, window, to)).permute(0, 3, 1, 2)
    tracks = torch.from_numpy(coords - 0.5).transpose(0, 1)  # raster to pixel
    visible = torch.from_numpy(~occluded).T
    return Clip(frames, tracks, visible, torch.ones_like(visible))


def sample_window(rng: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of a window of random aspect and area; the frame if none fits."""
    for _ in range(ATTEMPTS):
        aspect = rng.uniform(*ASPECTS)
        low, high = np.rint(np.sqrt(np.array(AREAS) * height * width / aspect)).astype(int)
        high = min(high, height, int((width + 0.5) / aspect))
        rows = int(rng.integers(min(low, high), high + 1))
        columns = round(rows * aspect)
        if columns <= width and rows * columns >= AREAS[0] * height * width:
            top = int(rng.integers(height - rows + 1))
            left = int(rng.integers(width - columns + 1))
            return top, left, top + rows, left + columns
    return 0, 0, height, width


def _resize_window(
    video: np.ndarray, window: tuple[int, int, int, int], to: tuple[int, int]
) -> np.ndarray:
    """The window of frames T H W 3, resized to `to` (H', W'), bilinear, outer edges aligned."""
    top, left, bottom, right = window
    cut = video[:, top:bottom, left:right]
    if cut.shape[1:3] == to:
        return cut
    return np.stack([cv2.resize(frame, to[::-1], interpolation=cv2.INTER_LINEAR) for frame in cut])


def _read_array(features: Features, name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = features.read_numbers(name)
    least = int(np.prod([n for n in shape if n > 0]))
    if values.size % least or (-1 not in shape and values.size != least):
        raise ValueError(
            f"the feature {name!r} holds {values.size} numbers, which do not make {shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"the feature {name!r} holds numbers that are not finite")
    return values.reshape(-1, *shape[1:]) if shape[0] < 0 else values.reshape(shape)


def _read_images(
    features: Features, name: str, kind: type, channels: int, size: tuple | None = None
) -> np.ndarray:
    """Images T H W C of `kind` from a sequence of PNGs; `size`: the (T, H, W) they should have."""
    files = features.read_strings(name)
    images = [
        cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED) for file in files if file
    ]
    shapes = {
        None if image is None else (*image.shape[:2], image.dtype, *image.shape[2:])
        for image in images
    }
    if not files or len(images) < len(files) or None in shapes or len(shapes) > 1:
        raise ValueError(f"the feature {name!r} should hold PNGs of one size, one for each frame")
    video = np.stack(images).reshape(len(files), *images[0].shape[:2], -1)
    if video.shape[3] != channels or video.dtype != kind or (size and video.shape[:3] != size):
        raise ValueError(
            f"the feature {name!r} holds {video.shape} {video.dtype}, "
            f"not {size or 'frames'} with {channels} channels of {np.dtype(kind).name}"
        )
    # OpenCV's order of colours is the reverse of the file's.
    return np.ascontiguousarray(video[..., ::-1])
