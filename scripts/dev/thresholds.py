"""A benchmark's metrics at several visibility thresholds, and its visibility by position error.

python scripts/dev/thresholds.py benchmark=scenes3d_val benchmark.clips.seed=1 tracker=cotracker …
Settings are those of evaluate.py; the tracker runs once. Choose on clips that are neither the
benchmark's own nor trained on: with another seed.
"""

import sys
from dataclasses import replace

import torch
from gallery import compose_evaluation
from refusal import refuse_in_a_sentence
from torch import Tensor

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.breakdown import tapvid_ratio
from cotracker.benchmarks.run import predict, read, with_required_direction
from cotracker.config.instantiate import build_benchmark, instantiate
from cotracker.trackers.tracker import Tracker
from cotracker.types import Clip, EvalTargets, Tracks

ERRORS = (0, 4, 16)  # pixels of the 256x256 frame: near, off, lost
THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7)


@refuse_in_a_sentence
def main(settings: list[str]) -> None:
    """Exit code 0, or 2 and one sentence."""
    config = compose_evaluation(settings)
    means, shares = evaluate(
        instantiate(config.tracker, "tracker"), build_benchmark(config.benchmark)
    )
    for threshold, mean in means.items():
        values = [f"{key} {value:6.2f}" for key, value in mean.items() if "_" not in key]
        print(f"{threshold:5.2f}  " + "  ".join(values))
    for least, (share, right) in shares.items():
        print(
            f"error from {least:2} px: {share:5.1f} % of point-frame pairs, "
            f"visibility right in {right:5.1f} % of them"
        )


def evaluate(
    tracker: Tracker, benchmark: Benchmark
) -> tuple[dict[float, dict[str, float]], dict[int, list[float]]]:
    """threshold -> each metric's mean over the videos; and group_by_error's groups."""
    directed = with_required_direction(tracker, benchmark).eval()
    rows = {threshold: [] for threshold in THRESHOLDS}
    pairs = []
    for index in range(len(benchmark.clips)):
        clip, targets = read(benchmark, index)
        tracks = predict(directed, clip, targets)
        pairs.append(error_and_visibility(targets, tracks, clip))
        for threshold in THRESHOLDS:
            seen = replace(tracks, visible=tracks.visibility > threshold)
            rows[threshold].append(benchmark.metric(seen, targets, clip))
    means = {
        threshold: {key: sum(one[key] for one in found) / len(found) for key in found[0]}
        for threshold, found in rows.items()
    }
    return means, group_by_error(torch.cat(pairs))


def error_and_visibility(targets: EvalTargets, tracks: Tracks, clip: Clip) -> Tensor:
    """n 2 of the counted point-frame pairs: error at 256x256, 1 if visibility is right."""
    error = ((tracks.xy - targets.target.xy) * tapvid_ratio(clip)).norm(dim=-1)
    right = tracks.visible == targets.target.visible
    return torch.stack([error, right.float()], dim=-1)[targets.eval_mask]


def group_by_error(pairs: Tensor) -> dict[int, list[float]]:
    """least error -> the percentage of pairs, and the percentage of right visibility in them."""
    groups = torch.bucketize(pairs[:, 0].contiguous(), torch.tensor(ERRORS[1:]), right=True)
    right = {least: pairs[groups == number, 1] for number, least in enumerate(ERRORS)}
    return {
        least: [100 * len(of) / len(pairs), 100 * of.mean().item()] for least, of in right.items()
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
