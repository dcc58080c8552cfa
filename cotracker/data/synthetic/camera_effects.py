"""What cameras and light do to finished frames; nothing here moves a pixel. First drawn as numbers, then applied."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic.motion import log_uniform, wave
from cotracker.data.synthetic.recipe import Recipe


@dataclass(frozen=True)
class Look:
    """The effects on T frames, in the order in which they are applied; None where there is none.

    field: T 3 3 float32, gains of a smooth field of light.  tone: T 256 3 uint8, a table a frame.  focus: (T,) sigma
    of the blur in pixels.  grain: noise int8, a tile larger than the frame, and T 2 offsets (row, column) at which it
    is read.  quality: of JPEG.
    """

    field: np.ndarray | None = None
    tone: np.ndarray | None = None
    focus: np.ndarray | None = None
    grain: tuple[np.ndarray, np.ndarray] | None = None
    quality: int | None = None


def draw_look(recipe: Recipe, rng: Generator) -> Look:
    """A Look for the recipe's frames."""
    times = np.arange(recipe.frames)
    return Look(
        field=_field(rng, times) if rng.random() < recipe.light_field else None,
        tone=_tone(recipe, rng, times),
        focus=_focus(recipe, rng, times) if rng.random() < recipe.defocus else None,
        grain=_grain(recipe, rng, times) if rng.random() < recipe.noise else None,
        quality=int(rng.integers(25, 91)) if rng.random() < recipe.compression else None,
    )


def _field(rng: Generator, times: np.ndarray) -> np.ndarray:
    """A smooth, slowly changing field of light and shade."""
    waves = np.stack([wave(rng, times, 0.5, (16, 90)) for _ in range(9)], axis=1)
    return np.exp(waves).astype(np.float32).reshape(-1, 3, 3)


def _tone(recipe: Recipe, rng: Generator, times: np.ndarray) -> np.ndarray | None:
    """Gain, tint and gamma that drift over time; and, or, the low contrast of fog or dusk."""
    drift, fog = rng.random() < recipe.light_drift, rng.random() < recipe.low_contrast
    if not drift and not fog:
        return None
    levels = np.linspace(0, 1, 256)[None, :, None] * np.ones((len(times), 1, 3))
    if drift:
        gain = np.exp(rng.uniform(-0.25, 0.15) + wave(rng, times, 0.25))
        tint = np.stack(
            [rng.uniform(-0.06, 0.06) + wave(rng, times, 0.06) for _ in range(3)], axis=1
        )
        gamma = np.exp(rng.uniform(-0.25, 0.25) + wave(rng, times, 0.2))
        levels = np.clip(
            (gain[:, None] * (1 + tint))[:, None] * levels ** gamma[:, None, None], 0, 1
        )
    if fog:
        factor, tone = rng.uniform(0.25, 0.7), rng.uniform(0.04, 0.63)
        levels = factor * levels + (1 - factor) * tone
    return (255 * levels).round().astype(np.uint8)


def _focus(recipe: Recipe, rng: Generator, times: np.ndarray) -> np.ndarray:
    """Sigma of up to about 1.5 pixels at width 256; in one clip of three the focus hunts."""
    sigma = np.full(len(times), log_uniform(rng, 0.4, 1.5 * max(1, recipe.width / 256)))
    return sigma * np.exp(wave(rng, times, 0.5)) if rng.random() < 0.33 else sigma


def _grain(recipe: Recipe, rng: Generator, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian noise of 1 to 9 grey levels."""
    sigma = np.float32(log_uniform(rng, 1, 9))
    tile = sigma * rng.standard_normal((recipe.height + 32, recipe.width + 32, 3), dtype=np.float32)
    return np.clip(tile.round(), -127, 127).astype(np.int8), rng.integers(0, 33, (len(times), 2))


def applied(look: Look, frames: np.ndarray) -> np.ndarray:
    """Frames T H W 3 uint8 RGB as the look makes them; written over."""
    height, width = frames.shape[1:3]
    for t, frame in enumerate(frames):
        if look.field is not None:
            light = cv2.resize(look.field[t], (width, height), interpolation=cv2.INTER_CUBIC)
            cv2.multiply(frame, cv2.merge([light] * 3), dst=frame, dtype=cv2.CV_8U)
        if look.tone is not None:
            cv2.LUT(frame, look.tone[t][:, None], dst=frame)
        if look.focus is not None:
            cv2.GaussianBlur(frame, (0, 0), look.focus[t], dst=frame)
        if look.grain is not None:
            tile, offsets = look.grain
            row, column = offsets[t]
            cv2.add(
                frame, tile[row : row + height, column : column + width], dst=frame, dtype=cv2.CV_8U
            )
        if look.quality is not None:
            frame[:] = _through_jpeg(frame, look.quality)
    return frames


def _through_jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    stream = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.cvtColor(cv2.imdecode(stream, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
