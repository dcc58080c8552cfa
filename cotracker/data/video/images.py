"""Pictures: decoded from files or bytes, deep ones scaled, and a list of them as a lazy video."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cotracker.files import refuse_special

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_ORIENTATION = 0x0112  # the EXIF tag; 5 and more are quarter turns
PICTURE_ERRORS = (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError)
_PNG_DEPTH = 24  # the byte that says how many bits a channel has
_TIFF_BITS = 258  # the tag that says the same


@dataclass(frozen=True)
class Header:
    """What a picture file says of itself: (H, W) upright, pages, and more than 8 bits or not."""

    size: tuple[int, int]
    pages: int
    is_deep: bool


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
    upright = open_picture(path)
    if upright.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scale
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    return np.array(upright.convert("RGB"))


def read_page(path: Path, page: int = 0) -> np.ndarray:
    """A page of a picture file, upright: H W 3 uint8 RGB, or deeper numbers H W or H W 3.

    Transparent pixels are black, whatever colour is stored under them.
    ValueError naming the file if it cannot be read.
    """
    try:
        with Image.open(path) as image:
            image.seek(page)
            if not _is_deep(path, image):
                return to_rgb(image)
            if image.mode[0] in "IF":
                return np.asarray(ImageOps.exif_transpose(image))
    except Image.UnidentifiedImageError:
        pass  # 16-bit colours in a tiff, which Pillow does not read
    except (*PICTURE_ERRORS, EOFError) as error:
        raise unreadable(path) from error
    return _read_deep(path, page)


def to_rgb(image: Image.Image) -> np.ndarray:
    """H W 3 uint8 RGB of a picture of 8 bits, upright; black where it is transparent."""
    upright = ImageOps.exif_transpose(image)
    if not upright.has_transparency_data:
        return np.array(upright.convert("RGB"))
    below = Image.new("RGBA", upright.size, (0, 0, 0, 255))
    return np.array(Image.alpha_composite(below, upright.convert("RGBA")).convert("RGB"))


def read_header(path: Path) -> Header:
    """The Header of a picture file; ValueError naming the file if it is none."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION, 1) >= 5
            size = (width, height) if turned else (height, width)
            return Header(size, getattr(image, "n_frames", 1), _is_deep(path, image))
    except Image.UnidentifiedImageError as error:
        if path.suffix.lower() not in (".tif", ".tiff"):
            raise unreadable(path) from error
    except PICTURE_ERRORS as error:
        raise unreadable(path) from error
    pages = cv2.imcount(str(path), cv2.IMREAD_UNCHANGED)
    return Header(_read_deep(path, 0).shape[:2], pages, True)


def _is_deep(path: Path, image: Image.Image) -> bool:
    if image.format == "PNG":
        with open(path, "rb") as file:
            return file.read(_PNG_DEPTH + 1)[-1] == 16
    if image.format == "TIFF":
        bits = image.tag_v2.get(_TIFF_BITS, 1)
        return max(bits if isinstance(bits, tuple) else (bits,)) > 8
    return image.mode[0] in "IF"


def _read_deep(path: Path, page: int) -> np.ndarray:
    """A page of deep colours H W or H W 3, by OpenCV."""
    is_read, pages = cv2.imreadmulti(str(path), start=page, count=1, flags=cv2.IMREAD_UNCHANGED)
    if not is_read or not len(pages):
        raise unreadable(path)
    picture = pages[0]
    if picture.ndim == 3:
        picture = picture[..., 2::-1] if picture.shape[2] >= 3 else picture[..., 0]
    return picture


def open_picture(path: str | Path) -> Image.Image:
    """The decoded picture, upright, in its own mode; ValueError naming the file if it is none."""
    refuse_special(path)
    try:
        return ImageOps.exif_transpose(decode_image(Path(path).read_bytes()))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: give a picture file") from None
    except PICTURE_ERRORS as error:
        raise unreadable(path) from error


def decode_image(data: bytes) -> Image.Image:
    """The picture in some bytes.

    OSError, SyntaxError, ValueError or DecompressionBombError: they are none.
    """
    image = Image.open(BytesIO(data))
    image.load()
    return image


def unreadable(path: str | Path) -> ValueError:
    return ValueError(f"{path} cannot be read as a picture: replace it or remove it")
