"""What `cotracker bench` makes of its rows: a table, exponents, a plot, and a comparison."""

from pathlib import Path

import numpy as np

from cotracker.files import parse_json, write_json
from cotracker.visualize.plots import plot_log

FORMAT = 3  # of the JSON file; another number whenever a name in it changes
SETTING = (
    "kind model tracker points frames height width dtype threads device iters compiled cuda_graphs "
    "video points_at_once stage"
).split()


def format_table(rows: list[dict]) -> str:
    """One line a row: setting, seconds, memory, operations and their share of the matrix peak."""
    lines = [
        f"{'what':<20} {'points':>6} {'frames':>6} {'size':>9} {'dtype':>8} {'best s':>9} "
        f"{'median s':>9} {'CPU s':>9} {'frames/s':>8} {'GB':>5} {'GFLOP':>8} {'GFLOP/s':>8} "
        f"{'of peak':>13} {'load':>5}"
    ]
    for row in rows:
        share = f"{row['peak_gflops']:6.0f} ({row['of_peak']:4.0%})" if row["gflop"] else ""
        rate = f"{row['gflops']:8.1f}" if row["gflop"] else ""
        lines.append(
            f"{_label(row):<20} {row['points']:6d} {row['frames']:6d} "
            f"{row['height']:4d}x{row['width']:<4d} {row['dtype']:>8} {row['seconds']:9.4f} "
            f"{row['median']:9.4f} {row['cpu_seconds']:9.4f} {row['frames_per_second']:8.2f} "
            f"{row['gigabytes']:5.2f} {row['gflop']:8.1f} {rate:>8} {share:>13} {row['load']:5.1f}"
        )
    return "\n".join(lines)


def fit_exponents(rows: list[dict]) -> dict[str, dict[str, float]]:
    """{points or frames: {series: k}}: time ~ size^k in series that differ in it alone."""
    exponents = {}
    for by in ("points", "frames"):
        for name, pairs in group_series(rows, by).items():
            if len(pairs) > 1:
                size, seconds = np.log(pairs).T
                exponents.setdefault(by, {})[name] = float(np.polyfit(size, seconds, 1)[0])
    return exponents


def group_series(rows: list[dict], by: str) -> dict[str, list[tuple[float, float]]]:
    """{name: sorted (value of `by`, best seconds)} of whole runs that differ in `by` alone."""
    series = {}
    other = "frames" if by == "points" else "points"
    for row in rows:
        if "stage" not in row:
            size = f"{row['height']}x{row['width']}"
            parts = [_label(row), f"{row[other]} {other}", size, row["dtype"], row["machine"]]
            series.setdefault(", ".join(parts), {})[row[by]] = row["seconds"]
    return {name: sorted(pairs.items()) for name, pairs in series.items()}


def write(path: Path, record: dict) -> None:
    """Writes the record as JSON, with its format, atomically."""
    write_json(path, {"format": FORMAT} | record)


def read(path: Path) -> dict:
    """What `write` wrote; ValueError where the file holds something else."""
    try:
        record = parse_json(path.read_bytes())
        if record["format"] == FORMAT:
            return record
    except FileNotFoundError:
        raise ValueError(
            f"{path} does not exist: pass a file of `cotracker bench --json`"
        ) from None
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"{path} is not a file of `cotracker bench --json` of format {FORMAT}")


def format_comparison(old: dict, new: dict) -> str:
    """One line for each setting in both records: seconds, memory, shares, and their ratios."""
    before = {_setting(row): row for row in old["rows"]}
    pairs = [(before[_setting(row)], row) for row in new["rows"] if _setting(row) in before]
    if not pairs:
        raise ValueError(
            "the two files have no setting in common: measure the same points, frames, sizes "
            "and dtypes"
        )
    lines = [
        f"{'what':<20} {'points':>6} {'frames':>6} {'dtype':>8}  "
        "seconds: old, new, ratio   GB: old, new, ratio   of peak: old, new"
    ]
    for a, b in pairs:
        lines.append(
            f"{_label(b):<20} {b['points']:6d} {b['frames']:6d} {b['dtype']:>8} "
            f"{a['seconds']:9.4f} {b['seconds']:9.4f} {b['seconds'] / a['seconds']:5.2f}  "
            f"{a['gigabytes']:6.2f} {b['gigabytes']:6.2f} {b['gigabytes'] / a['gigabytes']:5.2f}"
            f"    {a['of_peak']:4.0%} {b['of_peak']:4.0%}"
        )
    machines = {row["machine"] for pair in pairs for row in pair}
    if len(machines) > 1:
        lines.append(f"these are of different machines: {', '.join(sorted(machines))}")
    return "\n".join(lines)


def plot(path: Path, rows: list[dict]) -> None:
    """Writes a PNG of seconds against points (figure 8), a line a series."""
    series = group_series(rows, "points")
    if not series:
        raise ValueError("there is no whole run to plot: leave out --plot, or --kind stages")
    plot_log(path, series, "points", "seconds")


def _setting(row: dict) -> tuple:
    """What makes two rows measurements of the same setting."""
    return tuple(row.get(name) for name in SETTING)


def _label(row: dict) -> str:
    if "stage" in row:
        return row["stage"]
    compiled = " compiled" if row["compiled"] else ""
    name = row["kind"] if row["tracker"] == "cotracker" else row["tracker"]
    return name + compiled + (" graphs" if row["cuda_graphs"] else "")
