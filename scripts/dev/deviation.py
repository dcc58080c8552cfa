"""How far bfloat16 is from float32 on clips of a benchmark, in pixels of its frames.

python scripts/dev/deviation.py --checkpoint NAME [--clips 6]
All frames after each point's query, of the first clips of sprites_val, all points together. Beside
it float32 with noise of 1/8 grey level on the frames: how sensitive the checkpoint is by itself.
"""

import argparse
import sys

import torch
from gallery import compose_evaluation
from refusal import refuse_in_a_sentence

import cotracker
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.run import read
from cotracker.config.instantiate import build_benchmark
from cotracker.trackers.tracker import Tracker

SETTINGS = ["benchmark=sprites_val", "tracker=static"]


@refuse_in_a_sentence
def main(argv: list[str] | None = None) -> None:
    """Exit code 0, or 2 and one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", metavar="NAME", help="default: the one that ships")
    parser.add_argument("--clips", type=int, default=6)
    options = parser.parse_args(argv)
    benchmark = build_benchmark(compose_evaluation(SETTINGS).benchmark)
    if not 1 <= options.clips <= len(benchmark.clips):
        raise ValueError(f"--clips must be from 1 to {len(benchmark.clips)}, not {options.clips}")
    exact, lower = (
        cotracker.load_tracker(options.checkpoint, precision=precision)
        for precision in ("float32", "bfloat16")
    )
    measure(exact, lower, benchmark, options.clips)


def measure(exact: Tracker, lower: Tracker, benchmark: Benchmark, count: int) -> None:
    """Prints how far the tracks of `lower`, and of `exact` on noisy frames, are from `exact`'s."""
    errors = {"bfloat16": [], "float32, frames with noise": []}
    for index in range(count):
        clip, targets = read(benchmark, index)
        video, queries = clip.video[:][None], targets.queries
        expected = exact(video, queries)
        noise = torch.randn(video.shape, generator=torch.Generator().manual_seed(0)) / 8
        answers = lower(video, queries), exact(video.float() + noise, queries)
        after = torch.arange(video.shape[1])[:, None] > queries[0, :, 0]
        for name, answer in zip(errors, answers):
            error = (answer.xy - expected.xy).norm(dim=-1)[0]
            errors[name].append((error[after], error[after & expected.visible[0]]))
    for name, parts in errors.items():
        every, seen = (torch.cat(column) for column in zip(*parts))
        median = every.median().item()
        most, worst = (every.quantile(share).item() for share in (0.9, 0.99))
        print(
            f"{name}: median {median:.3f}, 90 % {most:.3f}, 99 % {worst:.3f}, "
            f"99 % where seen {seen.quantile(0.99).item():.3f} px"
        )


if __name__ == "__main__":
    sys.exit(main())
