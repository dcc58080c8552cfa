"""A scene drawn on the CPU with OpenCV: layers from the back to the front, in boxes, in uint8."""

import cv2
import numpy as np

from cotracker.data.synthetic.sprites.layers import Layer


def drawn(layers: list[Layer], frame_of: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames T H W 3 uint8 RGB of `size` (H, W), each the mean of its shots: shot k belongs to frame `frame_of[k]`."""
    counts = np.bincount(frame_of)
    frames = np.empty((len(counts), *size, 3), np.uint8)
    sample, total = np.empty((*size, 3), np.uint8), np.empty((*size, 3), np.float32)
    for t, frame in enumerate(frames):
        if counts[t] == 1:
            shot(layers, int(np.flatnonzero(frame_of == t)[0]), frame)
            continue
        total[:] = 0
        for k in np.flatnonzero(frame_of == t):
            shot(layers, int(k), sample)
            cv2.accumulate(sample, total)
        cv2.convertScaleAbs(total, dst=frame, alpha=1 / counts[t])
    return frames


def shot(layers: list[Layer], k: int, image: np.ndarray) -> None:
    """Draws all layers at time k into `image` H W 3 uint8. Shadows that follow one another darken once."""
    shade = None
    for layer in layers:
        if not layer.opaque:
            shade = _shaded(layer, k, image.shape[:2], shade)
            continue
        if shade is not None:
            _darken(image, *shade)
            shade = None
        _draw(layer, k, image)
    if shade is not None:
        _darken(image, *shade)


def _shaded(layer: Layer, k: int, size: tuple[int, int], shade: tuple | None) -> tuple | None:
    """The shade so far (H W uint8, box) with the layer's alpha added, the darker of the two."""
    box = layer.box(k, size)
    if box is None:
        return shade
    alpha = _warped(layer, layer.alpha, k, box)
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


def _draw(layer: Layer, k: int, image: np.ndarray) -> None:
    """Blends an opaque layer at time k over the image, in place."""
    box = layer.box(k, image.shape[:2])
    if box is None:
        return
    if layer.lathe is None:
        patch = _warped(layer, layer.canvas, k, box)
        colour, alpha = cv2.cvtColor(patch, cv2.COLOR_RGBA2RGB), cv2.extractChannel(patch, 3)
    else:
        colour, alpha = _turned(layer, k, box)
    if layer.gain[k] != 1:
        colour = cv2.convertScaleAbs(colour, alpha=float(layer.gain[k]))
    left, top, right, bottom = box
    region = image[top:bottom, left:right]
    if layer.endless:
        region[:] = colour
        return
    weight = alpha.astype(np.float32) * np.float32(1 / 255)
    region[:] = cv2.blendLinear(colour, region, weight, 1 - weight)


def _warped(layer: Layer, canvas: np.ndarray, k: int, box: tuple) -> np.ndarray:
    """The canvas (h w or h w c) as the box of the frame shows it at time k."""
    border = cv2.BORDER_REFLECT_101 if layer.endless else cv2.BORDER_CONSTANT
    left, top, right, bottom = box
    if layer.bend is None:
        matrix = layer.places_back[k] @ _from_box(layer, k, box)
        size, flags = (
            (int(right - left), int(bottom - top)),
            cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        return cv2.warpPerspective(canvas, matrix, size, flags=flags, borderMode=border)
    return cv2.remap(canvas, *_canvas_positions(layer, k, box), cv2.INTER_LINEAR, borderMode=border)


def _turned(layer: Layer, k: int, box: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Colour (h w 3) and alpha (h w) uint8 of a solid on its lathe in the box of the frame at time k."""
    u, v = _canvas_positions(layer, k, box)
    column, row, light = layer.lathe.backward(u, v, k)
    colour = cv2.remap(
        layer.lathe.skin, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    colour = cv2.multiply(colour, cv2.merge([light.astype(np.float32)] * 3), dtype=cv2.CV_8U)
    return colour, cv2.remap(layer.alpha, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _from_box(layer: Layer, k: int, box: tuple) -> np.ndarray:
    """Pixels of the box -> thing (3, 3)."""
    return layer.views_back[k] @ np.array([[1.0, 0, box[0]], [0, 1, box[1]], [0, 0, 1]])


def _canvas_positions(layer: Layer, k: int, box: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Canvas u, v (h w float32) of every pixel of the box at time k."""
    left, top, right, bottom = box
    columns = np.arange(right - left, dtype=np.float32)[None]
    rows = np.arange(bottom - top, dtype=np.float32)[:, None]
    back = _from_box(layer, k, box)
    if layer.bend is None:
        return _through(layer.places_back[k] @ back, columns, rows)
    x, y = layer.bend.backward(*_through(back, columns, rows), k)
    return _through(layer.places_back[k], x, y)


def _through(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x, y (h, w or broadcastable, float32) through one matrix (3, 3)."""
    (a, b, c), (d, e, f), (g, h, i) = (matrix / matrix[2, 2]).astype(np.float32)
    u, v = a * x + (b * y + c), d * x + (e * y + f)
    if g == 0 and h == 0:
        return u, v
    depth = g * x + (h * y + i)
    return u / depth, v / depth
