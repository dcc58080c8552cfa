"""Pictures: decoded from files or bytes, and a folder or list of them as a lazy video."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
_ORIENTATION = 0x0112  # the EXIF tag; 5 and more are quarter turns
_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class PictureSequence:
    """A lazy video without its B: `shape` (T, 3, H, W), and a slice of frames as uint8 n 3 H W.

    ValueError, one sentence naming the file: a picture is missing, damaged or of another size than
    the first.
    """

    def __init__(self, paths: list[Path]):
        self._paths = paths
        self._size = read_picture(paths[0]).shape[:2]
        self.shape = (len(paths), 3, *self._size)

    def __getitem__(self, frames: slice) -> Tensor:
        pictures = [self._read(path) for path in self._paths[frames]]
        stacked = np.stack(pictures) if pictures else np.zeros((0, *self._size, 3), np.uint8)
        return torch.from_numpy(stacked).permute(0, 3, 1, 2)

    def check(self) -> None:
        """Decodes every picture, so that a fault shows before anyone begins."""
        for path in self._paths:
            self._read(path)

    def _read(self, path: Path) -> np.ndarray:
        picture = read_picture(path)
        if picture.shape[:2] != self._size:
            height, width = picture.shape[:2]
            first = f"{self._size[1]}x{self._size[0]}"
            raise ValueError(f"{path} is {width}x{height}, but its first frame is {first}")
        return picture


def is_picture(path: Path) -> bool:
    """Whether the file's name is a picture's; hidden files are none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_picture(path: str | Path) -> np.ndarray:
    """A picture file as H W 3 uint8 RGB, upright; ValueError naming the file if it is none."""
    upright = ImageOps.exif_transpose(open_picture(path))
    if upright.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scale
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    return np.array(upright.convert("RGB"))


def open_picture(path: str | Path) -> Image.Image:
    """The decoded picture in its own mode; ValueError naming the file if it is none."""
    try:
        return decode_image(Path(path).read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: give a picture file") from None
    except _ERRORS as error:
        raise _unreadable(path) from error


def decode_image(data: bytes) -> Image.Image:
    """The picture in some bytes.

    OSError, SyntaxError, ValueError or DecompressionBombError: they are none.
    """
    image = Image.open(BytesIO(data))
    image.load()
    return image


def picture_size(path: Path) -> tuple[int, int]:
    """(H, W) from the header alone, turned as `read_picture` turns it."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(_ORIENTATION, 1) >= 5
    except _ERRORS as error:
        raise _unreadable(path) from error
    return (width, height) if turned else (height, width)


def _unreadable(path: str | Path) -> ValueError:
    return ValueError(f"{path} cannot be read as a picture: replace it or remove it")
