"""The arrays beside the frames and tracks of a clip on disk, as a user would read them."""

from pathlib import Path

import cv2
import numpy as np

from cotracker.data.kubric.layout import tracks_file


def read_by_products(folder: str | Path) -> dict[str, np.ndarray]:
    """The arrays beside a clip, by name, as `write_clip` received them."""
    folder = Path(folder)
    files = sorted(path for path in folder.glob("*.npy") if path != tracks_file(folder))
    arrays = {path.stem: np.load(path) for path in files}
    for path in sorted(p for p in folder.iterdir() if p.is_dir() and p.name != "frames"):
        images = [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in sorted(path.glob("*.png"))]
        arrays[path.name] = np.stack(images)
    return arrays
