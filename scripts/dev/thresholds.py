"""A tracker's visible rules at several thresholds, and what its confidence is worth.

python scripts/dev/thresholds.py --seed 1 --benchmarks sprites_val scenes3d_val tracker=cotracker …
Settings are those of evaluate.py; the tracker runs once a clip.
Choose on clips that are neither a benchmark's own nor trained on: with another seed.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from gallery import compose_evaluation
from refusal import refuse_in_a_sentence
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.breakdown import tapvid_ratio
from cotracker.benchmarks.run import predict, read, with_required_direction
from cotracker.config.instantiate import build_benchmark, instantiate
from cotracker.files import write_json
from cotracker.geometry import rescale_points
from cotracker.trackers.options import VISIBLE_BY
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.visible import VisibleRule
from cotracker.types import Clip, EvalTargets, Tracks

ERRORS = (0, 4, 16)  # pixels of the 256x256 frame: near, off, lost
THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7)
BINS = 10  # of confidence, in the reliability table
SURE = (0.85, 0.95)  # confidence of about 0.9


@refuse_in_a_sentence
def main(argv: list[str] | None = None) -> None:
    """Exit code 0, or 2 and one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--benchmarks", nargs="+", metavar="NAME", help="several together")
    parser.add_argument("--seed", type=int, help="of their clips")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the table and the fit as JSON")
    arguments, settings = parser.parse_known_args(argv)
    if arguments.seed is not None:
        settings = [*settings, f"benchmark.clips.seed={arguments.seed}"]
    several = [[f"benchmark={name}"] for name in arguments.benchmarks or ()]
    configs = [compose_evaluation([*words, *settings]) for words in several or [[]]]
    tracker = instantiate(configs[0].tracker, "tracker")
    found = Measured()
    for config in configs:
        found.add(tracker, build_benchmark(config.benchmark))
    found.print()
    if len(found.confidences):
        report = describe_confidence(torch.cat(found.confidences))
        print(json.dumps(report))
        if arguments.out is not None:
            write_json(arguments.out, report)


@dataclass
class Measured:
    """What the clips of some benchmarks tell of a tracker.

    means: the metrics of each clip by rule.
    pairs: of error_and_visibility.
    confidences: of confidence_and_truth.
    """

    means: dict[VisibleRule, list[dict]] = field(default_factory=dict)
    pairs: list[Tensor] = field(default_factory=list)
    confidences: list[Tensor] = field(default_factory=list)

    def add(self, tracker: Tracker, benchmark: Benchmark) -> None:
        """Tracks every clip of a benchmark."""
        directed = with_required_direction(tracker, benchmark).eval()
        described = directed.describe()
        for index in range(len(benchmark.clips)):
            clip, targets = read(benchmark, index)
            tracks = predict(directed, clip, targets)
            self.pairs.append(error_and_visibility(targets, tracks, clip))
            for rule in rules(tracks):
                seen = replace(tracks, visible=rule(tracks.visibility, tracks.confidence))
                metrics = benchmark.metric(seen, targets, clip)
                self.means.setdefault(rule, []).append(metrics)
            if tracks.confidence is not None:
                self.confidences.append(confidence_and_truth(targets, tracks, clip, described))

    def print(self) -> None:
        """A line for each rule and each group of errors."""
        for rule, rows in self.means.items():
            mean = {key: sum(one[key] for one in rows) / len(rows) for key in rows[0]}
            values = [f"{key} {value:6.2f}" for key, value in mean.items() if "_" not in key]
            print(f"{rule.by:23} {rule.threshold:5.2f}  " + "  ".join(values))
        for least, (share, right) in group_by_error(torch.cat(self.pairs)).items():
            print(
                f"error from {least:2} px: {share:5.1f} % of point-frame pairs, "
                f"visibility right in {right:5.1f} % of them"
            )


def rules(tracks: Tracks) -> list[VisibleRule]:
    """The rules that can be asked of these tracks."""
    scores = VISIBLE_BY if tracks.confidence is not None else VISIBLE_BY[:1]
    return [VisibleRule(threshold, by) for by in scores for threshold in THRESHOLDS]


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


def confidence_and_truth(
    targets: EvalTargets, tracks: Tracks, clip: Clip, described: dict
) -> Tensor:
    """n 2 of the counted pairs in truth visible: the confidence, 1 if the error is as it says.

    The error is measured in pixels of the size at which the tracker works.
    """
    size = tuple(clip.video.shape[-2:])
    working = tuple(described.get("resolution") or size)
    there = [rescale_points(xy, size, working) for xy in (tracks.xy, targets.target.xy)]
    right = (there[0] - there[1]).norm(dim=-1) <= described["confidence_px"]
    pairs = torch.stack([tracks.confidence, right.float()], dim=-1)
    return pairs[targets.eval_mask & targets.target.visible]


def describe_confidence(pairs: Tensor) -> dict:
    """The reliability table of confidences and truths n 2, and the fit that would mend it.

    table: from, to, share of the pairs, mean confidence, share that is right; empty bins are left
        out.
    sure: the same of a confidence of 0.85 to 0.95.
    fit: scale and offset of the logit of confidence (Platt), by least cross-entropy.
    """
    edges = [(k / BINS, (k + 1) / BINS) for k in range(BINS)]
    rows = [row for one in edges if (row := _bin(pairs, *one))]
    return {"pairs": len(pairs), "table": rows, "sure": _bin(pairs, *SURE), "fit": fit(pairs)}


def _bin(pairs: Tensor, low: float, high: float) -> list[float] | None:
    confidence, right = pairs.unbind(-1)
    within = (confidence >= low) & ((confidence < high) | (high == 1))
    if not within.any():
        return None
    means = [of[within].mean().item() for of in (confidence, right)]
    share = within.float().mean().item()
    return [round(value, 4) for value in (low, high, share, *means)]


def fit(pairs: Tensor) -> list[float]:
    """Scale and offset of the logit of the confidences n 2 that make them probabilities."""
    logits = pairs[:, 0].double().clamp(1e-6, 1 - 1e-6).logit()
    right = pairs[:, 1].double()
    values = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([values], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = binary_cross_entropy_with_logits(values[0] * logits + values[1], right)
        value.backward()
        return value

    optimiser.step(loss)
    return [round(value, 4) for value in values.tolist()]


if __name__ == "__main__":
    sys.exit(main())
