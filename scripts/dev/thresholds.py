"""A benchmark's metrics at several thresholds of visibility, to choose one by; and its accuracy by the tracks' error.

python scripts/dev/thresholds.py benchmark=scenes3d_val benchmark.clips.seed=1 benchmark.clips.count=12 tracker=cotracker …
Settings are those of evaluate.py; the tracker runs once. Choose on clips that are neither the benchmark's own nor
trained on: another seed.
"""

import sys
from dataclasses import replace

import hydra
import torch
from gallery import composed
from torch import Tensor

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.run import answers, read, with_required_direction
from cotracker.config.instantiate import build_benchmark, instantiate
from cotracker.trackers.tracker import Tracker
from cotracker.types import EvalTargets, Tracks

ERRORS = (0, 4, 16)  # pixels of a frame resized to 256x256: right, off, lost
THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7)


def main(settings: list[str]) -> int:
    """Exit code 0, or 2 and one sentence."""
    try:
        config = composed(settings)
        rows, shares = measured(
            instantiate(config.tracker, "tracker"), build_benchmark(config.benchmark)
        )
    except (ValueError, OSError, hydra.errors.HydraException) as error:
        print(f"thresholds.py: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    for threshold, row in rows.items():
        print(
            f"{threshold:5.2f}  "
            + "  ".join(f"{key} {value:6.2f}" for key, value in row.items() if "_" not in key)
        )
    for least, (share, right) in shares.items():
        print(
            f"error from {least:2} px on: {share:5.1f} % of places, visibility right in {right:5.1f} % of them"
        )
    return 0


def measured(
    tracker: Tracker, benchmark: Benchmark
) -> tuple[dict[float, dict[str, float]], dict[int, list[float]]]:
    """threshold -> each metric's mean over the videos; and by_error's."""
    device = next((p.device for p in tracker.parameters()), torch.device("cpu"))
    both, found = (
        with_required_direction(tracker, benchmark).eval(),
        {threshold: [] for threshold in THRESHOLDS},
    )
    places = []
    for index in range(len(benchmark.clips)):
        clip = read(benchmark, index)
        targets, tracks = answers(both, benchmark, clip, device)
        places.append(places_of(targets, tracks, clip.video.shape[-2:]))
        for threshold, rows in found.items():
            visible = tracks.visibility > threshold
            rows.append(benchmark.metric(replace(tracks, visible=visible), targets, clip))
    means = {
        t: {key: sum(r[key] for r in rows) / len(rows) for key in rows[0]}
        for t, rows in found.items()
    }
    return means, by_error(torch.cat(places))


def places_of(targets: EvalTargets, tracks: Tracks, size: tuple[int, int]) -> Tensor:
    """n 2 of the scored places: the error in pixels of a frame of 256x256, and 1 where the visibility is right."""
    ratio = 256 / torch.tensor([size[1], size[0]])
    error = ((tracks.xy - targets.target.xy) * ratio).norm(dim=-1)
    right = tracks.visible == targets.target.visible
    return torch.stack([error, right.float()], dim=-1)[targets.eval_mask]


def by_error(places: Tensor) -> dict[int, list[float]]:
    """least error -> percent of the places with such an error, and of these the percent with the right visibility."""
    kind = torch.bucketize(places[:, 0].contiguous(), torch.tensor(ERRORS[1:]), right=True)
    groups = {least: places[kind == number, 1] for number, least in enumerate(ERRORS)}
    return {
        least: [100 * len(of) / len(places), 100 * of.mean().item()] for least, of in groups.items()
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
