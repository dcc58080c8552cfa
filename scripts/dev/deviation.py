"""How far bfloat16 is from float32 on the clips of a benchmark, in pixels of its frames: for docs/speed.md.

python scripts/dev/deviation.py --checkpoint NAME [--clips 6]
All frames after each point's query, of the first clips of sprites_val, all points together. Beside it float32 with
noise of an eighth of a grey level on the frames: how sensitive the checkpoint is by itself.
"""

import argparse
import sys

import torch
from gallery import composed

import cotracker
from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.run import read
from cotracker.config.instantiate import build_benchmark
from cotracker.trackers.tracker import Tracker

SETTINGS = ["benchmark=sprites_val", "tracker=static"]


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 and one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", metavar="NAME", help="default: the one that ships")
    parser.add_argument("--clips", type=int, default=6)
    options = parser.parse_args(argv)
    try:
        benchmark = build_benchmark(composed(SETTINGS).benchmark)
        if not 1 <= options.clips <= len(benchmark.clips):
            raise ValueError(
                f"--clips must be from 1 to {len(benchmark.clips)}, not {options.clips}"
            )
        exact, lower = (
            cotracker.load_tracker(options.checkpoint, precision=precision)
            for precision in ("float32", "bfloat16")
        )
        measure(exact, lower, benchmark, options.clips)
    except (ValueError, OSError) as error:
        print(f"deviation.py: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


def measure(exact: Tracker, lower: Tracker, benchmark: Benchmark, count: int) -> None:
    """Prints how far the tracks of `lower`, and of `exact` on frames with noise, are from those of `exact`."""
    found = {"bfloat16": [], "float32, frames with noise": []}
    for clip, questions in clips(benchmark, count):
        expected = exact(clip, questions)
        noise = torch.randn(clip.shape, generator=torch.Generator().manual_seed(0)) / 8
        for name, answer in zip(
            found, (lower(clip, questions), exact(clip.float() + noise, questions))
        ):
            after = torch.arange(clip.shape[1])[:, None] > questions[0, :, 0]
            error = (answer.xy - expected.xy).norm(dim=-1)[0]
            found[name].append((error[after], error[after & expected.visible[0]]))
    for name, parts in found.items():
        every, seen = (torch.cat(column) for column in zip(*parts))
        numbers = [every.median(), every.quantile(0.9), every.quantile(0.99), seen.quantile(0.99)]
        print(
            f"{name}: median {{:.3f}}, 90 % {{:.3f}}, 99 % {{:.3f}}, 99 % where seen {{:.3f}} px".format(
                *numbers
            )
        )


def clips(benchmark: Benchmark, count: int):
    """Videos 1 T 3 H W and the benchmark's queries about them."""
    for position in range(count):
        clip = read(benchmark, position)
        yield (
            clip.video[None] if clip.video.ndim == 4 else clip.video[:, :],
            benchmark.protocol(clip).queries,
        )


if __name__ == "__main__":
    sys.exit(main())
