"""Evaluate a tracker: python evaluate.py benchmark=badja benchmark.root=DIR tracker=static out=DIR

Prints a row per video and the mean, and writes DIR/results.json. Settings: configs/evaluate.yaml.
A table or figure of the paper: python evaluate.py table=2 datasets=DIR (configs/tables, figures).
The same command resumes. Processes share the videos: torchrun --nproc-per-node 2 evaluate.py …
"""

# ruff: noqa: E402 - words are read before PyTorch is imported
import os
import sys
from pathlib import Path

CONFIGS = Path(__file__).parent / "configs"
# Before PyTorch is loaded: docs/speed.md, "Beside other work".
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
if __name__ == "__main__":
    from cotracker.config.entry import begin

    CHOSEN = begin(CONFIGS, "evaluate")

from collections.abc import Callable

import hydra
import torch
from omegaconf import DictConfig

from cotracker import checks
from cotracker.benchmarks import results
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.breakdown import NEAR
from cotracker.benchmarks.failures import render_failures
from cotracker.benchmarks.paper import suite
from cotracker.benchmarks.rows import RowStore
from cotracker.benchmarks.run import Row, evaluate, merge_ranks, metric_keys, unscored
from cotracker.config.entry import end_in_a_sentence
from cotracker.config.instantiate import build_benchmark, instantiate
from cotracker.files import write_json
from cotracker.profiling.machine import peak_memory, reset_peak_memory
from cotracker.trackers.tracker import Tracker
from cotracker.training.distributed import Group, join_group, local_rank
from cotracker.training.precision import allow_tf32
from cotracker.visualize import write_png

DAY = 24 * 60  # minutes that a rank waits for the others


@hydra.main(config_path="configs", config_name="evaluate", version_base=None)
def main(config: DictConfig) -> None:
    """Evaluates one tracker; exits with 2 and one sentence where it cannot."""
    run_or_exit(lambda group: evaluate_one(config, group))


def main_suite(name: str, overrides: list[str]) -> None:
    """Evaluates all of a table or figure; exits with 1 where some of it was not available."""
    config = suite.load(CONFIGS, name, overrides)

    def work(group: Group) -> int:
        code = suite.run(CONFIGS, config, lambda one, label: evaluate_one(one, group, label))
        return code if group.is_main else 0  # torchrun would end rank 0, which may still write

    code = run_or_exit(work)
    if code:
        sys.exit(code)


def run_or_exit(work: Callable[[Group], object]) -> object:
    """work(the group of processes); exits with 2 and one sentence for a known error.

    HYDRA_FULL_ERROR=1 shows the traceback.
    """
    stopped = "interrupted; rows of finished videos are kept: run the same command again to resume"
    with end_in_a_sentence("evaluate.py", stopped):
        if torch.cuda.is_available():
            torch.cuda.set_device(local_rank() % torch.cuda.device_count())
        group = join_group(torch.device("cpu"), DAY)
        value = work(group)
        group.destroy()
        return value


def evaluate_one(config: DictConfig, group: Group, label: dict | None = None) -> dict | None:
    """The results.json written, for one tracker on one benchmark; None on ranks but 0.

    label: {suite, row, column} of a table, kept in the result.
    """
    checks.whole("pictures", config.pictures, 0)
    allow_tf32(False)  # a GPU's convolutions would round to 10 bits
    try:
        benchmark = build_benchmark(config.benchmark, limit=config.limit)
        tracker = instantiate(config.tracker, "tracker")
        if not isinstance(tracker, Tracker):
            raise ValueError(
                f"tracker={config.tracker.name} is a {type(tracker).__name__}: it must be a "
                "cotracker.trackers.tracker.Tracker with forward(video, queries)"
            )
    except (ValueError, OSError) as error:
        raise suite.Unavailable(str(error)) from error
    heading = results.make_heading(config.tracker.name, tracker, benchmark)
    store = RowStore(results.prepare_folder(config.out, heading), results.identity(heading))
    reset_peak_memory(tracker.device)
    rows, broken = evaluate_shared(tracker, benchmark, store, group)
    if not rows:
        reasons = [one["reason"] for one in broken] or ["there is none"]
        raise suite.Unavailable(f"no video of {benchmark.name} can be measured: {reasons[0]}")
    if not group.is_main:
        return None
    record = results.make_record(heading, benchmark, rows, broken)
    record |= {"device": describe_device(tracker), "measured_by": store.commits(rows)}
    record["gigabytes"] = round(peak_memory(tracker.device) / 1e9, 3)
    if label:
        record["label"] = label
    print_summary(rows, record)
    path = results.write(config.out, record)
    if config.pictures:
        write_failures(tracker, benchmark, rows, config.pictures, Path(config.out) / "worst")
    print(f"wrote {path}")
    return record


def evaluate_shared(
    tracker: Tracker, benchmark: Benchmark, store: RowStore, group: Group
) -> tuple[list[Row], list[dict]]:
    """All rows in the benchmark's order, and {name, reason} of what is broken, on every rank."""
    skipped: dict[int, dict] = {}

    def skip(index: int, error) -> None:
        skipped[index] = {"name": error.name, "reason": str(error)}

    rows = evaluate(
        tracker,
        benchmark,
        group.rank,
        group.world,
        progress=print_row,
        store=store,
        skip=skip,
    )
    parts = group.all_gather_object((rows, skipped))
    skipped = {index: one for _, part in parts for index, one in part.items()}
    rows = merge_ranks([part for part, _ in parts], len(benchmark.clips), set(skipped))
    broken = [{"name": "", "reason": reason} for reason in benchmark.broken]
    return rows, broken + [skipped[index] for index in sorted(skipped)]


def describe_device(tracker: Tracker) -> str:
    """What the tracker runs on, which its seconds depend on."""
    device = tracker.device
    threads = torch.get_num_threads()
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {threads} thread{'' if threads == 1 else 's'}"


def print_row(row: Row) -> None:
    """One line: name, metrics, seconds."""
    values = "  ".join(f"{key} {row[key]:6.2f}" for key in metric_keys([row]))
    print(f"{row['name']:<20} {values}  {row['seconds']:7.1f} s", flush=True)


def print_summary(rows: list[Row], record: dict) -> None:
    """The mean and its interval, the number of videos, and what the mean leaves out."""
    mean = {key: float("nan") if value is None else value for key, value in record["mean"].items()}
    print_row({"name": "mean", **mean, "seconds": record["seconds"]})
    if len(rows) > 1:
        spans = [(key, span) for key, span in record["interval"].items() if span is not None]
        spans = [f"{key} {low:.1f} to {high:.1f}" for key, (low, high) in spans[:3]]
        print(f"95 % intervals over videos: {', '.join(spans)}")
        print(f"worst videos: {', '.join(record['worst'])}")
    missing = f" (missing: {', '.join(record['missing'])})" if record["missing"] else ""
    print(f"found {record['found']} of {record['expected']} expected{missing}")
    left = record["expected"] - sum(map(len, (rows, record["missing"], record["broken"])))
    if left > 0:
        print(f"limit left out {left} that are there")
    for one in record["broken"]:
        print("broken: " + ": ".join(filter(None, (one["name"], one["reason"]))))
    if unscored(rows):
        print(f"left out of the mean, with nothing to count: {', '.join(unscored(rows))}")
    if rows and record["measured_by"] != [str(record["commit"])]:
        print(f"measured by other commits of this code too: {', '.join(record['measured_by'])}")
    print_breakdown(record.get("breakdown", {}))


def print_breakdown(breakdown: dict) -> None:
    """A table: count, median error and share of small errors in each bin."""
    for part, bins in breakdown.items():
        print(f"{part:<20}    count  median px  within {NEAR} px  (at 256x256, all videos pooled)")
        for name, values in bins.items():
            numbers = f"{values['count']:8d}"
            if values["count"]:
                numbers += f" {values['median']:10.2f} {values[f'within_{NEAR}']:10.1f} %"
            print(f"  {name:<18} {numbers}")


def write_failures(
    tracker: Tracker, benchmark: Benchmark, rows: list[Row], count: int, folder: Path
) -> None:
    """Writes <rank>_<video>.png of the worst videos, and points.json, which lists their points."""
    entries = []
    for name, picture, points in render_failures(tracker, benchmark, rows, count):
        file = f"{len(entries) + 1}_{suite.slug(name)[:80]}.png"
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / file, picture)
        entries.append({"picture": file, "video": name, "points": points})
    colours = "target green, prediction red, invisible rings"
    write_json(folder / "points.json", {"colours": colours, "pictures": entries})
    print(f"wrote {len(entries)} pictures to {folder}: {colours}")


if __name__ == "__main__":
    if CHOSEN != "evaluate":
        main_suite(CHOSEN, sys.argv[1:])
    else:
        main()
