"""Clips with faults to be found."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cotracker.data.kubric.layout import write_clip
from cotracker.data.kubric.manifest import manifest_header, update_manifest, write_manifest
from cotracker.data.pickles import load_npy_dict
from cotracker.types import Clip

FRAMES, HEIGHT, WIDTH, POINTS = 8, 96, 128, 80


MADE = manifest_header("test", {}, 3, "0", None)


def scene(seed: int) -> Clip:
    """A texture that shakes behind one that circles: exact tracks and visibility on both."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 6) + np.arange(FRAMES) * 0.8
    back = np.round(
        [40, 40] + np.stack([7 * np.sin(1.7 * angle), 5 * np.cos(1.3 * angle)], -1)
    )  # its place's negative
    front = np.round([45, 28] + np.stack([22 * np.cos(angle), 18 * np.sin(angle)], -1))
    textures = [
        cv2.GaussianBlur(rng.integers(0, 256, (s, s, 3), np.uint8), (0, 0), 1.5) for s in (220, 36)
    ]
    video = np.stack(
        [textures[0][int(y) : int(y) + HEIGHT, int(x) : int(x) + WIDTH] for x, y in back]
    )
    for frame, (x, y) in zip(video, front.astype(int)):
        frame[y : y + 36, x : x + 36] = textures[1]
    video = cv2.convertScaleAbs(video.reshape(-1, WIDTH, 3), alpha=2.5, beta=-190).reshape(
        video.shape
    )
    still = rng.uniform(0, [WIDTH - 1, HEIGHT - 1], (POINTS // 2, 2)) + back[0] - back[:, None]
    tracks = np.concatenate([still, rng.uniform(2, 33, (POINTS // 2, 2)) + front[:, None]], 1)
    visible = ((tracks >= 0) & (tracks <= [WIDTH - 1, HEIGHT - 1])).all(-1)
    from_front = still - front[:, None]
    visible[:, : POINTS // 2] &= ~((from_front > -0.5) & (from_front < 35.5)).all(-1)
    arrays = (np.ascontiguousarray(video.transpose(0, 3, 1, 2)), tracks.astype(np.float32), visible)
    return Clip(*map(torch.from_numpy, arrays), valid=torch.ones(visible.shape, dtype=torch.bool))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    for k in range(3):
        depth, segments = np.zeros((FRAMES, 6, 8), np.float32), np.zeros((FRAMES, 6, 8), np.uint8)
        write_clip(root, f"{k:03d}", scene(k), {"depth": depth, "segments": segments})
    write_manifest(root, MADE | {"clips": []})
    update_manifest(root, MADE)
    return root


@pytest.fixture
def root(drawn, tmp_path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "set"))


def tracks(root: Path) -> tuple[np.ndarray, np.ndarray]:
    held = load_npy_dict(root / "001" / "001.npy")
    return held["coords"].copy(), held["visibility"].copy()
