"""A layered scene rendered on the CPU with OpenCV: from back to front, in boxes, in uint8."""

import cv2
import numpy as np

from cotracker.data.synthetic.sprites.layers import Layer


def render_layers(layers: list[Layer], frame_of: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames T H W 3 uint8 RGB of `size` (H, W), each the mean of its shots.

    frame_of: (K,) the frame that each shot belongs to.
    """
    counts = np.bincount(frame_of)
    frames = np.empty((len(counts), *size, 3), np.uint8)
    sample = np.empty((*size, 3), np.uint8)
    total = np.empty((*size, 3), np.float32)
    for t, frame in enumerate(frames):
        if counts[t] == 1:
            render_shot(layers, int(np.flatnonzero(frame_of == t)[0]), frame)
            continue
        total[:] = 0
        for k in np.flatnonzero(frame_of == t):
            render_shot(layers, int(k), sample)
            cv2.accumulate(sample, total)
        cv2.convertScaleAbs(total, dst=frame, alpha=1 / counts[t])
    return frames


def render_shot(layers: list[Layer], k: int, image: np.ndarray) -> None:
    """Renders all layers at time k into `image` H W 3 uint8; overlapping shadows darken once."""
    shade = None
    for layer in layers:
        if not layer.opaque:
            shade = _add_shadow(layer, k, image.shape[:2], shade)
            continue
        if shade is not None:
            _darken(image, *shade)
            shade = None
        _blend(layer, k, image)
    if shade is not None:
        _darken(image, *shade)


def _add_shadow(layer: Layer, k: int, size: tuple[int, int], shade: tuple | None) -> tuple | None:
    """The shade so far (H W uint8, box), combined with the layer's: the darker of the two."""
    box = layer.clip_box(k, size)
    if box is None:
        return shade
    alpha = _warp(layer, layer.alpha, k, box)
    dark, whole = shade or (np.zeros(size, np.uint8), box)
    region = dark[box[1] : box[3], box[0] : box[2]]
    cv2.max(region, alpha, dst=region)
    low, high = np.minimum(whole, box), np.maximum(whole, box)
    return dark, (*low[:2], *high[2:])


def _darken(image: np.ndarray, dark: np.ndarray, box: tuple) -> None:
    left, top, right, bottom = box
    region = image[top:bottom, left:right]
    light = cv2.bitwise_not(dark[top:bottom, left:right])
    region[:] = cv2.multiply(region, cv2.merge([light] * 3), scale=1 / 255)


def _blend(layer: Layer, k: int, image: np.ndarray) -> None:
    """Blends an opaque layer at time k over the image, in place."""
    box = layer.clip_box(k, image.shape[:2])
    if box is None:
        return
    if layer.revolution is None:
        patch = _warp(layer, layer.canvas, k, box)
        colour = cv2.cvtColor(patch, cv2.COLOR_RGBA2RGB)
        alpha = cv2.extractChannel(patch, 3)
    else:
        colour, alpha = _render_solid(layer, k, box)
    if layer.gain[k] != 1:
        colour = cv2.convertScaleAbs(colour, alpha=float(layer.gain[k]))
    left, top, right, bottom = box
    region = image[top:bottom, left:right]
    if layer.endless:
        region[:] = colour
        return
    weight = alpha.astype(np.float32) * np.float32(1 / 255)
    region[:] = cv2.blendLinear(colour, region, weight, 1 - weight)


def _warp(layer: Layer, canvas: np.ndarray, k: int, box: tuple) -> np.ndarray:
    """The canvas (h w or h w c) as the box of the frame shows it at time k."""
    border = cv2.BORDER_REFLECT_101 if layer.endless else cv2.BORDER_CONSTANT
    left, top, right, bottom = box
    if layer.bend is None:
        matrix = layer.object_to_canvas[k] @ _box_to_object(layer, k, box)
        size = (int(right - left), int(bottom - top))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpPerspective(canvas, matrix, size, flags=flags, borderMode=border)
    return cv2.remap(canvas, *_canvas_positions(layer, k, box), cv2.INTER_LINEAR, borderMode=border)


def _render_solid(layer: Layer, k: int, box: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Colour (h w 3) and alpha (h w) uint8 of a solid of revolution in the box at time k."""
    u, v = _canvas_positions(layer, k, box)
    column, row, light = layer.revolution.backward(u, v, k)
    skin = layer.revolution.skin
    colour = cv2.remap(skin, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    colour = cv2.multiply(colour, cv2.merge([light.astype(np.float32)] * 3), dtype=cv2.CV_8U)
    return colour, cv2.remap(layer.alpha, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _box_to_object(layer: Layer, k: int, box: tuple) -> np.ndarray:
    """Pixels of the box -> object (3, 3)."""
    return layer.frame_to_object[k] @ np.array([[1.0, 0, box[0]], [0, 1, box[1]], [0, 0, 1]])


def _canvas_positions(layer: Layer, k: int, box: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Canvas u, v (h w float32) of every pixel of the box at time k."""
    left, top, right, bottom = box
    columns = np.arange(right - left, dtype=np.float32)[None]
    rows = np.arange(bottom - top, dtype=np.float32)[:, None]
    back = _box_to_object(layer, k, box)
    if layer.bend is None:
        return _apply_homography(layer.object_to_canvas[k] @ back, columns, rows)
    x, y = layer.bend.backward(*_apply_homography(back, columns, rows), k)
    return _apply_homography(layer.object_to_canvas[k], x, y)


def _apply_homography(
    matrix: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """x, y (h, w or broadcastable, float32) through one matrix (3, 3)."""
    (a, b, c), (d, e, f), (g, h, i) = (matrix / matrix[2, 2]).astype(np.float32)
    u, v = a * x + (b * y + c), d * x + (e * y + f)
    if g == 0 and h == 0:
        return u, v
    depth = g * x + (h * y + i)
    return u / depth, v / depth
