"""Measure a tracker on a benchmark: python evaluate.py benchmark=badja benchmark.root=DIR tracker=static out=DIR

Prints a row per video and the mean, and writes DIR/results.json. Settings: configs/evaluate.yaml, or --help.
"""

import os
import sys
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue

from cotracker.benchmarks import results
from cotracker.benchmarks.breakdown import NEAR
from cotracker.benchmarks.run import Row, evaluate, mean, metric_keys, unscored
from cotracker.building import build_benchmark, made
from cotracker.overrides import refuse_misspelt

CONFIGS = Path(__file__).parent / "configs"


@hydra.main(config_path="configs", config_name="evaluate", version_base=None)
def main(config: DictConfig) -> None:
    """Exit code 0 and results.json, or 2 and one sentence (HYDRA_FULL_ERROR=1 shows where it came from)."""
    try:
        run(config)
    except MissingMandatoryValue as error:
        key = error.full_key
        sys.exit(_refused(f"{key} is missing: say {key}=…", error))
    except (ValueError, OSError) as error:
        sys.exit(_refused(str(error), error))


def run(config: DictConfig) -> Path:
    """The results.json written, for one tracker on one benchmark."""
    benchmark = build_benchmark(config.benchmark)
    tracker = made(config.tracker)
    heading = results.heading(config.tracker.name, tracker, benchmark)
    results.refuse_unlike(config.out, heading)
    begin = time.perf_counter()
    rows = evaluate(tracker, benchmark, progress=print_row)
    record = results.record(heading, benchmark, rows, time.perf_counter() - begin)
    print_end(rows, record)
    path = results.write(config.out, record)
    print(f"wrote {path}")
    return path


def print_row(row: Row) -> None:
    """One line of the table: name, metrics, seconds."""
    values = "  ".join(f"{key} {row[key]:6.2f}" for key in metric_keys([row]))
    print(f"{row['name']:<20} {values}  {row['seconds']:7.1f} s", flush=True)


def print_end(rows: list[Row], record: dict) -> None:
    """The mean, how many videos there were, and what was left out of the mean."""
    print_row({"name": "mean", **mean(rows), "seconds": record["seconds"]})
    missing = f" (missing: {', '.join(record['missing'])})" if record["missing"] else ""
    print(f"found {record['found']} of {record['expected']} expected{missing}")
    if unscored(rows):
        print(f"left out of the mean, as nothing is scored there: {', '.join(unscored(rows))}")
    print_breakdown(record.get("breakdown", {}))


def print_breakdown(breakdown: dict) -> None:
    """A small table: count, median error and share of near ones, in each bin."""
    for part, bins in breakdown.items():
        print(f"{part:<20}   places  median px  within {NEAR} px  (at 256x256, all videos together)")
        for name, values in bins.items():
            known = f"{values['median']:10.2f} {values[f'within_{NEAR}']:10.1f} %" if values["count"] else ""
            print(f"  {name:<18} {values['count']:8d} {known}")


def _refused(sentence: str, error: Exception) -> int:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    refuse_misspelt(CONFIGS, "evaluate", sys.argv[1:])
    main()
