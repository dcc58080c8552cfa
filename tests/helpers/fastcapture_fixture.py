"""A miniature of FastCapture's folder, two sequences, with its truth stated by hand."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

SIZE = (48, 64)
FRAMES, POINTS = 6, 30
HIDDEN_AT_FIRST = (0, 7, 8, 20, 29)


def tracks(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """traj_2d N 2 T: point n of `name` at (n + t, 2 n + len(name)); visibility N T.

    1.0 where seen.
    """
    number, frame = torch.arange(POINTS, dtype=torch.float32)[:, None], torch.arange(FRAMES)
    places = torch.stack([number + frame, (2 * number + len(name)).expand(-1, FRAMES)], 1)
    seen = torch.ones(POINTS, FRAMES)
    seen[list(HIDDEN_AT_FIRST), 0] = 0
    seen[:, 3] = 0
    return places, seen


def picture(name: str, frame: int) -> np.ndarray:
    return np.full((*SIZE, 3), (40 * frame, 10 * len(name), 200), np.uint8)


def write_fastcapture(root: Path, names: tuple[str, ...] = ("dancer", "boxer")) -> Path:
    for name in names:
        folder = root / "renders_local_rm" / name
        folder.mkdir(parents=True)
        for frame in range(FRAMES):
            Image.fromarray(picture(name, frame)).save(folder / f"{frame:04d}.png")
        places, seen = tracks(name)
        (root / "zju_tracking").mkdir(exist_ok=True)
        torch.save({"traj_2d": places, "visibility": seen}, root / "zju_tracking" / f"{name}.pth")
    return root
