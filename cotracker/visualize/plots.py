"""Figures of sets of clips: cumulative curves side by side, and contact sheets of many clips."""

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from cotracker.types import Clip
from cotracker.visualize import draw

COLOURS = ("#1f5fbf", "#d1495b", "#2e9e5b", "#e08e1b", "#7b4fa3", "#3aa6b9", "#8c6d46", "#555555")
FINE = 3  # drawn so many times larger, then shrunk: Pillow's lines are jagged
WIDTH, HEIGHT = 640, 360  # of a panel
BOX = tuple(
    FINE * side for side in (58, 34, WIDTH - 20, HEIGHT - 36)
)  # of its axes: left, top, right, bottom


@dataclass(frozen=True)
class Axis:
    """What is measured, from where to where, and whether on a logarithmic scale (then above 0)."""

    title: str
    low: float
    high: float
    logarithmic: bool = False

    def place(self, share: float) -> float:
        """The value at a share 0..1 of the axis."""
        if self.logarithmic:
            return self.low * (self.high / self.low) ** share
        return self.low + share * (self.high - self.low)

    def x(self, value: float) -> float:
        """Where it stands in a panel."""
        ends = [math.log(v) if self.logarithmic else v for v in (self.low, value, self.high)]
        return BOX[0] + (ends[1] - ends[0]) / (ends[2] - ends[0]) * (BOX[2] - BOX[0])

    def ticks(self) -> list[float]:
        """Round values along it."""
        if self.logarithmic:
            steps = [step * 10.0**power for power in range(-3, 5) for step in (1, 2, 5)]
            return [value for value in steps if self.low <= value <= self.high]
        return [self.place(k / 6) for k in range(7)]


def cumulative(panels: list[tuple[Axis, dict[str, np.ndarray]]]) -> Image.Image:
    """A picture of panels, two a row: for each label a line, the share of its samples (n,) up to each value.

    Labels have the same colour in all panels; those without a sample have no line.
    """
    labels = list(dict.fromkeys(label for _, lines in panels for label in lines))
    whole = Image.new("RGB", (2 * WIDTH, (len(panels) + 1) // 2 * HEIGHT), "white")
    for number, (axis, lines) in enumerate(panels):
        panel = Image.new("RGB", (FINE * WIDTH, FINE * HEIGHT), "white")
        pen = ImageDraw.Draw(panel)
        _grid(pen, axis)
        for row, label in enumerate(label for label in labels[::-1] if len(lines.get(label, ()))):
            colour = COLOURS[labels.index(label) % len(COLOURS)]
            pen.line(_curve(axis, np.sort(lines[label])), colour, 2 * FINE, joint="curve")
            place = (BOX[2] - 10 * FINE, BOX[3] - (28 + 20 * row) * FINE)
            pen.text(place, label, colour, ImageFont.load_default(15 * FINE), anchor="ra")
        small = panel.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        whole.paste(small, (number % 2 * WIDTH, number // 2 * HEIGHT))
    return whole


def lines(
    panels: list[tuple[str, str, dict[str, list[tuple[float, float]]]]], caption: str
) -> np.ndarray:
    """A picture H W 3 uint8, a panel for each (title, name of the x axis, {label: [(x, y), …]}), caption below.

    y begins at 0; every x that a line has is a tick. Labels have the same colour in all panels.
    """
    labels = list(dict.fromkeys(label for _, _, held in panels for label in held))
    whole = Image.new("RGB", (max(1, len(panels)) * WIDTH, HEIGHT + 24), "white")
    for number, (title, axis, held) in enumerate(panels):
        panel = Image.new("RGB", (FINE * WIDTH, FINE * HEIGHT), "white")
        _draw_lines(ImageDraw.Draw(panel), title, axis, held, labels)
        whole.paste(panel.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), (number * WIDTH, 0))
    ImageDraw.Draw(whole).text((12, HEIGHT + 2), caption, "#222222", ImageFont.load_default(13))
    return np.asarray(whole)


def tile(clip: Clip, width: int = 200, points: int = 48, trail: int = 8) -> np.ndarray:
    """H 2*width 3 uint8: two frames of a clip, a third and two thirds through, with the trails of some points."""
    _, _, high, wide = clip.video.shape
    known = clip.valid.any(1).nonzero()[:, 0].tolist()
    height = round(high * width / wide)
    chosen = np.unique(np.linspace(0, clip.tracks.shape[1] - 1, points).round().astype(int))
    scale = torch.tensor([(width - 1) / (wide - 1), (height - 1) / (high - 1)])
    tracks, visible = clip.tracks[:, chosen] * scale, clip.visible[:, chosen]
    tracks[~clip.valid[:, chosen]] = torch.nan  # which is not drawn
    pictures = []
    for t in (known[len(known) // 3], known[2 * len(known) // 3]):
        frame = Image.fromarray(clip.video[t : t + 1][0].permute(1, 2, 0).numpy())
        small = torch.from_numpy(
            np.array(frame.resize((width, height), Image.Resampling.LANCZOS))
        ).permute(2, 0, 1)
        pictures.append(
            draw(small[None], tracks, visible, start=t, trail=trail)[0].permute(1, 2, 0).numpy()
        )
    return np.concatenate(pictures, axis=1)


def sheet(tiles: list[np.ndarray], columns: int = 4, rim: int = 4) -> Image.Image:
    """Tiles (H W 3 uint8, of any sizes) row by row in one picture, white between them."""
    height, width = (max(one.shape[side] for one in tiles) + rim for side in (0, 1))
    rows = -(-len(tiles) // columns)
    whole = Image.new("RGB", (min(columns, len(tiles)) * width - rim, rows * height - rim), "white")
    for number, one in enumerate(tiles):
        whole.paste(Image.fromarray(one), (number % columns * width, number // columns * height))
    return whole


def small_jpg(picture: Image.Image, most: int = 600_000) -> bytes:
    """The picture as JPEG of fewer than `most` bytes, of the best quality that allows it; ValueError: none does."""
    for quality in range(92, 20, -4):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() < most:
            return file.getvalue()
    raise ValueError(
        f"a picture of {picture.width}x{picture.height} does not fit into {most} bytes: make it smaller"
    )


def _grid(pen: ImageDraw.ImageDraw, axis: Axis) -> None:
    font = ImageFont.load_default(13 * FINE)
    pen.text((BOX[0], 8 * FINE), f"share of samples up to so many {axis.title}", "#222222", font)
    for value in axis.ticks():
        pen.line((axis.x(value), BOX[1], axis.x(value), BOX[3]), "#dddddd", FINE)
        pen.text((axis.x(value), BOX[3] + 6 * FINE), f"{value:g}", "#444444", font, anchor="ma")
    for share in (0, 25, 50, 75, 100):
        y = BOX[3] - share / 100 * (BOX[3] - BOX[1])
        pen.line((BOX[0], y, BOX[2], y), "#dddddd", FINE)
        pen.text((BOX[0] - 8 * FINE, y), f"{share} %", "#444444", font, anchor="rm")


def _draw_lines(
    pen: ImageDraw.ImageDraw, title: str, axis: str, held: dict, labels: list[str]
) -> None:
    """One panel of `lines`."""
    font, large = ImageFont.load_default(13 * FINE), ImageFont.load_default(15 * FINE)
    xs = sorted({x for line in held.values() for x, _ in line}) or [0]
    top = _round_up(max((y for line in held.values() for _, y in line), default=1))
    span = max(xs[-1] - xs[0], 1e-9)
    right = BOX[2] - 70 * FINE  # beside it stand the labels

    def place(x: float, y: float) -> tuple[float, float]:
        return BOX[0] + (x - xs[0]) / span * (right - BOX[0]), BOX[3] - y / top * (BOX[3] - BOX[1])

    pen.text((BOX[0], 8 * FINE), title, "#222222", large)
    pen.text((right, BOX[3] + 19 * FINE), axis, "#222222", font, anchor="ra")
    last = -np.inf
    for x in xs:
        pen.line((*place(x, 0), *place(x, top)), "#dddddd", FINE)
        if place(x, 0)[0] - last > 26 * FINE:  # else the numbers would touch
            last = place(x, 0)[0]
            pen.text((last, BOX[3] + 4 * FINE), f"{x:g}", "#444444", font, anchor="ma")
    for y in np.linspace(0, top, 6):
        pen.line((*place(xs[0], y), *place(xs[-1], y)), "#dddddd", FINE)
        pen.text((BOX[0] - 8 * FINE, place(xs[0], y)[1]), f"{y:.3g}", "#444444", font, anchor="rm")
    heights = _apart(
        {label: place(xs[-1], line[-1][1])[1] for label, line in held.items()}, 17 * FINE
    )
    for label, line in held.items():
        colour = COLOURS[labels.index(label) % len(COLOURS)]
        places = [place(x, y) for x, y in line]
        pen.line(places, colour, 2 * FINE, joint="curve")
        for x, y in places:
            pen.ellipse((x - 3 * FINE, y - 3 * FINE, x + 3 * FINE, y + 3 * FINE), colour)
        pen.text((right + 10 * FINE, heights[label]), label, colour, font, anchor="lm")


def _round_up(value: float) -> float:
    """The least of 1, 2, 5 times a power of ten, or 3, 4, 6, 8 of them, that is not below the value."""
    scale = 10.0 ** math.floor(math.log10(max(value, 1e-9)))
    return next(
        step * scale for step in (1, 2, 3, 4, 5, 6, 8, 10) if step * scale >= value * (1 - 1e-9)
    )


def _apart(heights: dict[str, float], least: float) -> dict[str, float]:
    """The heights, in their order, pushed down where two would be closer than `least`."""
    moved, last = {}, -math.inf
    for label in sorted(heights, key=heights.get):
        last = moved[label] = max(heights[label], last + least)
    return moved


def _curve(axis: Axis, values: np.ndarray) -> list[tuple[float, float]]:
    """Places in a panel, of the share of the sorted values up to each of 240 along the axis."""
    places = [axis.place(share) for share in np.linspace(0, 1, 240)]
    shares = np.searchsorted(values, places, side="right") / len(values)
    return [
        (axis.x(place), BOX[3] - share * (BOX[3] - BOX[1])) for place, share in zip(places, shares)
    ]
