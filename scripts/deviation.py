"""How far bfloat16 is from float32 on the clips of a benchmark, in pixels of its frames: for docs/speed.md.

python scripts/deviation.py --checkpoint NAME [--clips 6]
All frames after each point's query, of the first clips of sprites_val, all points together. Beside it float32 with
noise of an eighth of a grey level on the frames: how sensitive the checkpoint is by itself.
"""

import argparse

import torch
from gallery import composed

from cotracker.benchmarks.run import read
from cotracker.building import build_benchmark
from cotracker.trackers.cotracker import predictor

SETTINGS = ["benchmark=sprites_val", "tracker=static"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint")
    parser.add_argument("--clips", type=int, default=6)
    options = parser.parse_args()
    found = {"bfloat16": [], "float32, frames with noise": []}
    for clip, questions in clips(options.clips):
        exact, lower = (
            predictor(options.checkpoint, single_point=False, local_grid=0, precision=precision)
            for precision in ("float32", "bfloat16")
        )
        expected = exact(clip, questions)
        noise = torch.randn(clip.shape, generator=torch.Generator().manual_seed(0)) / 8
        for name, answer in zip(found, (lower(clip, questions), exact(clip.float() + noise, questions))):
            after = torch.arange(clip.shape[1])[:, None] > questions[0, :, 0]
            error = (answer.xy - expected.xy).norm(dim=-1)[0]
            found[name].append((error[after], error[after & expected.visible[0]]))
    for name, parts in found.items():
        every, seen = (torch.cat(column) for column in zip(*parts))
        numbers = [every.median(), every.quantile(0.9), every.quantile(0.99), seen.quantile(0.99)]
        print(f"{name}: median {{:.3f}}, 90 % {{:.3f}}, 99 % {{:.3f}}, 99 % where seen {{:.3f}} px".format(*numbers))


def clips(count: int):
    """Videos 1 T 3 H W and the benchmark's queries about them."""
    benchmark = build_benchmark(composed(SETTINGS).benchmark)
    for position in range(count):
        clip = read(benchmark, position)
        yield clip.video[None] if clip.video.ndim == 4 else clip.video[:, :], benchmark.protocol(clip).queries


if __name__ == "__main__":
    main()
