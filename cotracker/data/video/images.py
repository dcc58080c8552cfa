"""Pictures of benchmarks: a lazy video of picture files, and pictures from bytes, with what is wrong said by file."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


class Frames:
    """A lazy video without its B: `shape` (T, 3, H, W), and a slice of frames as uint8 RGB n 3 H W.

    ValueError, one sentence naming the file, for a picture that is missing, damaged or of another size than the first.
    """

    def __init__(self, paths: list[Path]):
        self._paths = paths
        self._size = read_rgb(paths[0]).shape[:2]
        self.shape = (len(paths), 3, *self._size)

    def __getitem__(self, frames: slice) -> Tensor:
        images = [self._read(path) for path in self._paths[frames]]
        stacked = np.stack(images) if images else np.zeros((0, *self._size, 3), np.uint8)
        return torch.from_numpy(stacked).permute(0, 3, 1, 2)

    def verified(self) -> "Frames":
        """This video, once every picture has been decoded, so that what is wrong shows before anyone begins."""
        for path in self._paths:
            self._read(path)
        return self

    def _read(self, path: Path) -> np.ndarray:
        image = read_rgb(path)
        if image.shape[:2] != self._size:
            raise ValueError(
                f"{path} is {_wxh(image.shape)}, but its first frame is {_wxh(self._size)}"
            )
        return image


def read_rgb(path: Path) -> np.ndarray:
    """A picture file as RGB uint8 H W 3."""
    return np.asarray(open_picture(path).convert("RGB"))


def open_picture(path: Path) -> Image.Image:
    """The decoded picture in its own mode; ValueError naming the file when it is none."""
    try:
        return decoded(path.read_bytes())
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read the image {path}: it is missing or damaged") from error


def decoded(data: bytes) -> Image.Image:
    """The picture in some bytes; OSError, SyntaxError, ValueError or DecompressionBombError where there is none."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


def _wxh(shape: tuple) -> str:
    return f"{shape[1]}x{shape[0]}"
