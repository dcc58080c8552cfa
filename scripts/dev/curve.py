"""Learning curves of runs in blocks of steps, and whether a run repeats a logged one within its noise.

python scripts/dev/curve.py RUN RUN … --csv OUT.csv               writes the curves of runs' folders (their log.jsonl)
python scripts/dev/curve.py RUN --against docs/curves/NAME.csv    exit code 1 where the run leaves the logged curves
"""

import argparse
import csv
import json
import math
import sys
from pathlib import Path
from statistics import fmean, stdev

MEASURES = ("loss", "error", "matching", "visibility")
BLOCK = 50  # steps averaged to one number
SPREAD = 4.0  # standard errors that two curves may be apart: of 6 blocks of 4 measures, one run in 650 does by chance


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, 1 where a run is not like the logged curves, or 2 and one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--csv", type=Path, help="write the curves here")
    parser.add_argument("--against", type=Path, help="curves that --csv wrote")
    arguments = parser.parse_args(argv)
    try:
        curves = {run.name: blocks(read_log(run), arguments.steps) for run in arguments.runs}
        logged = read_csv(arguments.against) if arguments.against else {}
        if arguments.csv:
            write_csv(arguments.csv, curves)
    except (OSError, ValueError) as error:
        print(f"curve.py: {error}", file=sys.stderr)
        return 2
    alike = True
    for name, curve in curves.items():
        for row in curve:
            far = (
                []
                if not logged
                else leaving(row, [block for one in logged.values() for block in one])
            )
            values = "  ".join(
                f"{key} {row[key]:.3f} +- {row[f'{key}_se']:.3f}" for key in MEASURES
            )
            print(
                f"{name} steps {row['first']}-{row['last']}  {values}{'  LEAVES: ' + ', '.join(far) if far else ''}"
            )
            alike = alike and not far
    if logged:
        print(
            "within the noise of the logged curves"
            if alike
            else "not within the noise of the logged curves"
        )
    return 0 if alike else 1


def read_log(run: Path) -> list[dict]:
    """The lines of a run's log.jsonl; ValueError where a measure is missing."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    if not lines or any(key not in lines[0] for key in MEASURES):
        raise ValueError(
            f"{run}/log.jsonl does not hold {', '.join(MEASURES)}: it is no such run's log"
        )
    return lines


def blocks(lines: list[dict], steps: int) -> list[dict]:
    """A row for each block of steps up to `steps`: first, last, each measure's mean and its standard error (_se)."""
    whole = min(len(lines), steps) // BLOCK
    if not whole:
        raise ValueError(
            f"the run has {len(lines)} steps, and a block is {BLOCK}: train it further"
        )
    rows = []
    for start in range(0, whole * BLOCK, BLOCK):
        part, row = lines[start : start + BLOCK], {"first": start + 1, "last": start + BLOCK}
        for key in MEASURES:
            values = [line[key] for line in part]
            row |= {key: fmean(values), f"{key}_se": stdev(values) / math.sqrt(BLOCK)}
        rows.append(row)
    return rows


def leaving(row: dict, logged: list[dict]) -> list[str]:
    """The measures of a block that are further than SPREAD standard errors from every logged curve."""
    same = [block for block in logged if block["first"] == row["first"]]
    if not same:
        raise ValueError(f"the logged curves have no block that begins at step {row['first']}")
    apart = {
        key: min(
            abs(row[key] - other[key]) / math.hypot(row[f"{key}_se"], other[f"{key}_se"], 1e-9)
            for other in same
        )
        for key in MEASURES
    }
    return [key for key, distance in apart.items() if distance > SPREAD]


def write_csv(path: Path, curves: dict[str, list[dict]]) -> None:
    """Writes the curves at `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, ["run", "first", "last", *(k for m in MEASURES for k in (m, f"{m}_se"))]
        )
        writer.writeheader()
        for name, curve in curves.items():
            writer.writerows(
                {"run": name} | {key: round(value, 5) for key, value in row.items()}
                for row in curve
            )
    beside.replace(path)


def read_csv(path: Path) -> dict[str, list[dict]]:
    """run -> its rows; ValueError where `path` holds no curves."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"run", "first", *MEASURES} <= rows[0].keys():
        raise ValueError(f"{path} does not hold curves that curve.py wrote")
    curves: dict[str, list[dict]] = {}
    for row in rows:
        curves.setdefault(row.pop("run"), []).append(
            {key: float(value) for key, value in row.items()}
        )
    return curves


if __name__ == "__main__":
    sys.exit(main())
