"""Tracks rendered on a video: discs where visible, rings where not, trails; contact sheets."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import imageio.v3 as imageio
import numpy as np
import torch
from torch import Tensor

from cotracker.files import write_bytes
from cotracker.types import Tracks, Video

_SUBPIXEL = 4  # bits of a coordinate's fraction that OpenCV draws with
_FAINTEST, _STRONGEST = 0.1, 0.8  # of a trail, at its tail and at the point


def rainbow(xy: Tensor) -> np.ndarray:
    """RGB colours N 3 uint8: red for the topmost of xy (N, 2), over green and blue to violet."""
    y = xy[:, 1].double().cpu().numpy()
    if not len(y):
        return np.zeros((0, 3), np.uint8)
    finite = y[np.isfinite(y)] if np.isfinite(y).any() else np.zeros(1)
    top, bottom = finite.min(), finite.max()
    height = np.nan_to_num(y, nan=top).clip(top, bottom) - top
    hue = height / max(bottom - top, 1e-9) * 140  # OpenCV's hue: 0..179
    hsv = np.stack([hue, np.full_like(y, 225), np.full_like(y, 255)], axis=-1)
    return cv2.cvtColor(hsv.round().astype(np.uint8)[None], cv2.COLOR_HSV2RGB)[0]


def render_tracks(
    frames: Tensor,
    xy: Tensor,
    visible: Tensor,
    start: int = 0,
    trail: int = 12,
    colours: np.ndarray | None = None,
) -> Tensor:
    """Copies of `frames` (n 3 H W, 0..255, any dtype and device) with the points on them.

    A visible point is a filled disc with a dark rim, a hidden one a ring. A trail joins its
    positions of the last `trail` frames where it was visible.
    xy: T N 2, of the whole video.
    visible: T N, of the whole video.
    start: the number of the first of `frames`; so a video can be rendered piece by piece.
    colours: N 3 uint8; None for colours by height in frame 0.
    """
    colours = rainbow(xy[0]) if colours is None else colours
    xy = xy.detach().float().cpu().numpy()
    visible = visible.cpu().numpy().astype(bool)
    pictures = frames.detach().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    rendered = [
        _render_frame(picture, xy, visible, start + k, trail, colours)
        for k, picture in enumerate(pictures)
    ]
    stacked = torch.from_numpy(np.stack(rendered) if rendered else pictures).permute(0, 3, 1, 2)
    return stacked.to(frames.device, frames.dtype)


def overlay(
    video: Video, tracks: Tracks, trail: int = 12, colours: np.ndarray | None = None, chunk: int = 8
) -> Iterator[np.ndarray]:
    """Frames H W 3 uint8 RGB of the first clip of `video` with its tracks, one by one.

    The video is read `chunk` frames at a time and never held whole.
    """
    for start in range(0, video.shape[1], chunk):
        frames = video[:, start : start + chunk][0]
        for picture in render_tracks(
            frames, tracks.xy[0], tracks.visible[0], start, trail, colours
        ):
            yield np.ascontiguousarray(picture.byte().permute(1, 2, 0).cpu().numpy())


def contact_sheet(
    video: Video,
    tracks: Tracks,
    count: int = 4,
    height: int = 240,
    trail: int = 12,
    colours: np.ndarray | None = None,
) -> np.ndarray:
    """`count` frames spread over the video, side by side: a picture `height` W 3 uint8 RGB."""
    frames = video.shape[1]
    panels = []
    for number in np.linspace(0, frames - 1, min(count, frames)).round().astype(int).tolist():
        frame = video[:, number : number + 1][0]
        panel = render_tracks(frame, tracks.xy[0], tracks.visible[0], number, trail, colours)[0]
        width = max(1, round(panel.shape[2] * height / panel.shape[1]))
        panel = panel.byte().permute(1, 2, 0).cpu().numpy()
        smooth = cv2.INTER_AREA if height < panel.shape[0] else cv2.INTER_CUBIC
        panels += [
            cv2.resize(panel, (width, height), interpolation=smooth),
            np.full((height, 4, 3), 255, np.uint8),
        ]
    return np.concatenate(panels[:-1], axis=1)


def attention_sheet(frame: Tensor, xy: Tensor, weights: Tensor, target: int) -> np.ndarray:
    """A picture H W 3: a frame 3 H W with a disc at each xy N 2, as large as its attention weight.

    weights: N.  target: the index of the query point, which has a ring.
    """
    picture = frame.detach().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy().copy()
    larger = max(1, round(384 / picture.shape[0]))  # small frames hide what is drawn on them
    picture = cv2.resize(picture, None, fx=larger, fy=larger, interpolation=cv2.INTER_CUBIC)
    points = xy.detach().float().cpu().numpy() * larger
    shares = weights.detach().float().cpu().numpy()
    shares = shares / max(float(shares.max()), 1e-9)
    near = _drawable(points[None], picture.shape)[0]
    largest = 0.03 * float(np.sqrt(picture.shape[0] * picture.shape[1]))
    for point in np.flatnonzero(near):
        radius = max(1.0, largest * float(np.sqrt(shares[point])))
        _draw_circle(picture, points[point], radius, (255, 200, 0), -1)
    if near[target]:
        _draw_circle(picture, points[target], 1.3 * largest, (255, 0, 0), 2)
    return picture


def write_png(path: str | Path, picture: np.ndarray) -> None:
    """Writes a picture H W 3 uint8 RGB as PNG, atomically."""
    write_bytes(path, imageio.imwrite("<bytes>", picture, extension=".png"))


def _render_frame(
    picture: np.ndarray,
    xy: np.ndarray,
    visible: np.ndarray,
    frame: int,
    trail: int,
    colours: np.ndarray,
):
    picture = picture.copy()
    radius = max(1.5, 0.0085 * float(np.sqrt(picture.shape[0] * picture.shape[1])))
    near = _drawable(xy[max(0, frame - trail) : frame + 1], picture.shape)
    if trail > 0:
        _draw_trails(picture, xy, visible, near, frame, trail, colours, radius)
    hidden_first = np.argsort(visible[frame], kind="stable")  # so that they cover nothing
    for point in hidden_first:
        if near[-1, point]:
            colour = tuple(int(part) for part in colours[point])
            _draw_point(picture, xy[frame, point], bool(visible[frame, point]), colour, radius)
    return picture


def _draw_point(
    picture: np.ndarray, xy: np.ndarray, visible: bool, colour: tuple, radius: float
) -> None:
    if visible:
        rim = tuple(part // 4 for part in colour)
        _draw_circle(picture, xy, radius + max(0.6, radius / 5), rim, -1)
        _draw_circle(picture, xy, radius, colour, -1)
    else:
        _draw_circle(picture, xy, max(2.0, radius), colour, max(1, round(radius / 2.5)))


def _draw_circle(
    picture: np.ndarray, xy: np.ndarray, radius: float, colour: tuple, thickness: int
) -> None:
    """A smooth circle, filled where thickness is -1."""
    radius = round(radius * (1 << _SUBPIXEL))
    cv2.circle(picture, _fixed(xy), radius, colour, thickness, cv2.LINE_AA, _SUBPIXEL)


def _draw_trails(picture, xy, visible, near, frame, trail, colours, radius) -> None:
    """Lines between consecutive visible positions: colours of one layer, opacity of another."""
    first = max(0, frame - trail)
    joined = visible[first:frame] & visible[first + 1 : frame + 1] & near[:-1] & near[1:]  # steps N
    if not joined.any():
        return
    thickness = max(1, round(radius * 0.7))
    points = np.where(near[..., None], xy[first : frame + 1], 0) * (1 << _SUBPIXEL)
    points = points.round().astype(np.int32)
    lines = np.stack([points[:-1], points[1:]], axis=2)  # steps N 2 2
    ink = picture.copy()
    opacity = np.zeros(picture.shape[:2], np.uint8)
    for point in np.flatnonzero(joined.any(axis=0)):
        colour = tuple(int(part) for part in colours[point])
        chosen = list(lines[joined[:, point], point])
        cv2.polylines(ink, chosen, False, colour, thickness + 2, cv2.LINE_8, _SUBPIXEL)
    for step in np.flatnonzero(joined.any(axis=1)):  # the oldest first, the strongest on top
        age = (frame - first - step - 1) / trail
        value = round(255 * (_STRONGEST + (_FAINTEST - _STRONGEST) * age))
        chosen = list(lines[step, joined[step]])
        cv2.polylines(opacity, chosen, False, value, thickness, cv2.LINE_AA, _SUBPIXEL)
    weight = opacity[..., None].astype(np.float32) / 255
    inked = opacity > 0
    picture[inked] = (picture * (1 - weight) + ink * weight)[inked].round().astype(np.uint8)


def _drawable(xy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bool: finite and not so far out that OpenCV's integers overflow."""
    return np.isfinite(xy).all(-1) & (np.abs(np.nan_to_num(xy)) < 8 * max(shape[:2])).all(-1)


def _fixed(xy: np.ndarray) -> tuple[int, int]:
    return round(float(xy[0]) * (1 << _SUBPIXEL)), round(float(xy[1]) * (1 << _SUBPIXEL))
