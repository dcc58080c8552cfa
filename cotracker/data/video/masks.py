"""Masks from picture files: labels of objects, not colours."""

from pathlib import Path

import numpy as np
from PIL import Image

from cotracker.data.video.images import open_picture

_JPEG_INSIDE = 128  # jpeg blurs: 0 is not quite 0 there


def read_mask(path: str | Path) -> np.ndarray:
    """Labels H W int64 of a mask picture, upright: 0 is outside, any other label an object.

    Grey pictures (16 bits too), and palettes that begin with black, hold labels themselves. Of
    other colours, each is a label, 65536 red + 256 green + blue. Transparent pixels are outside.
    ValueError naming the file: it is no picture.
    """
    path = Path(path)
    image = open_picture(path)
    outside = _transparent(image)
    if image.mode == "P" and image.getpalette()[:3] == [0, 0, 0]:  # else its order means nothing
        labels = np.array(image)
    elif image.mode == "1" or image.mode[0] in "IF":
        labels = np.array(image)
    else:
        labels = _join_colours(np.array(image.convert("RGB")))
    labels = labels.astype(np.int64)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        labels = (labels >= _JPEG_INSIDE).astype(np.int64)
    labels[outside] = 0
    return labels


def fit_mask(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The labels at another size (H, W), each pixel that of the nearest."""
    if labels.shape == tuple(size):
        return labels
    rows, columns = (
        np.minimum(((np.arange(to) + 0.5) * length / to).astype(int), length - 1)
        for length, to in zip(labels.shape, size)
    )
    return labels[rows[:, None], columns]


def _transparent(image: Image.Image) -> np.ndarray:
    """H W bool: more transparent than not."""
    if not image.has_transparency_data:
        return np.zeros(image.size[::-1], bool)
    return np.array(image.convert("RGBA").getchannel("A")) < 128


def _join_colours(picture: np.ndarray) -> np.ndarray:
    """One label a colour of H W 3; of grey, its value."""
    red, green, blue = picture.astype(np.int64).transpose(2, 0, 1)
    is_grey = ((red == green) & (green == blue)).all()
    return red if is_grey else (red << 16) + (green << 8) + blue
