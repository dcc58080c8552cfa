"""Textures: crops of photographs in a folder, and random patterns."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

LONGEST_SIDE = 1024
TRIES = 3  # crops sampled until one is not plain
PLAIN = 10.0  # largest standard deviation, in grey levels, of a plain crop
SUFFIXES = (".jpg", ".jpeg", ".png")


class Textures:
    """Random textures, uint8 H W 3 RGB: photographs, or patterns where there are none.

    folders: a path or several, searched through, or None.
    procedural: the share of patterns when there are photographs.
    ValueError: a folder is missing or holds no jpg or png.
    """

    def __init__(self, folders: str | list[str] | None = None, procedural: float = 0.3):
        folders = [folders] if isinstance(folders, str | Path) else list(folders or [])
        self.files = tuple(file for folder in folders for file in _find_photographs(folder))
        self.procedural = procedural if self.files else 1.0

    def sample(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """One texture, uint8 height width 3 RGB."""
        if rng.random() < self.procedural:
            return sample_pattern(rng, height, width)
        for _ in range(TRIES):
            crop = sample_photograph_crop(
                rng, self.files[rng.integers(len(self.files))], height, width
            )
            if crop[::4, ::4].std(axis=(0, 1)).max() > PLAIN:
                break
        return crop


def _find_photographs(folder: str | Path) -> list[str]:
    if not Path(folder).is_dir():
        raise ValueError(
            f"the folder of textures {folder} does not exist: "
            "give a folder of jpg or png photographs"
        )
    files = sorted(str(file) for file in Path(folder).rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"the folder of textures {folder} holds no jpg or png photograph")
    return files


@lru_cache(maxsize=512)
def load_photograph(file: str) -> tuple[np.ndarray, ...]:
    """The photograph in `file` as uint8 H W 3 RGB, and halved twice; kept in memory.

    It has at most 1024 pixels a side.
    """
    image = cv2.imread(file, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"the photograph {file} cannot be read: remove it or replace it")
    scale = LONGEST_SIDE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    levels = [cv2.cvtColor(image, cv2.COLOR_BGR2RGB)]
    for _ in range(2):
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    for level in levels:
        level.setflags(write=False)
    return tuple(levels)


def sample_photograph_crop(
    rng: np.random.Generator, file: str, height: int, width: int
) -> np.ndarray:
    """A crop of a photograph at a random place, scale, rotation, flip and colour.

    It is uint8 height width 3 RGB.
    """
    level = load_photograph(file)[rng.choice(3, p=(0.5, 0.3, 0.2))]
    rows, columns = level.shape[:2]
    zoom = np.exp(rng.uniform(np.log(0.8), np.log(2.0)))
    zoom = max(zoom, 0.7 * max(height / rows, width / columns))
    angle = rng.normal(0, 0.2) if rng.random() < 0.6 else rng.uniform(-np.pi, np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    rotation[:, 0] *= rng.choice((-1, 1))
    half = np.array([width - 1, height - 1]) / 2
    reach = np.abs(rotation) @ half
    room = np.maximum(np.array([columns - 1, rows - 1]) / 2 - reach, 0)
    middle = np.array([columns - 1, rows - 1]) / 2 + rng.uniform(-room, room)
    matrix = np.column_stack([rotation, middle - rotation @ half])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(
        level, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    return jitter_colours(rng, crop)


def jitter_colours(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The image uint8 H W 3 with random saturation, gains and brightness.

    One time in ten its channels are swapped.
    """
    saturation = rng.uniform(0.4, 1.4)
    matrix = saturation * np.eye(3) + (1 - saturation) / 3
    matrix *= rng.uniform(0.7, 1.3) * rng.uniform(0.88, 1.12, (3, 1))
    if rng.random() < 0.1:
        matrix = matrix[rng.permutation(3)]
    return cv2.transform(image, np.column_stack([matrix, rng.uniform(-20, 20, 3)]))


def sample_pattern(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A pattern, uint8 height width 3 RGB: noise, dead leaves, stripes or checks, tiles, text."""
    sample = (sample_fractal_noise, sample_dead_leaves, sample_stripes, sample_tiles, sample_text)[
        rng.choice(5, p=(0.33, 0.33, 0.16, 0.1, 0.08))
    ]
    return sample(rng, height, width)


def _sample_palette(rng: np.random.Generator) -> np.ndarray:
    """256 colours (256, 3) uint8 running smoothly through a few random ones near a common tone."""
    count = rng.integers(3, 8)
    tone, spread = rng.uniform(30, 220, 3), rng.uniform(0.35, 1.0)
    colours = tone + spread * (rng.uniform(0, 255, (count, 3)) - tone)
    stops = np.sort(rng.uniform(0, 255, count))
    steps = np.arange(256)
    return np.column_stack([np.interp(steps, stops, colours[:, c]) for c in range(3)]).astype(
        np.uint8
    )


def _sample_noise(
    rng: np.random.Generator, height: int, width: int, cell: float, roughness: float
) -> np.ndarray:
    """Fractal noise H W in 0..1: octaves from `cell` pixels down to 2.

    roughness: the weight of each, as a share of that of the octave before.
    """
    total, weight = np.zeros((height, width), np.float32), 1.0
    while cell >= 1.5:
        grid = rng.standard_normal(
            (int(height / cell) + 3, int(width / cell) + 3), dtype=np.float32
        )
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        cell, weight = cell / 2, weight * roughness
    return cv2.normalize(total, None, 0.0, 1.0, cv2.NORM_MINMAX)


def sample_fractal_noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Clouds, marble or gravel, uint8 height width 3: fractal noise through a palette."""
    value = _sample_noise(
        rng, height, width, np.exp(rng.uniform(np.log(8), np.log(96))), rng.uniform(0.45, 0.9)
    )
    bands = rng.choice((1, 1, 2, 4))
    return _sample_palette(rng)[
        (value * 255 * bands).astype(np.int32) % 256
        if bands > 1
        else (value * 255).astype(np.uint8)
    ]


def sample_dead_leaves(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Discs and polygons of all sizes on top of each other, uint8 height width 3, mottled."""
    palette, area = _sample_palette(rng), height * width
    image = np.empty((height, width, 3), np.uint8)
    image[:] = palette[rng.integers(256)]
    smallest, largest = rng.uniform(1.5, 4), rng.uniform(0.08, 0.3) * max(height, width)
    count = int(np.clip(rng.uniform(0.004, 0.012) * area, 60, 700))
    radii = smallest * (largest / smallest) ** (rng.random(count) ** rng.uniform(1.5, 3))
    centres = rng.uniform(0, 1, (count, 2)) * (width, height)
    colours = palette[rng.integers(256, size=count)]
    corners = rng.integers(3, 7)
    for radius, centre, colour in zip(-np.sort(-radii), centres, colours.tolist()):
        if radius < smallest * 2 or rng.random() < 0.5:
            cv2.circle(
                image, centre.astype(int).tolist(), max(int(radius), 1), colour, -1, cv2.LINE_AA
            )
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
            ring = centre + radius * np.column_stack([np.cos(angles), np.sin(angles)])
            cv2.fillPoly(image, [ring.astype(np.int32)], colour, cv2.LINE_AA)
    return _mottle(rng, image)


def sample_stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Stripes or checks, uint8 height width 3: one or two bent waves through a palette."""
    bend = _sample_noise(rng, height, width, 64.0, 0.4) * rng.uniform(0, 4)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    value = np.ones((height, width), np.float32)
    for _ in range(rng.integers(1, 3)):
        angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(6), np.log(48)))
        value *= np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period) + bend)
    value = np.clip(value * rng.choice((1.0, 8.0)), -1, 1)
    return _mottle(rng, _sample_palette(rng)[(127.5 + 127.5 * value).astype(np.uint8)])


def sample_tiles(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A small pattern repeated, uint8 height width 3, mottled so that copies differ a little."""
    side = int(rng.integers(10, 48))
    tile = (sample_fractal_noise if rng.random() < 0.5 else sample_dead_leaves)(rng, side, side)
    image = np.tile(tile, (height // side + 1, width // side + 1, 1))[:height, :width]
    return _mottle(rng, image)


def sample_text(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Lines of meaningless words, as on posters and pages, uint8 height width 3."""
    paper, ink = rng.uniform(0, 255, (2, 3)) * 0.5 + rng.permutation([0, 127])[:, None]
    image = np.empty((height, width, 3), np.uint8)
    image[:] = paper
    font, size = int(rng.integers(8)), float(np.exp(rng.uniform(np.log(0.3), np.log(1.6))))
    bold, step = int(rng.integers(1, 3)), int(30 * size * rng.uniform(1.1, 1.8)) + 2
    letters = np.array(list("aaabcdeeeefghiiijklmnnoooprrssstttuuvwyz"))
    for y in range(int(rng.integers(2, step + 1)), height + step, step):
        words = [
            "".join(rng.choice(letters, rng.integers(2, 9)))
            for _ in range(2 + int(width / (70 * size)))
        ]
        line = " ".join(word.title() if rng.random() < 0.2 else word for word in words)
        start = (int(rng.integers(-40, 10)), y)
        cv2.putText(image, line, start, font, size, ink.tolist(), bold, cv2.LINE_AA)
    return _mottle(rng, image)


def _mottle(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    gain = 1 + rng.uniform(0.1, 0.5) * (_sample_noise(rng, height, width, 32.0, 0.7) - 0.5)
    return np.clip(image * gain[..., None], 0, 255).astype(np.uint8)
