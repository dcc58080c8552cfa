"""Plots of numbers by matplotlib, and contact sheets of many clips."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cotracker.files import write_bytes
from cotracker.types import Clip
from cotracker.visualize import render_tracks

Points = list[tuple[float, float]]
PANEL = (6.4, 3.6)  # inches, at 100 dots an inch


@dataclass(frozen=True)
class Axis:
    """The x axis of a cumulative plot: its title, its ends, and whether it is logarithmic."""

    title: str
    low: float
    high: float
    logarithmic: bool = False


def plot_cumulative(path: Path, panels: list[tuple[Axis, dict[str, np.ndarray]]]) -> None:
    """Writes a PNG of panels, two a row: for each label, the share of its samples up to x.

    Labels have the same colour in all panels; those without samples have no line.
    """
    labels = list(dict.fromkeys(label for _, lines in panels for label in lines))
    figure, axes = _new_figure(-(-len(panels) // 2), 2)
    for plot, (axis, lines) in zip(axes, panels):
        for label, values in lines.items():
            if len(values):
                shares = 100 * np.arange(1, len(values) + 1) / len(values)
                x = np.concatenate([[axis.low], np.sort(values), [axis.high]])
                y = np.concatenate([[100 * np.mean(values < axis.low)], shares, [100]])
                plot.step(x, y, color=f"C{labels.index(label)}", label=label, where="post")
                plot.legend()
        plot.set(xlabel=axis.title, ylabel="% of samples", ylim=(0, 100))
        plot.set(xscale="log" if axis.logarithmic else "linear", xlim=(axis.low, axis.high))
    _save(figure, path)


def plot_lines(path: Path, panels: list[tuple[str, str, dict[str, Points]]], caption: str) -> None:
    """Writes a PNG with a panel for each (title, name of the x axis, {label: [(x, y), …]}).

    y begins at 0. Labels have the same colour in all panels. The caption stands below.
    """
    labels = list(dict.fromkeys(label for _, _, lines in panels for label in lines))
    figure, axes = _new_figure(1, max(1, len(panels)))
    for plot, (title, x_name, lines) in zip(axes, panels):
        for label, points in lines.items():
            plot.plot(*zip(*points), marker="o", color=f"C{labels.index(label)}", label=label)
        plot.set(title=title, xlabel=x_name)
        plot.set_ylim(bottom=0)
        plot.legend(loc="lower right")
    figure.supxlabel(caption, fontsize="small")
    _save(figure, path)


def plot_log(path: Path, lines: dict[str, Points], x_name: str, y_name: str) -> None:
    """Writes a PNG of one panel with both axes logarithmic, a line for each label."""
    figure, (plot,) = _new_figure(1, 1)
    for label, points in lines.items():
        plot.plot(*zip(*points), marker="o", label=label)
    plot.set(xlabel=x_name, ylabel=y_name, xscale="log", yscale="log")
    plot.legend(fontsize="x-small")
    _save(figure, path)


def _new_figure(rows: int, columns: int):
    """A matplotlib Figure, drawn by Agg, and its axes in order."""
    from matplotlib.figure import Figure  # here, as few commands plot

    size = (columns * PANEL[0], rows * PANEL[1])
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for plot in axes:
        plot.grid(alpha=0.4)
    return figure, axes


def _save(figure, path: Path) -> None:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    write_bytes(path, file.getvalue())


def tile(clip: Clip, width: int = 200, points: int = 48, trail: int = 8) -> np.ndarray:
    """H 2*width 3 uint8: the frames at one and two thirds of a clip, with trails of some points."""
    _, _, clip_height, clip_width = clip.video.shape
    height = round(clip_height * width / clip_width)
    frames = clip.valid.any(1).nonzero()[:, 0].tolist()
    chosen = np.unique(np.linspace(0, clip.tracks.shape[1] - 1, points).round().astype(int))
    scale = torch.tensor([(width - 1) / (clip_width - 1), (height - 1) / (clip_height - 1)])
    tracks, visible = clip.tracks[:, chosen] * scale, clip.visible[:, chosen]
    tracks[~clip.valid[:, chosen]] = torch.nan  # not drawn
    pictures = []
    for t in (frames[len(frames) // 3], frames[2 * len(frames) // 3]):
        frame = Image.fromarray(clip.video[t : t + 1][0].permute(1, 2, 0).numpy())
        small = np.array(frame.resize((width, height), Image.Resampling.LANCZOS))
        small = torch.from_numpy(small).permute(2, 0, 1)[None]
        drawn = render_tracks(small, tracks, visible, start=t, trail=trail)[0]
        pictures.append(drawn.permute(1, 2, 0).numpy())
    return np.concatenate(pictures, axis=1)


def sheet(tiles: list[np.ndarray], columns: int = 4, rim: int = 4) -> Image.Image:
    """Tiles (H W 3 uint8, of any sizes) row by row in one picture, white between them."""
    height, width = (max(one.shape[side] for one in tiles) + rim for side in (0, 1))
    rows = -(-len(tiles) // columns)
    size = min(columns, len(tiles)) * width - rim, rows * height - rim
    picture = Image.new("RGB", size, "white")
    for number, one in enumerate(tiles):
        corner = number % columns * width, number // columns * height
        picture.paste(Image.fromarray(one), corner)
    return picture


def encode_jpg(picture: Image.Image, most: int = 600_000) -> bytes:
    """The picture as JPEG of the best quality with fewer than `most` bytes; ValueError: none."""
    for quality in range(92, 20, -4):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() < most:
            return file.getvalue()
    raise ValueError(
        f"a picture of {picture.width}x{picture.height} does not fit into {most} bytes: "
        "make it smaller"
    )
