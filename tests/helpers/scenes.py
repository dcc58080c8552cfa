"""Settings of layered scenes, and how far tracks are from dots painted at them."""

from dataclasses import replace

import cv2
import numpy as np

from cotracker.data.synthetic.sprites import Sprites
from cotracker.data.synthetic.sprites.layers import is_hidden
from cotracker.data.synthetic.sprites.render_opencv import render_layers

SIZE = (128, 160)


EFFECTS = ("light_drift", "light_field", "low_contrast", "defocus", "noise", "compression")


PLAIN = dict.fromkeys((*EFFECTS, "shading", "shadows", "motion_blur", "shallow_focus"), 0.0)


MOTIONS = (
    "shaking_camera",
    "followed",
    "articulated",
    "revolution",
    "bending",
    "tilting",
    "turning",
    "returning",
)


NEARLY_STILL = {
    **dict.fromkeys((*MOTIONS, "foreground"), 0.0),
    "still_camera": 1.0,
    "liveliness": (1e-3, 1e-3),
    "speed": (1e-4, 1e-4),
    "camera_speed": (1e-4, 1e-4),
    "objects": (3, 4),
    "object_size": (0.2, 0.4),
}


ALONE = {
    "pan": {"still_camera": 0.0, "camera_speed": (0.02, 0.03)},
    "zoom and roll": {"still_camera": 0.0, "liveliness": (1.0, 1.0)},
    "shake": {"shaking_camera": 1.0, "shake": (0.02, 0.02)},
    "path": {"speed": (0.01, 0.03)},
    "return": {"returning": 1.0, "speed": (0.01, 0.05)},
    "turn": {"turning": 1.0, "liveliness": (1.0, 1.0)},
    "tilt": {"tilting": 1.0, "liveliness": (1.0, 1.0)},
    "bend": {"bending": 1.0, "liveliness": (1.0, 1.0)},
    "limbs": {"articulated": 1.0, "walking": 0.7, "speed": (0.01, 0.02)},
    "steps": {"articulated": 1.0, "walking": 1.0, "grounded": 1.0, "speed": (0.01, 0.02)},
    "revolution": {"revolution": 1.0, "speed": (0.01, 0.03)},
    "foreground": {"foreground": 1.0, "still_camera": 0.0, "camera_speed": (0.01, 0.01)},
}


TOGETHER = {
    "bending": 1.0,
    "tilting": 1.0,
    "articulated": 0.5,
    "revolution": 0.3,
    "returning": 0.3,
    "foreground": 1.0,
}


AROUND = np.array([(x, y) for x in range(-3, 4) for y in range(-3, 4)])


def moving(seed: int, **settings) -> tuple:
    """Layers, the frame of each shot and the middle shots of a scene without effects."""
    source = Sprites(12, *SIZE, **{**PLAIN, **settings})
    return source.sample_layers(np.random.default_rng(seed))


def dotted(shape: tuple, uv) -> np.ndarray:
    """A black picture h w 3 with one Gaussian dot at `uv`."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    dot = 255 * np.exp(-((x - uv[0]) ** 2 + (y - uv[1]) ** 2) / (2 * 2.5**2))
    return np.repeat(dot[..., None].round(), 3, axis=2).astype(np.uint8)


def lit_alone(layers, chosen: int, uv):
    """The layers, black but for a dot on the canvas, or skin, of layer `chosen` at `uv`."""
    black = []
    for number, layer in enumerate(layers):
        canvas, revolution = layer.canvas.copy(), layer.revolution
        canvas[..., :3] = dotted(canvas.shape, uv) if number == chosen and revolution is None else 0
        if revolution is not None:
            skin = np.zeros_like(revolution.skin)
            for lap in (
                (-1, 0, 1) if number == chosen else ()
            ):  # a dot near the seam goes on at the other end
                skin = np.maximum(skin, dotted(skin.shape, uv + (lap * (skin.shape[1] - 1), 0)))
            revolution = replace(revolution, skin=skin, light=(1.0, 0.0))
        black.append(replace(layer, canvas=canvas, revolution=revolution))
    return black


def brightest(frame: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The peak of the dot (x, y): of a paraboloid fitted to the logarithm around `near`."""
    x0, y0 = np.round(near).astype(int)
    rows, columns = np.mgrid[y0 - 2 : y0 + 3, x0 - 2 : x0 + 3]
    value = np.maximum(frame[rows, columns, 0].astype(float), 1).ravel()
    x, y = columns.ravel() - x0, rows.ravel() - y0
    terms = np.column_stack([np.ones(25), x, y, x * x, x * y, y * y])
    weight = value[:, None] ** 2  # near the peak a bent dot is still a paraboloid
    _, bx, by, axx, axy, ayy = np.linalg.lstsq(
        weight * terms, weight[:, 0] * np.log(value), rcond=None
    )[0]
    return np.linalg.solve([[2 * axx, axy], [axy, 2 * ayy]], [-bx, -by]) + (x0, y0)


def deep_within(rng: np.random.Generator, layer, k: int) -> np.ndarray:
    """A position of the layer's own, between pixels, far from its edge at time `k`."""
    depth = cv2.distanceTransform((layer.canvas[..., 3] > 250).astype(np.uint8), cv2.DIST_L2, 5)
    if layer.endless:
        return rng.uniform(0.3, 0.7, 2) * depth.shape[::-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    uv = np.array([column, row]) + rng.uniform(-0.5, 0.5, 2)
    if layer.revolution is None:
        return uv
    column, row, _ = layer.revolution.backward(uv[:1], uv[1:], np.array([k]))
    return np.array([column[0], row[0]])


def dot_errors(
    layers, frame_of, middle, own: int, uv: np.ndarray, draw=render_layers
) -> tuple[list[float], float]:
    """Distances (pixels) of a dot painted at `uv` from its track, where all around is visible.

    And how far the track goes in those frames.
    """
    painted = lit_alone(layers, own, uv)
    tracks = painted[own].forward(np.tile(uv, (len(middle), 1)), middle)
    around, k = (tracks[:, None] + AROUND).reshape(-1, 2), np.repeat(middle, len(AROUND))
    clear = ~is_hidden(painted, np.full(len(k), own), around, k) & (
        painted[own].alpha_at(around, k) > 0.99
    )
    clear &= ((around >= 0) & (around <= (SIZE[1] - 1, SIZE[0] - 1))).all(1)
    clear = clear.reshape(len(middle), -1).all(1)
    if painted[own].revolution is not None:  # at the rim a dot is a sliver
        clear &= (
            np.cos(uv[0] / painted[own].revolution.columns + painted[own].revolution.angle[middle])
            > 0.7
        )
    good = np.flatnonzero(clear)
    frames = draw(painted, frame_of, SIZE) if len(good) else None
    errors = [float(np.linalg.norm(brightest(frames[t], tracks[t]) - tracks[t])) for t in good]
    return errors, np.ptp(tracks[good], axis=0).max() if len(good) else 0.0


def all_dot_errors(
    seed: int, draw=render_layers, **settings
) -> tuple[list[float], list[float], set]:
    """The errors of dots on all layers, how far each dot went, and the layers seen."""
    layers, frame_of, middle = moving(seed, **settings)
    rng = np.random.default_rng(seed)
    errors, went, seen = [], [], set()
    for own in [0, 0, 0, *range(1, len(layers))]:
        found, far = dot_errors(
            layers, frame_of, middle, own, deep_within(rng, layers[own], middle[6]), draw
        )
        errors, went = errors + found, [*went, far]
        seen |= {own} if found else set()
    return errors, went, seen


BLURRED = {"motion_blur": 1.0, "speed": (0.002, 0.02), "camera_speed": (0.002, 0.02)}
