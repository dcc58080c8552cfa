"""What `cotracker bench` shows of its rows: a table, exponents, a figure, and two files side by side."""

import io
import json
import math
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cotracker.visualize.plots import BOX, COLOURS, FINE, HEIGHT, WIDTH, Axis

PUBLISHED = {
    64 + 9: (22, 1.9),
    256: (42, 3.0),
    1024: (177, 9.4),
}  # points: s, GB of v1's code; of the issue, see below
PUBLISHED_RUN = dict(kind="joint", model="full", frames=24, height=384, width=512, dtype="float32", threads=2,
                     device="cpu", iters=6, compiled=False, video=None)  # fmt: skip
NAMES = ("kind", "model", "points", "frames", "height", "width", "dtype", "threads", "device", "iters",
         "compiled", "cuda_graphs", "video", "points_at_once", "stage")  # fmt: skip


def same(row: dict) -> tuple:
    """What makes two rows measurements of the same thing."""
    return tuple(row.get(name) or None for name in NAMES)  # an older file lacks what was off then


def table(rows: list[dict]) -> str:
    """One line a row: the setting, best and median seconds, memory, operations and their share of the peak."""
    lines = [
        f"{'what':<20} {'points':>6} {'frames':>6} {'size':>9} {'dtype':>8} {'best s':>9} {'median s':>9} {'CPU s':>9} "
        f"{'frames/s':>8} {'GB':>5} {'GFLOP':>8} {'GFLOP/s':>8} {'of peak':>13} {'load':>5}"
    ]
    for row in rows:
        share = f"{row['peak_gflops']:6.0f} ({row['of_peak']:4.0%})" if row["gflop"] else ""
        rate = f"{row['gflops']:8.1f}" if row["gflop"] else ""
        lines.append(
            f"{_what(row):<20} {row['points']:6d} {row['frames']:6d} {row['height']:4d}x{row['width']:<4d} "
            f"{row['dtype']:>8} {row['seconds']:9.4f} {row['median']:9.4f} {row['cpu_seconds']:9.4f} "
            f"{row['frames_per_second']:8.2f} {row['gigabytes']:5.2f} {row['gflop']:8.1f} {rate:>8} {share:>13} "
            f"{row['load']:5.1f}{_published(row)}"
        )
    return "\n".join(lines)


def exponents(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Of points and of frames: for each series that differs in it alone, the k of time ~ size^k fitted to it."""
    found = {}
    for by in ("points", "frames"):
        for name, pairs in series(rows, by).items():
            if len(pairs) > 1:
                size, seconds = (np.log([pair[side] for pair in pairs]) for side in (0, 1))
                found.setdefault(by, {})[name] = float(np.polyfit(size, seconds, 1)[0])
    return found


def series(rows: list[dict], by: str) -> dict[str, list[tuple[float, float]]]:
    """Sorted (value of `by`, best seconds) of whole runs, for each combination of the rest, by a short name."""
    found = {}
    for row in rows:
        if "stage" not in row:
            other = "frames" if by == "points" else "points"
            name = f"{_what(row)}, {row[other]} {other}, {row['height']}x{row['width']}, {row['dtype']}"
            found.setdefault(f"{name}, {row['machine']}", {})[row[by]] = row["seconds"]
    return {name: sorted(pairs.items()) for name, pairs in found.items()}


def write(path: Path, held: dict) -> None:
    """Writes JSON, whole or not at all."""
    _replace(path, (json.dumps(held, indent=1) + "\n").encode())


def read(path: Path) -> dict:
    """What `write` wrote; ValueError where the file is no such."""
    try:
        held = json.loads(path.read_text())
        for row in held["rows"]:
            row["seconds"], row["gigabytes"], row["points"]
        return held
    except FileNotFoundError:
        raise ValueError(
            f"{path} does not exist: give a file that `cotracker bench --json` wrote"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is not a result of `cotracker bench --json`: give one") from None


def compared(old: dict, new: dict) -> str:
    """A line for each row that both hold: seconds, memory and share of the peak of either, and their ratios."""
    before = {same(row): row for row in old["rows"]}
    both = [(before[same(row)], row) for row in new["rows"] if same(row) in before]
    if not both:
        raise ValueError(
            "the two files have no setting in common: measure the same points, frames, sizes and dtypes"
        )
    lines = [f"{'what':<20} {'points':>6} {'frames':>6} {'dtype':>8}  seconds: old, new, ratio   GB: old, new, ratio   "
             "of peak: old, new"]  # fmt: skip
    for a, b in both:
        lines.append(
            f"{_what(b):<20} {b['points']:6d} {b['frames']:6d} {b['dtype']:>8} "
            f"{a['seconds']:9.4f} {b['seconds']:9.4f} {b['seconds'] / a['seconds']:5.2f}  "
            f"{a['gigabytes']:6.2f} {b['gigabytes']:6.2f} {b['gigabytes'] / a['gigabytes']:5.2f}    "
            f"{a['of_peak']:4.0%} {b['of_peak']:4.0%}"
        )
    machines = {row["machine"] for pair in both for row in pair}
    if len(machines) > 1:
        lines.append(f"these are of different machines: {', '.join(sorted(machines))}")
    return "\n".join(lines)


def draw(path: Path, rows: list[dict]) -> None:
    """Writes a picture of time against points (figure 8), a line a series, both axes logarithmic."""
    lines = series(rows, "points")
    xs, ys = ([pair[side] for pairs in lines.values() for pair in pairs] for side in (0, 1))
    if not xs:
        raise ValueError(
            "there is no whole run to draw: leave out --plot, or measure another kind than stages"
        )
    x, y = _axis("points", xs), _axis("seconds", ys)
    picture = Image.new("RGB", (FINE * WIDTH, FINE * HEIGHT), "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(13 * FINE)
    pen.text((BOX[0], 8 * FINE), "seconds against points", "#222222", font)
    for value in x.ticks():
        pen.line((x.x(value), BOX[1], x.x(value), BOX[3]), "#dddddd", FINE)
        pen.text((x.x(value), BOX[3] + 6 * FINE), f"{value:g}", "#444444", font, anchor="ma")
    for value in y.ticks():
        pen.line((BOX[0], _height(y, value), BOX[2], _height(y, value)), "#dddddd", FINE)
        pen.text((BOX[0] - 8 * FINE, _height(y, value)), f"{value:g}", "#444444", font, anchor="rm")
    for number, (name, pairs) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [(x.x(points), _height(y, seconds)) for points, seconds in pairs]
        pen.line(places, colour, 2 * FINE, joint="curve")
        for left, top in places:
            pen.ellipse((left - 4 * FINE, top - 4 * FINE, left + 4 * FINE, top + 4 * FINE), colour)
        pen.text(
            (BOX[0] + 8 * FINE, BOX[1] + (6 + 16 * number) * FINE),
            name,
            colour,
            ImageFont.load_default(11 * FINE),
        )
    small = picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    drawn = io.BytesIO()
    small.save(drawn, format="PNG")
    _replace(path, drawn.getvalue())


def _axis(title: str, values: list[float]) -> Axis:
    return Axis(title, min(values) / 1.3, max(values) * 1.3, logarithmic=True)


def _height(axis: Axis, value: float) -> float:
    share = math.log(value / axis.low) / math.log(axis.high / axis.low)
    return BOX[3] - share * (BOX[3] - BOX[1])


def _what(row: dict) -> str:
    ways = "".join(
        f" {word}"
        for name, word in (("compiled", "compiled"), ("cuda_graphs", "graphs"))
        if row.get(name)
    )
    return row.get("stage") or row["kind"] + ways


def _published(row: dict) -> str:
    """How a row stands to the published code's number, where there is one."""
    if row["points"] not in PUBLISHED or any(
        row[name] != value for name, value in PUBLISHED_RUN.items()
    ):
        return ""
    seconds, gigabytes = PUBLISHED[row["points"]]
    return f"  of published: {row['seconds'] / seconds:.2f} s/s, {row['gigabytes'] / gigabytes:.2f} GB/GB"


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
