"""Prints 3-D clips a second by one and by two processes: bench_scenes3d.py [--textures DIR]."""

import argparse
import os
import time
from multiprocessing import get_context

import cv2
import numpy as np

from cotracker.data.synthetic.scenes3d import Scenes3D


def generate(source: Scenes3D, numbers: list[int]) -> tuple[int, float]:
    """How many of the clips `numbers` were good, and the CPU seconds of all."""
    cv2.setNumThreads(1)
    good, start = 0, time.process_time()
    for number in numbers:
        try:
            source.clip(np.random.default_rng((0, number)))
            good += 1
        except ValueError as error:
            print(f"clip {number}: {error}")
    return good, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--textures", default=None, help="folder of photographs")
    parser.add_argument("--clips", type=int, default=12, help="for each process")
    args = parser.parse_args()
    source = Scenes3D(frames=24, height=256, width=256, textures=args.textures)
    for processes in (1, 2):
        shares = [
            list(range(1 + k * args.clips, 1 + (k + 1) * args.clips)) for k in range(processes)
        ]
        with get_context("spawn").Pool(processes) as pool:
            pool.starmap(
                generate, [(source, [0])] * processes, chunksize=1
            )  # imports, opens, warms up
            start = time.perf_counter()
            done = pool.starmap(generate, [(source, share) for share in shares], chunksize=1)
            taken = time.perf_counter() - start
        good, cpu = sum(count for count, _ in done), sum(seconds for _, seconds in done)
        rate, each = good / taken, cpu / good
        load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        print(
            f"24 x 256 x 256, processes: {processes}, {rate:.2f} clips/s, {each:.2f} CPU seconds "
            f"a clip, {processes / each:.2f} clips/s on as many idle cores ({load})"
        )


if __name__ == "__main__":
    main()
