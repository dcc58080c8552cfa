"""Tracks drawn on a video: filled discs where visible, rings where not, fading trails; and contact sheets."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from cotracker.types import Tracks, Video

_SUBPIXEL = 4  # bits of a coordinate's fraction that OpenCV draws with
_FAINTEST, _STRONGEST = 0.1, 0.8  # of a trail, at its tail and at the point


def rainbow(xy: Tensor) -> np.ndarray:
    """One RGB colour a point, N 3 uint8: red for the topmost of xy (N, 2), through green and blue to violet."""
    y = xy[:, 1].double().cpu().numpy()
    if not len(y):
        return np.zeros((0, 3), np.uint8)
    known = y[np.isfinite(y)] if np.isfinite(y).any() else np.zeros(1)
    height = (np.nan_to_num(y, nan=known.min()).clip(known.min(), known.max()) - known.min()) / max(
        np.ptp(known), 1e-9
    )
    hsv = np.stack(
        [height * 140, np.full_like(y, 225), np.full_like(y, 255)], axis=-1
    )  # OpenCV's hue: 0..179
    return cv2.cvtColor(hsv.round().astype(np.uint8)[None], cv2.COLOR_HSV2RGB)[0]


def draw(
    frames: Tensor,
    xy: Tensor,
    visible: Tensor,
    start: int = 0,
    trail: int = 12,
    colours: np.ndarray | None = None,
) -> Tensor:
    """Copies of `frames` (n 3 H W, 0..255, any dtype and device) with the points drawn; n, dtype and device kept.

    xy T N 2 and visible T N belong to the whole video, whose frames start, start + 1, ... are given; so a video can be
    drawn piece by piece. A visible point is a filled disc with a dark rim, a hidden one a ring; a trail joins its
    places of the last `trail` frames where it was visible. Colours N 3 uint8 are by height in frame 0 unless given.
    """
    colours = rainbow(xy[0]) if colours is None else colours
    xy, visible = xy.detach().float().cpu().numpy(), visible.cpu().numpy().astype(bool)
    pictures = frames.detach().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    drawn = [
        _draw_one(picture, xy, visible, start + k, trail, colours)
        for k, picture in enumerate(pictures)
    ]
    stacked = torch.from_numpy(np.stack(drawn) if drawn else pictures).permute(0, 3, 1, 2)
    return stacked.to(frames.device, frames.dtype)


def overlay(
    video: Video, tracks: Tracks, trail: int = 12, colours: np.ndarray | None = None, chunk: int = 8
) -> Iterator[np.ndarray]:
    """Frames H W 3 uint8 RGB of the first clip of `video`, its tracks drawn, one by one as `write_video` takes them.

    The video is read `chunk` frames at a time and never held whole.
    """
    for start in range(0, video.shape[1], chunk):
        frames = video[:, start : start + chunk][0]
        for picture in draw(frames, tracks.xy[0], tracks.visible[0], start, trail, colours):
            yield np.ascontiguousarray(picture.byte().permute(1, 2, 0).cpu().numpy())


def contact_sheet(
    video: Video,
    tracks: Tracks,
    count: int = 4,
    height: int = 240,
    trail: int = 12,
    colours: np.ndarray | None = None,
) -> np.ndarray:
    """`count` frames spread over the video, with its tracks, side by side: one picture `height` W 3 uint8 RGB."""
    frames = video.shape[1]
    panels = []
    for number in np.linspace(0, frames - 1, min(count, frames)).round().astype(int).tolist():
        frame = video[:, number : number + 1][0]
        panel = draw(frame, tracks.xy[0], tracks.visible[0], number, trail, colours)[0]
        width = max(1, round(panel.shape[2] * height / panel.shape[1]))
        panel = panel.byte().permute(1, 2, 0).cpu().numpy()
        smooth = cv2.INTER_AREA if height < panel.shape[0] else cv2.INTER_CUBIC
        panels += [
            cv2.resize(panel, (width, height), interpolation=smooth),
            np.full((height, 4, 3), 255, np.uint8),
        ]
    return np.concatenate(panels[:-1], axis=1)


def attention_sheet(frame: Tensor, xy: Tensor, weights: Tensor, target: int) -> np.ndarray:
    """A picture H W 3: a frame 3 H W with a disc at each xy N 2, as large as its share of attention; target ringed."""
    picture = frame.detach().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy().copy()
    larger = max(1, round(384 / picture.shape[0]))  # small frames hide what is drawn on them
    picture = cv2.resize(picture, None, fx=larger, fy=larger, interpolation=cv2.INTER_CUBIC)
    places, shares = (
        xy.detach().float().cpu().numpy() * larger,
        weights.detach().float().cpu().numpy(),
    )
    shares = shares / max(float(shares.max()), 1e-9)
    near = _drawable(places[None], picture.shape)[0]
    largest = 0.03 * float(np.sqrt(picture.shape[0] * picture.shape[1]))
    for point in np.flatnonzero(near):
        radius = round(max(1.0, largest * float(np.sqrt(shares[point]))) * (1 << _SUBPIXEL))
        cv2.circle(
            picture, _fixed(places[point]), radius, (255, 200, 0), -1, cv2.LINE_AA, _SUBPIXEL
        )
    if near[target]:
        radius = round(1.3 * largest * (1 << _SUBPIXEL))
        cv2.circle(picture, _fixed(places[target]), radius, (255, 0, 0), 2, cv2.LINE_AA, _SUBPIXEL)
    return picture


def write_png(path: str | Path, picture: np.ndarray) -> None:
    """Writes a picture H W 3 uint8 RGB as PNG, whole or not at all."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_bytes(
            cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
        )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _draw_one(
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
    for point in np.argsort(
        visible[frame], kind="stable"
    ):  # hidden ones first, so that they cover nothing
        if near[-1, point]:
            colour = tuple(int(part) for part in colours[point])
            _draw_point(picture, xy[frame, point], bool(visible[frame, point]), colour, radius)
    return picture


def _draw_point(
    picture: np.ndarray, xy: np.ndarray, visible: bool, colour: tuple, radius: float
) -> None:
    centre = _fixed(xy)
    one = 1 << _SUBPIXEL
    if visible:
        rim = tuple(part // 4 for part in colour)
        cv2.circle(
            picture,
            centre,
            round((radius + max(0.6, radius / 5)) * one),
            rim,
            -1,
            cv2.LINE_AA,
            _SUBPIXEL,
        )
        cv2.circle(picture, centre, round(radius * one), colour, -1, cv2.LINE_AA, _SUBPIXEL)
    else:
        thickness = max(1, round(radius / 2.5))
        cv2.circle(
            picture,
            centre,
            round(max(2.0, radius) * one),
            colour,
            thickness,
            cv2.LINE_AA,
            _SUBPIXEL,
        )


def _draw_trails(picture, xy, visible, near, frame, trail, colours, radius) -> None:
    """Lines between consecutive visible places, blended once: colour from one layer, strength from another."""
    first = max(0, frame - trail)
    joined = visible[first:frame] & visible[first + 1 : frame + 1] & near[:-1] & near[1:]  # steps N
    if not joined.any():
        return
    thickness = max(1, round(radius * 0.7))
    places = (
        (np.where(near[..., None], xy[first : frame + 1], 0) * (1 << _SUBPIXEL))
        .round()
        .astype(np.int32)
    )
    lines = np.stack([places[:-1], places[1:]], axis=2)  # steps N 2 2
    ink, strength = picture.copy(), np.zeros(picture.shape[:2], np.uint8)
    for point in np.flatnonzero(joined.any(axis=0)):
        colour = tuple(int(part) for part in colours[point])
        cv2.polylines(
            ink,
            list(lines[joined[:, point], point]),
            False,
            colour,
            thickness + 2,
            cv2.LINE_8,
            _SUBPIXEL,
        )
    for step in np.flatnonzero(joined.any(axis=1)):  # the oldest first, the strongest on top
        age = (frame - first - step - 1) / trail
        value = round(255 * (_STRONGEST + (_FAINTEST - _STRONGEST) * age))
        cv2.polylines(
            strength,
            list(lines[step, joined[step]]),
            False,
            value,
            thickness,
            cv2.LINE_AA,
            _SUBPIXEL,
        )
    weight = strength[..., None].astype(np.float32) / 255
    drawn = strength > 0
    picture[drawn] = (picture * (1 - weight) + ink * weight)[drawn].round().astype(np.uint8)


def _drawable(xy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bool: finite and not so far out that OpenCV's integers overflow."""
    return np.isfinite(xy).all(-1) & (np.abs(np.nan_to_num(xy)) < 8 * max(shape[:2])).all(-1)


def _fixed(xy: np.ndarray) -> tuple[int, int]:
    return round(float(xy[0]) * (1 << _SUBPIXEL)), round(float(xy[1]) * (1 << _SUBPIXEL))
