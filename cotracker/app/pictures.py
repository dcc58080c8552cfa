"""Frames with points on them: one as a picture, all as a video, two trackers side by side."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from cotracker.files import replace_file
from cotracker.tracks import Tracks
from cotracker.types import Video
from cotracker.visualize import overlay, rainbow, render_tracks

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
GAP = 4  # pixels between two pictures
WIDTH = 720  # pixels of an enlarged picture, about
QUALITY = 92  # of a jpeg


def keep_confident(tracks: Tracks, least: float) -> Tracks:
    """The tracks, not visible where their confidence is below `least`.

    A tracker without confidence is taken by its visibility.
    """
    score = tracks.visibility if tracks.confidence is None else tracks.confidence
    return replace(tracks, visible=tracks.visible & (score >= least))


def enlargement(width: int) -> int:
    """How many pixels of a picture a side of a frame's pixel has; small frames are enlarged."""
    return max(1, round(WIDTH / width))


def to_picture(xy: Tensor, times: int) -> Tensor:
    """Places in an enlarged picture of places (..., 2) in the frame: pixel centres are whole."""
    return xy * times + (times - 1) / 2


def from_picture(xy: tuple[float, float], times: int) -> tuple[float, float]:
    """The place in the frame of a place in an enlarged picture."""
    x, y = ((value + 0.5) / times - 0.5 for value in xy)
    return x, y


def draw_frame(
    frame: Tensor, number: int, tracks: Tracks | None = None, trail: int = 0, times: int = 1
) -> Image.Image:
    """The picture of a frame 1 3 H W, enlarged, with tracks of the whole video where some are."""
    frame = frame.repeat_interleave(times, -1).repeat_interleave(times, -2)
    if tracks is not None:
        colours, xy = colours_of(tracks), to_picture(tracks.xy[0], times)
        frame = render_tracks(frame, xy, tracks.visible[0], number, trail, colours)
    return Image.fromarray(frame[0].permute(1, 2, 0).numpy())


def colours_of(tracks: Tracks) -> np.ndarray:
    """N 3: by the height of each point's query."""
    return rainbow(tracks.queries[0, :, 1:])


def mark_points(
    picture: Image.Image, points: list[tuple[float, float]], ring: bool, times: int = 1
) -> None:
    """Draws white crosses at (x, y) of the frame, or rings, with a dark rim."""
    size = max(4.0, (0.03 if ring else 0.02) * (picture.width * picture.height) ** 0.5)
    draw = ImageDraw.Draw(picture)
    for x, y in to_picture(torch.tensor(points).reshape(-1, 2), times).tolist():
        box = (x - size, y - size, x + size, y + size)
        for colour, width in ((BLACK, 4), (WHITE, 2)):
            if ring:
                draw.ellipse(box, outline=colour, width=width)
            else:
                draw.line((box[0], y, box[2], y), fill=colour, width=width)
                draw.line((x, box[1], x, box[3]), fill=colour, width=width)


def write_picture(path: Path, picture: Image.Image) -> Path:
    """The path of the jpeg file just written, atomically."""
    with replace_file(path) as file:
        picture.save(file, "jpeg", quality=QUALITY)
    return path


def overlay_frames(
    video: Video, tracks: Tracks, other: Tracks | None, trail: int
) -> Iterator[np.ndarray]:
    """Frames H W 3 with the tracks; with `other` H 2W+GAP 3, the other tracker's on the right."""
    colours = colours_of(tracks)
    left = overlay(video, tracks, trail, colours)
    if other is None:
        yield from left
        return
    right = overlay(video, other, trail, colours)
    gap = np.full((video.shape[-2], GAP, 3), 255, np.uint8)
    for one, two in zip(left, right):
        yield np.concatenate([one, gap, two], axis=1)


def median_distance(one: Tracks, two: Tracks) -> float | None:
    """The median distance in pixels where both see a point; None where they never do."""
    both = one.visible & two.visible
    distances = torch.linalg.vector_norm(one.xy - two.xy, dim=-1)[both]
    return distances.median().item() if len(distances) else None
