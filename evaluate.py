"""Measure a tracker on a benchmark: python evaluate.py benchmark=badja benchmark.root=DIR tracker=static out=DIR

Prints a row per video and the mean, and writes DIR/results.json. Settings: configs/evaluate.yaml, or --help.
A table or figure of the paper: python evaluate.py experiment=table2 datasets=DIR (settings: configs/suites/).
Stopped at any moment, the same command goes on from the videos it has. Processes share videos: workers=2, or torchrun.
"""

import os
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

os.environ.setdefault(
    "GOMP_SPINCOUNT", "3000"
)  # before PyTorch is loaded: docs/speed.md, beside other work

import hydra
import torch
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from cotracker.benchmarks import results
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.breakdown import NEAR
from cotracker.benchmarks.failures import pictures
from cotracker.benchmarks.paper import suite
from cotracker.benchmarks.rows import Rows, collected
from cotracker.benchmarks.run import Row, evaluate, metric_keys, unscored
from cotracker.benchmarks.workers import Helpers
from cotracker.config.instantiate import build_benchmark, instantiate
from cotracker.config.overrides import refuse_misspelt
from cotracker.files import write_json
from cotracker.trackers.tracker import Tracker
from cotracker.training.precision import allow_tf32
from cotracker.visualize import write_png

CONFIGS = Path(__file__).parent / "configs"


@hydra.main(config_path="configs", config_name="evaluate", version_base=None)
def main(config: DictConfig) -> None:
    """Exit code 0 and results.json, or 2 and one sentence (HYDRA_FULL_ERROR=1 shows where it came from)."""
    guarded(lambda helpers: run(config, helpers) and 0, config)


def run_suite(arguments: list[str]) -> None:
    """All runs of a table or figure: exit code 0; 1 where some could not be, and the rest is written; or 2."""
    config = suite.config(CONFIGS, arguments)

    def work(helpers: Helpers) -> int:
        code = suite.run(CONFIGS, config, lambda one, label: run(one, helpers, label))
        return (
            code if helpers.first else 0
        )  # what is missing the first process says; a helper's 1 would end it

    guarded(work, config)


def guarded(work: Callable[[Helpers], int | None], config: DictConfig) -> None:
    """Leaves with the work's exit code, or with 2 and one sentence."""
    try:
        with Helpers(config.workers, [__file__, *sys.argv[1:]]) as helpers:
            code = work(helpers)
    except MissingMandatoryValue as error:
        sys.exit(_refused(f"{error.full_key} is missing: say {error.full_key}=…", error))
    except (ValueError, OSError, OmegaConfBaseException) as error:
        sys.exit(_refused(str(error).splitlines()[0], error))
    if code:
        sys.exit(code)


def run(config: DictConfig, helpers: Helpers, label: dict | None = None) -> dict | None:
    """The results.json written, for one tracker on one benchmark; None in all processes but the first.

    label: what a table calls this result, kept in it.
    """
    if type(config.pictures) is not int or config.pictures < 0:
        raise ValueError(
            f"pictures must be a whole number of videos, 0 or more, not {config.pictures}"
        )
    if type(config.wait_minutes) not in (int, float) or config.wait_minutes < 0:
        raise ValueError(f"wait_minutes must be a number, 0 or more, not {config.wait_minutes}")
    allow_tf32(
        False
    )  # a GPU's convolutions would round to 10 bits, and its numbers be others than a CPU's
    try:
        benchmark, tracker = (
            build_benchmark(config.benchmark, limit=config.limit),
            instantiate(config.tracker, "tracker"),
        )
    except (ValueError, OSError) as error:
        raise suite.Unavailable(str(error)) from error
    heading = results.heading(config.tracker.name, tracker, benchmark)
    rows = Rows(results.begin(config.out, heading), results.identity(heading))
    rank, world = helpers.place()
    evaluate(tracker, benchmark, rank, world, helpers.told(print_row), rows)
    if rank:
        return None
    found, broken = collected(benchmark, rows, config.wait_minutes, helpers.check)
    record = results.record(heading, benchmark, found, broken)
    record |= {"device": device(tracker), "measured_by": rows.commits(found)} | (
        {"label": label} if label else {}
    )
    print_end(found, record)
    path = results.write(config.out, record)
    if config.pictures:
        draw_worst(tracker, benchmark, found, config.pictures, Path(config.out) / "worst")
    print(f"wrote {path}")
    return record


def device(tracker: Tracker) -> str:
    """What the tracker runs on, which its seconds depend on."""
    on = next(chain(tracker.parameters(), tracker.buffers()), torch.empty(0)).device
    threads = torch.get_num_threads()
    own = f"{on.type}, {threads} thread{'' if threads == 1 else 's'}"
    return torch.cuda.get_device_name(on) if on.type == "cuda" else own


def print_row(row: Row) -> None:
    """One line of the table: name, metrics, seconds."""
    values = "  ".join(f"{key} {row[key]:6.2f}" for key in metric_keys([row]))
    print(f"{row['name']:<20} {values}  {row['seconds']:7.1f} s", flush=True)


def print_end(rows: list[Row], record: dict) -> None:
    """The mean and its interval, how many videos there were, and what was left out of the mean."""
    mean = {key: float("nan") if value is None else value for key, value in record["mean"].items()}
    print_row({"name": "mean", **mean, "seconds": record["seconds"]})
    if len(rows) > 1:
        spans = [
            f"{key} {low:.1f} to {high:.1f}" for key, (low, high) in _known(record["interval"])[:3]
        ]
        print(f"95 % intervals over videos: {', '.join(spans)}")
        print(f"worst videos: {', '.join(record['worst'])}")
    missing = f" (missing: {', '.join(record['missing'])})" if record["missing"] else ""
    print(f"found {record['found']} of {record['expected']} expected{missing}")
    for one in record["broken"]:
        print(
            f"broken: {one['name']}: {one['reason']}" if one["name"] else f"broken: {one['reason']}"
        )
    if unscored(rows):
        print(f"left out of the mean, as nothing is scored there: {', '.join(unscored(rows))}")
    if [str(record["commit"])] != record["measured_by"] and rows:
        print(
            f"some videos were measured by other commits of this code: {', '.join(record['measured_by'])}"
        )
    print_breakdown(record.get("breakdown", {}))


def print_breakdown(breakdown: dict) -> None:
    """A small table: count, median error and share of near ones, in each bin."""
    for part, bins in breakdown.items():
        print(
            f"{part:<20}   places  median px  within {NEAR} px  (at 256x256, all videos together)"
        )
        for name, values in bins.items():
            known = (
                f"{values['median']:10.2f} {values[f'within_{NEAR}']:10.1f} %"
                if values["count"]
                else ""
            )
            print(f"  {name:<18} {values['count']:8d} {known}")


def draw_worst(
    tracker: Tracker, benchmark: Benchmark, rows: list[Row], count: int, folder: Path
) -> None:
    """Writes <place>_<video>.png of the worst videos' worst tracks, and points.json, which says what is drawn."""
    drawn = []
    for place, (name, picture, points) in enumerate(
        pictures(tracker, benchmark, rows, count), start=1
    ):
        plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)[
            :80
        ]
        file = f"{place}_{plain}.png"
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / file, picture)
        drawn.append({"picture": file, "video": name, "points": points})
    write_json(
        folder / "points.json", {"colours": "truth green, answer red, rings unseen", "drawn": drawn}
    )
    print(f"wrote {len(drawn)} pictures to {folder}: truth green, answer red")


def _known(intervals: dict) -> list[tuple[str, list[float]]]:
    return [(key, span) for key, span in intervals.items() if span is not None]


def _refused(sentence: str, error: Exception) -> int:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    words = sys.argv[1:]
    if suite.asked(words):
        refuse_misspelt(CONFIGS / "suites", "suite", words)
        run_suite(words)
    else:
        refuse_misspelt(CONFIGS, "evaluate", words)
        main()
