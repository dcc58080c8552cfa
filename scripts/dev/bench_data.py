"""CPU milliseconds a clip of the layered generator on one core.

python scripts/dev/bench_data.py [--textures DIR]
Scenes of three sizes, and with eight layers; then the parts of the largest: sampling a scene,
rendering it with OpenCV, and rendering a batch of four by grid sampling on --device.
"""

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch

from cotracker.data.synthetic.sprites import Sprites
from cotracker.data.synthetic.sprites.render_torch import render_batch

SIZES = ((8, 128, 192), (24, 192, 256), (24, 256, 384))
EIGHT = {"objects": (7, 7), "articulated": 0.0, "shadows": 0.0, "twins": 0.0, "foreground": 0.0}


def time_calls(work: Callable, count: int, clock: Callable = time.process_time) -> np.ndarray:
    """Milliseconds (count,) of work(k) by the clock, after two calls to warm up."""
    taken = []
    for k in range(-2, count):
        start = clock()
        work(k + 2)
        taken.append(1000 * (clock() - start))
    return np.array(taken[2:])


def rng(k: int) -> np.random.Generator:
    return np.random.default_rng((0, k))


def report(name: str, taken: np.ndarray) -> None:
    mean, median, most = taken.mean(), np.median(taken), taken.max()
    numbers = f"mean {mean:.0f} ms a clip, median {median:.0f}, most {most:.0f}"
    print(f"{name}: {numbers}; {1000 / mean:.1f} clips/s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--textures", default=None, help="folder of photographs")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--device", default="cpu", help="where the batch is rendered")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    for size in SIZES:
        source = Sprites(*size, textures=args.textures)
        report(
            "{} x {} x {}".format(*size),
            time_calls(lambda k, source=source: source.clip(rng(k)), args.clips),
        )
    source = Sprites(*SIZES[-1], textures=args.textures, **EIGHT)
    report("… with 8 layers", time_calls(lambda k: source.clip(rng(k)), args.clips))
    source = Sprites(*SIZES[-1], textures=args.textures)
    report("… its scene alone", time_calls(lambda k: source.scene(rng(k)), args.clips))
    scenes = [source.scene(rng(k)) for k in range(args.clips + 2)]
    report("… its rendering alone", time_calls(lambda k: scenes[k].render(), args.clips))
    device = torch.device(args.device)
    batches = time_calls(
        lambda k: render_batch(scenes[4 * k : 4 * k + 4], device).cpu(),
        args.clips // 4 - 2,
        time.perf_counter,
    )
    report(f"… rendered on {device}, wall time, batches of 4", batches / 4)


if __name__ == "__main__":
    main()
