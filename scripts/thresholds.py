"""A benchmark's metrics at several thresholds of visibility, from one run of the tracker: to choose one by.

python scripts/thresholds.py benchmark=scenes3d_val benchmark.clips.seed=1 benchmark.clips.count=12 tracker=cotracker …
Settings are those of evaluate.py. Choose on clips that are neither the benchmark's own nor trained on: another seed.
"""

import sys
from dataclasses import replace

import hydra
import torch
from gallery import composed

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.run import answers, facing, read
from cotracker.building import build_benchmark, made
from cotracker.trackers.tracker import Tracker

THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7)


def main(settings: list[str]) -> int:
    """Exit code 0, or 2 and one sentence."""
    try:
        config = composed(settings)
        rows = metrics_at(made(config.tracker), build_benchmark(config.benchmark))
    except (ValueError, OSError, hydra.errors.HydraException) as error:
        print(f"thresholds.py: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    for threshold, row in rows.items():
        print(f"{threshold:5.2f}  " + "  ".join(f"{key} {value:6.2f}" for key, value in row.items() if "_" not in key))
    return 0


def metrics_at(tracker: Tracker, benchmark: Benchmark) -> dict[float, dict[str, float]]:
    """threshold -> each metric's mean over the videos."""
    device = next((p.device for p in tracker.parameters()), torch.device("cpu"))
    both, found = facing(tracker, benchmark).eval(), {threshold: [] for threshold in THRESHOLDS}
    for index in range(len(benchmark.clips)):
        clip = read(benchmark, index)
        questions, tracks = answers(both, benchmark, clip, device)
        for threshold, rows in found.items():
            visible = tracks.visibility > threshold
            rows.append(benchmark.metric(replace(tracks, visible=visible), questions, clip))
    return {t: {key: sum(r[key] for r in rows) / len(rows) for key in rows[0]} for t, rows in found.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
