"""What cameras and light do to finished frames; nothing here moves a pixel."""

import cv2
import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic.motion import log_uniform, wave


def light_drift(rng: Generator, frames: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Frames T H W 3 uint8 with gain, tint and gamma that drift over time."""
    times = np.arange(len(frames))
    gain = np.exp(rng.uniform(-0.25, 0.15) + strength * wave(rng, times, 0.25))
    tint = np.stack([rng.uniform(-0.06, 0.06) + strength * wave(rng, times, 0.06) for _ in range(3)], axis=1)
    gamma = np.exp(rng.uniform(-0.25, 0.25) + strength * wave(rng, times, 0.2))
    levels = np.linspace(0, 1, 256)
    for frame, g, t, power in zip(frames, gain, tint, gamma):
        table = np.clip(255 * g * (1 + t) * levels[:, None] ** power, 0, 255).astype(np.uint8)
        cv2.LUT(frame, table[:, None], dst=frame)
    return frames


def light_field(rng: Generator, frames: np.ndarray) -> np.ndarray:
    """Frames T H W 3 uint8 under a smooth, slowly changing field of light and shade."""
    times, (height, width) = np.arange(len(frames)), frames.shape[1:3]
    field = np.stack([wave(rng, times, 0.5, (16, 90)) for _ in range(9)], axis=1).reshape(-1, 3, 3)
    for number, grid in enumerate(np.exp(field).astype(np.float32)):
        light = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        frames[number] = cv2.multiply(frames[number], cv2.merge([light] * 3), dtype=cv2.CV_8U)
    return frames


def low_contrast(rng: Generator, frames: np.ndarray) -> np.ndarray:
    """Frames T H W 3 uint8 of low contrast, as in fog or dusk."""
    factor, tone = rng.uniform(0.25, 0.7), rng.uniform(10, 160)
    return np.stack([cv2.convertScaleAbs(frame, alpha=factor, beta=tone * (1 - factor)) for frame in frames])


def defocus(rng: Generator, frames: np.ndarray) -> np.ndarray:
    """Frames T H W 3 uint8, blurred by up to about 1.5 pixels; in one clip of three the focus hunts."""
    sigma = np.full(len(frames), log_uniform(rng, 0.4, 1.5))
    if rng.random() < 0.33:
        sigma *= np.exp(wave(rng, np.arange(len(frames)), 0.5))
    return np.stack([cv2.GaussianBlur(frame, (0, 0), s) for frame, s in zip(frames, sigma)])


def noise(rng: Generator, frames: np.ndarray) -> np.ndarray:
    """Frames T H W 3 uint8 with Gaussian noise of 1 to 9 grey levels; one tile of it is drawn and read at offsets."""
    height, width = frames.shape[1:3]
    sigma = log_uniform(rng, 1, 9)
    tile = (sigma * rng.standard_normal((height + 32, width + 32, 3), dtype=np.float32)).round().astype(np.int16)
    for frame, (row, column) in zip(frames, rng.integers(0, 33, (len(frames), 2))):
        cv2.add(frame, tile[row : row + height, column : column + width], dst=frame, dtype=cv2.CV_8U)
    return frames


def compression(rng: Generator, frames: np.ndarray) -> np.ndarray:
    """Frames T H W 3 uint8 after JPEG of a quality from 25 to 90."""
    setting = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 91))]
    return np.stack([cv2.imdecode(cv2.imencode(".jpg", frame, setting)[1], cv2.IMREAD_COLOR) for frame in frames])
