"""Learning curves of runs in blocks of steps, and whether a run repeats a logged one.

python scripts/dev/curve.py RUN RUN … --csv OUT.csv               writes the curves of runs' folders
python scripts/dev/curve.py RUN --against docs/curves/NAME.csv    exits with 1 where a run differs
"""

import argparse
import csv
import io
import json
import math
import sys
from pathlib import Path
from statistics import fmean, stdev

from refusal import refuse_in_a_sentence

from cotracker.files import write_text

MEASURES = ("loss", "error", "matching", "visibility")
BLOCK = 50  # steps averaged to one number
SPREAD = 4.0  # standard errors between two curves; of 24 pairs, one in 650 runs is beyond it


@refuse_in_a_sentence
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
    curves = {run.name: average_blocks(read_log(run), arguments.steps) for run in arguments.runs}
    logged = read_csv(arguments.against) if arguments.against else {}
    if arguments.csv:
        write_csv(arguments.csv, curves)
    alike = True
    blocks_logged = [block for curve in logged.values() for block in curve]
    for name, curve in curves.items():
        for row in curve:
            far = find_differences(row, blocks_logged) if logged else []
            values = [f"{key} {row[key]:.3f} +- {row[f'{key}_se']:.3f}" for key in MEASURES]
            differs = f"  DIFFERS: {', '.join(far)}" if far else ""
            print(f"{name} steps {row['first']}-{row['last']}  {'  '.join(values)}{differs}")
            alike = alike and not far
    if logged:
        print(f"{'' if alike else 'not '}within the noise of the logged curves")
    return 0 if alike else 1


def read_log(run: Path) -> list[dict]:
    """The lines of a run's log.jsonl; ValueError where a measure is missing."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    if not lines or any(key not in lines[0] for key in MEASURES):
        raise ValueError(
            f"{run}/log.jsonl does not hold {', '.join(MEASURES)}: it is no such run's log"
        )
    return lines


def average_blocks(lines: list[dict], steps: int) -> list[dict]:
    """A row a block of steps: first, last, each measure's mean and its standard error (_se)."""
    whole = min(len(lines), steps) // BLOCK
    if not whole:
        raise ValueError(
            f"the run has {len(lines)} steps, and a block is {BLOCK}: train it further"
        )
    rows = []
    for start in range(0, whole * BLOCK, BLOCK):
        part = lines[start : start + BLOCK]
        row = {"first": start + 1, "last": start + BLOCK}
        for key in MEASURES:
            values = [line[key] for line in part]
            row |= {key: fmean(values), f"{key}_se": stdev(values) / math.sqrt(BLOCK)}
        rows.append(row)
    return rows


def find_differences(row: dict, logged: list[dict]) -> list[str]:
    """The measures of a block beyond SPREAD standard errors of every logged curve."""
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
    """Writes the curves at `path`, atomically."""
    columns = [column for key in MEASURES for column in (key, f"{key}_se")]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["run", "first", "last", *columns], lineterminator="\n")
    writer.writeheader()
    for name, curve in curves.items():
        for row in curve:
            writer.writerow({"run": name} | {key: round(value, 5) for key, value in row.items()})
    write_text(path, text.getvalue())


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
