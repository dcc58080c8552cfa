"""What things are before they move: parts, cut from a texture; or solids with a skin."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic import motion
from cotracker.data.synthetic.recipe import Recipe
from cotracker.data.synthetic.sprites import articulated as figures
from cotracker.data.synthetic.sprites import shapes
from cotracker.data.synthetic.sprites.gait import Gait, draw_gait
from cotracker.data.synthetic.sprites.warps import Lathe
from cotracker.data.synthetic.textures import Textures


@dataclass(frozen=True)
class Body:
    """What a thing is before it moves: parts from the lowest, each with its canvas h w 4 and offset (x, y).

    radius: pixels.  facing: -1 walks to the left, 1 to the right, 0 has no front.  lathe: without its turn, or None.
    gait: how its feet step on the ground; None where it has none, or where its legs only swing.
    """

    parts: list[shapes.Part]
    canvases: list[tuple[np.ndarray, np.ndarray]]
    radius: float
    facing: int = 0
    lathe: Lathe | None = None
    gait: Gait | None = None


def draw_body(recipe: Recipe, textures: Textures, rng: Generator, behind: np.ndarray) -> Body:
    """A random thing, its skin of `textures` or cut from `behind` h w 4: a solid, a figure, or one piece."""
    radius = motion.log_uniform(rng, *recipe.object_size) * min(recipe.height, recipe.width)
    if rng.random() < recipe.lathe:
        return _solid(textures, rng, radius)
    parts, facing = _parts(recipe, rng)
    canvases = cut_out(recipe, textures, rng, parts, radius, behind)
    if rng.random() < recipe.rounded:
        depth = rng.uniform(0.3, 0.8)
        canvases = [(rounded(canvas, depth), offset) for canvas, offset in canvases]
    stepping = facing != 0 and recipe.grounded > 0 and rng.random() < recipe.grounded
    return Body(parts, canvases, radius, facing, gait=draw_gait(rng) if stepping else None)


def _parts(recipe: Recipe, rng: Generator) -> tuple[list[shapes.Part], int]:
    """The parts of a flat thing and which way it faces."""
    if rng.random() >= recipe.articulated:
        return [shapes.single(rng)], 0
    if rng.random() >= recipe.walking:
        return figures.machine(rng), 0
    parts = figures.animal(rng) if rng.random() < 0.65 else figures.person(rng)
    return (parts, 1) if rng.random() < 0.5 else (figures.mirrored(parts), -1)


def cut_out(
    recipe: Recipe,
    textures: Textures,
    rng: Generator,
    parts: list[shapes.Part],
    radius: float,
    behind: np.ndarray,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Canvas and offset of each part, all cut from one texture, so that skins go on from part to part."""
    masks = [shapes.mask(part, radius) for part in parts]
    low = np.min([offset for _, offset in masks], axis=0)
    high = np.max([offset + alpha.shape[::-1] for alpha, offset in masks], axis=0)
    width, height = (high - low).astype(int)
    texture = _texture(recipe, textures, rng, (int(height), int(width)), behind)
    canvases = []
    for alpha, offset in masks:
        (left, top), (rows, columns) = (offset - low).astype(int), alpha.shape
        canvases.append(
            (np.dstack([texture[top : top + rows, left : left + columns], alpha]), offset)
        )
    return canvases


def _texture(
    recipe: Recipe, textures: Textures, rng: Generator, size: tuple[int, int], behind: np.ndarray
) -> np.ndarray:
    """A texture of `size`, now and then of what lies behind."""
    height, width = size
    if rng.random() >= recipe.camouflage:
        return textures.draw(rng, height, width)
    rows, columns = behind.shape[:2]
    top, left = rng.integers(0, max(rows - height, 1)), rng.integers(0, max(columns - width, 1))
    return cv2.resize(behind[top : top + height, left : left + width, :3], (width, height))


def _solid(textures: Textures, rng: Generator, radius: float) -> Body:
    """A solid of revolution: its outline is still, its skin turns."""
    outline, quadric = shapes.spindle(rng)
    part = shapes.Part(outline)
    alpha, offset = shapes.mask(part, radius)
    height, reach = alpha.shape[0], np.abs(outline[:, 0]).max() * radius
    columns, seam = int(2 * np.pi * reach), int(0.5 * reach) + 1
    texture = textures.draw(rng, height, columns + seam)
    fade = np.linspace(0, 1, seam)[None, :, None]
    skin = texture[:, : columns + 1].copy()
    skin[:, :seam] = fade * texture[:, :seam] + (1 - fade) * texture[:, columns:]
    skin[:, -1] = skin[:, 0]
    pixels = tuple((quadric * radius ** np.array([2.0, 1.0, 0.0])).tolist())
    light = (rng.uniform(0.2, 0.9), rng.uniform(-1, 1))
    lathe = Lathe(skin, tuple((-offset).tolist()), pixels, np.zeros(1, np.float32), light)
    canvas = np.dstack([np.zeros((*alpha.shape, 3), np.uint8), alpha])
    return Body([part], [(canvas, offset)], radius, lathe=lathe)


def rounded(canvas: np.ndarray, depth: float) -> np.ndarray:
    """The canvas h w 4 darker by `depth` towards the rim, as round things are."""
    inner = cv2.distanceTransform((canvas[..., 3] > 127).astype(np.uint8), cv2.DIST_L2, 3)
    light = 1 - depth * (1 - np.minimum(inner / max(0.7 * inner.max(), 1), 1)) ** 2
    colour = cv2.multiply(
        np.ascontiguousarray(canvas[..., :3]),
        cv2.merge([light.astype(np.float32)] * 3),
        dtype=cv2.CV_8U,
    )
    return np.dstack([colour, canvas[..., 3]])
