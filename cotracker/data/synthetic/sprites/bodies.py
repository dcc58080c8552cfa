"""What objects are before they move: parts cut from a texture, or solids with a skin."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from cotracker.data.synthetic import motion
from cotracker.data.synthetic.recipe import Recipe
from cotracker.data.synthetic.sprites import articulated, shapes
from cotracker.data.synthetic.sprites.gait import Gait, sample_gait
from cotracker.data.synthetic.sprites.warps import SurfaceOfRevolution
from cotracker.data.synthetic.textures import Textures


@dataclass(frozen=True)
class Body:
    """What an object is before it moves.

    parts: from the lowest.
    canvases: of each part, h w 4, and its offset (x, y).
    radius: pixels.
    direction: -1 walks to the left, 1 to the right, 0 has no front.
    revolution: a solid, before it turns; None for all others.
    gait: how its feet step on the ground; None where it has none, or where its legs only swing.
    """

    parts: list[shapes.Part]
    canvases: list[tuple[np.ndarray, np.ndarray]]
    radius: float
    direction: int = 0
    revolution: SurfaceOfRevolution | None = None
    gait: Gait | None = None


def sample_body(recipe: Recipe, textures: Textures, rng: Generator, behind: np.ndarray) -> Body:
    """A random object: a solid, a figure, or one piece.

    Its texture is of `textures`, or cut from `behind` h w 4.
    """
    radius = motion.sample_log_uniform(rng, *recipe.object_size) * min(recipe.height, recipe.width)
    if rng.random() < recipe.revolution:
        return _sample_solid(textures, rng, radius)
    parts, direction = _sample_parts(recipe, rng)
    canvases = cut_parts(recipe, textures, rng, parts, radius, behind)
    if rng.random() < recipe.rounded:
        depth = rng.uniform(0.3, 0.8)
        canvases = [(shade_rim(canvas, depth), offset) for canvas, offset in canvases]
    steps = direction != 0 and recipe.grounded > 0 and rng.random() < recipe.grounded
    return Body(parts, canvases, radius, direction, gait=sample_gait(rng) if steps else None)


def _sample_parts(recipe: Recipe, rng: Generator) -> tuple[list[shapes.Part], int]:
    """The parts of a flat object, and its direction."""
    if rng.random() >= recipe.articulated:
        return [shapes.sample_single_part(rng)], 0
    if rng.random() >= recipe.walking:
        return articulated.sample_machine(rng), 0
    sample = articulated.sample_animal if rng.random() < 0.65 else articulated.sample_person
    parts = sample(rng)
    return (parts, 1) if rng.random() < 0.5 else (articulated.mirror(parts), -1)


def cut_parts(
    recipe: Recipe,
    textures: Textures,
    rng: Generator,
    parts: list[shapes.Part],
    radius: float,
    behind: np.ndarray,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Canvas and offset of each part, all cut from one texture, which continues across parts."""
    masks = [shapes.render_mask(part, radius) for part in parts]
    low = np.min([offset for _, offset in masks], axis=0)
    high = np.max([offset + alpha.shape[::-1] for alpha, offset in masks], axis=0)
    width, height = (high - low).astype(int)
    texture = _sample_texture(recipe, textures, rng, (int(height), int(width)), behind)
    canvases = []
    for alpha, offset in masks:
        left, top = (offset - low).astype(int)
        rows, columns = alpha.shape
        colour = texture[top : top + rows, left : left + columns]
        canvases.append((np.dstack([colour, alpha]), offset))
    return canvases


def _sample_texture(
    recipe: Recipe, textures: Textures, rng: Generator, size: tuple[int, int], behind: np.ndarray
) -> np.ndarray:
    """A texture of `size`, sometimes of what lies behind: camouflage."""
    height, width = size
    if rng.random() >= recipe.camouflage:
        return textures.sample(rng, height, width)
    rows, columns = behind.shape[:2]
    top = rng.integers(0, max(rows - height, 1))
    left = rng.integers(0, max(columns - width, 1))
    return cv2.resize(behind[top : top + height, left : left + width, :3], (width, height))


def _sample_solid(textures: Textures, rng: Generator, radius: float) -> Body:
    """A solid of revolution: its outline stands still, its skin turns."""
    outline, quadric = shapes.sample_spindle(rng)
    part = shapes.Part(outline)
    alpha, offset = shapes.render_mask(part, radius)
    height = alpha.shape[0]
    reach = np.abs(outline[:, 0]).max() * radius
    columns = int(2 * np.pi * reach)
    seam = int(0.5 * reach) + 1
    texture = textures.sample(rng, height, columns + seam)
    fade = np.linspace(0, 1, seam)[None, :, None]
    skin = texture[:, : columns + 1].copy()
    skin[:, :seam] = fade * texture[:, :seam] + (1 - fade) * texture[:, columns:]
    skin[:, -1] = skin[:, 0]
    pixels = tuple((quadric * radius ** np.array([2.0, 1.0, 0.0])).tolist())
    light = (rng.uniform(0.2, 0.9), rng.uniform(-1, 1))
    axis = tuple((-offset).tolist())
    still = np.zeros(1, np.float32)
    revolution = SurfaceOfRevolution(skin, axis, pixels, still, light)
    canvas = np.dstack([np.zeros((*alpha.shape, 3), np.uint8), alpha])
    return Body([part], [(canvas, offset)], radius, revolution=revolution)


def shade_rim(canvas: np.ndarray, depth: float) -> np.ndarray:
    """The canvas h w 4, darker by `depth` towards the rim, as round objects are."""
    inner = cv2.distanceTransform((canvas[..., 3] > 127).astype(np.uint8), cv2.DIST_L2, 3)
    light = 1 - depth * (1 - np.minimum(inner / max(0.7 * inner.max(), 1), 1)) ** 2
    gains = cv2.merge([light.astype(np.float32)] * 3)
    colour = cv2.multiply(np.ascontiguousarray(canvas[..., :3]), gains, dtype=cv2.CV_8U)
    return np.dstack([colour, canvas[..., 3]])
