"""Miniatures of TAP-Vid's files, made as the published generators make them.

Their truth is stated here by hand.
"""

import io
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

FRAMES = 8
# Of five points, the frames that show each: none; all; from 3 on; only 1 and 2; all but 5.
SHOWN = ((), (0, 1, 2, 3, 4, 5, 6, 7), (3, 4, 6, 7), (1, 2), (0, 1, 2, 3, 4, 6, 7))


def record(
    height: int = 48, width: int = 64, frames: int = FRAMES, seed: int = 0, dtype=np.float32
) -> dict:
    """{video T H W 3 uint8, points N T 2 of 0..1, occluded N T}; point n at ((n + 1) / 8.

    (2 t + 1) / 32).
    """
    smooth = np.random.default_rng(seed).integers(0, 256, (frames, 6, 8, 3), np.uint8)
    video = np.stack(
        [np.asarray(Image.fromarray(frame).resize((width, height))) for frame in smooth]
    )
    points = np.zeros((len(SHOWN), frames, 2), dtype)
    points[..., 0] = (np.arange(len(SHOWN))[:, None] + 1) / 8
    points[..., 1] = (2 * np.arange(frames) + 1) / 32
    occluded = np.array([[t not in shown for t in range(frames)] for shown in SHOWN])
    return {"video": video, "points": points, "occluded": occluded}


def kinetics_record(seed: int, frames: int = 6, as_list: bool = False) -> dict:
    """Another record, its frames JPEGs of unequal length.

    As a fixed-width array of bytes or as a list.
    """
    made = record(36, 64, frames, seed, np.float64)
    jpegs = []
    for t, frame in enumerate(made["video"]):
        held = io.BytesIO()
        Image.fromarray(frame).save(held, "JPEG", quality=60 + 6 * t)
        jpegs.append(held.getvalue())
    return made | {"video": jpegs if as_list else np.array(tuple(jpegs))}


def jpeg_frames(made: dict) -> np.ndarray:
    """The decoded frames T H W 3 of a record of JPEGs."""
    return np.stack(
        [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in made["video"]]
    )


def write(path: Path, held, protocol: int = pickle.DEFAULT_PROTOCOL) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(held, protocol=protocol))
    return path


def write_davis(root: Path, protocol: int = pickle.DEFAULT_PROTOCOL) -> dict:
    """What is written to root/tapvid_davis/: two videos, out of the order of their names."""
    held = {"goat": record(seed=1), "camel": record(60, 40, seed=2)}
    write(root / "tapvid_davis" / "tapvid_davis.pkl", held, protocol)
    return held


def write_kinetics(root: Path) -> list[list[dict]]:
    """Two shards of ten: two videos as the generator makes them, and one whose JPEGs are a list."""
    shards = [[kinetics_record(1), kinetics_record(2, 5)], [kinetics_record(3, as_list=True)]]
    for k, shard in enumerate(shards):
        write(root / "tapvid_kinetics" / f"{k:04d}_of_0010.pkl", shard)
    return shards


def write_rgb_stacking(root: Path) -> list[dict]:
    held = [record(256, 256, seed=k) for k in range(2)]
    write(root / "tapvid_rgb_stacking" / "tapvid_rgb_stacking.pkl", held)
    return held


def write_robotap(root: Path) -> dict:
    """Two splits of five, with keys of their own."""
    splits = [{"video_1": record(seed=5), "video_0": record(seed=6)}, {"video_2": record(seed=7)}]
    for k, split in enumerate(splits):
        write(root / "robotap" / f"robotap_split{k}.pkl", split)
    return splits[0] | splits[1]
