"""What cameras and light do to finished frames; nothing here moves a pixel.

An effect is first sampled as numbers, then applied.
"""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic.motion import sample_log_uniform, sample_wave


class EffectsRecipe(Protocol):
    """What a generator must have: the sizes of a clip, and the probability of each effect."""

    frames: int
    height: int
    width: int
    light_field: float
    light_drift: float
    low_contrast: float
    defocus: float
    noise: float
    compression: float


@dataclass(frozen=True)
class CameraEffects:
    """The effects on T frames, in the order in which they are applied; None where there is none.

    light_field: T 3 3 float32, gains of a smooth field of light.
    tone_curve: T 256 3 uint8, a table a frame.
    blur_sigma: (T,) sigma of the blur in pixels.
    noise: int8, a tile larger than the frame, and T 2 offsets (row, column) at which it is read.
    jpeg_quality: 1 to 100.
    """

    light_field: np.ndarray | None = None
    tone_curve: np.ndarray | None = None
    blur_sigma: np.ndarray | None = None
    noise: tuple[np.ndarray, np.ndarray] | None = None
    jpeg_quality: int | None = None


def sample_camera_effects(recipe: EffectsRecipe, rng: Generator) -> CameraEffects:
    """CameraEffects for the recipe's frames."""
    times = np.arange(recipe.frames)
    return CameraEffects(
        light_field=_sample_light_field(rng, times) if rng.random() < recipe.light_field else None,
        tone_curve=_sample_tone_curve(recipe, rng, times),
        blur_sigma=_sample_blur(recipe, rng, times) if rng.random() < recipe.defocus else None,
        noise=_sample_noise(recipe, rng, times) if rng.random() < recipe.noise else None,
        jpeg_quality=int(rng.integers(25, 91)) if rng.random() < recipe.compression else None,
    )


def _sample_light_field(rng: Generator, times: np.ndarray) -> np.ndarray:
    """A smooth, slowly changing field of light and shade."""
    waves = np.stack([sample_wave(rng, times, 0.5, (16, 90)) for _ in range(9)], axis=1)
    return np.exp(waves).astype(np.float32).reshape(-1, 3, 3)


def _sample_tone_curve(
    recipe: EffectsRecipe, rng: Generator, times: np.ndarray
) -> np.ndarray | None:
    """Gain, tint and gamma that drift over time, or the low contrast of fog or dusk, or both."""
    drifts = rng.random() < recipe.light_drift
    foggy = rng.random() < recipe.low_contrast
    if not drifts and not foggy:
        return None
    levels = np.linspace(0, 1, 256)[None, :, None] * np.ones((len(times), 1, 3))
    if drifts:
        gain = np.exp(rng.uniform(-0.25, 0.15) + sample_wave(rng, times, 0.25))
        tints = [rng.uniform(-0.06, 0.06) + sample_wave(rng, times, 0.06) for _ in range(3)]
        gamma = np.exp(rng.uniform(-0.25, 0.25) + sample_wave(rng, times, 0.2))
        gains = (gain[:, None] * (1 + np.stack(tints, axis=1)))[:, None]
        levels = np.clip(gains * levels ** gamma[:, None, None], 0, 1)
    if foggy:
        factor = rng.uniform(0.25, 0.7)
        levels = factor * levels + (1 - factor) * rng.uniform(0.04, 0.63)
    return (255 * levels).round().astype(np.uint8)


def _sample_blur(recipe: EffectsRecipe, rng: Generator, times: np.ndarray) -> np.ndarray:
    """Sigma of up to about 1.5 pixels at width 256; in one clip of three the focus hunts."""
    sigma = np.full(len(times), sample_log_uniform(rng, 0.4, 1.5 * max(1, recipe.width / 256)))
    return sigma * np.exp(sample_wave(rng, times, 0.5)) if rng.random() < 0.33 else sigma


def _sample_noise(
    recipe: EffectsRecipe, rng: Generator, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian noise of 1 to 9 grey levels."""
    sigma = np.float32(sample_log_uniform(rng, 1, 9))
    size = (recipe.height + 32, recipe.width + 32, 3)
    tile = sigma * rng.standard_normal(size, dtype=np.float32)
    offsets = rng.integers(0, 33, (len(times), 2))
    return np.clip(tile.round(), -127, 127).astype(np.int8), offsets


def apply_camera_effects(effects: CameraEffects, frames: np.ndarray) -> np.ndarray:
    """Frames T H W 3 uint8 RGB after the effects, which overwrite them."""
    height, width = frames.shape[1:3]
    for t, frame in enumerate(frames):
        if effects.light_field is not None:
            field = effects.light_field[t]
            light = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
            cv2.multiply(frame, cv2.merge([light] * 3), dst=frame, dtype=cv2.CV_8U)
        if effects.tone_curve is not None:
            cv2.LUT(frame, effects.tone_curve[t][:, None], dst=frame)
        if effects.blur_sigma is not None:
            cv2.GaussianBlur(frame, (0, 0), effects.blur_sigma[t], dst=frame)
        if effects.noise is not None:
            tile, offsets = effects.noise
            row, column = offsets[t]
            noise = tile[row : row + height, column : column + width]
            cv2.add(frame, noise, dst=frame, dtype=cv2.CV_8U)
        if effects.jpeg_quality is not None:
            frame[:] = _compress_jpeg(frame, effects.jpeg_quality)
    return frames


def _compress_jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    stream = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.cvtColor(cv2.imdecode(stream, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
