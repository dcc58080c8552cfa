"""Prints CPU milliseconds a clip of the synthetic source on one core: scripts/bench_data.py [--textures DIR]."""

import argparse
import time

import cv2
import numpy as np

from cotracker.data.synthetic.sprites import Sprites


def milliseconds(source: Sprites, clips: int) -> np.ndarray:
    """CPU milliseconds (clips,) of each clip, after two to warm up; on an idle core that is its wall time."""
    taken = []
    for k in range(-2, clips):
        start = time.process_time()
        source.clip(np.random.default_rng((0, k + 2)))
        taken.append(1000 * (time.process_time() - start))
    return np.array(taken[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--textures", default=None, help="folder of photographs")
    parser.add_argument("--clips", type=int, default=20)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    for frames, height, width in ((8, 128, 192), (24, 192, 256)):
        taken = milliseconds(Sprites(frames, height, width, textures=args.textures), args.clips)
        mean, median, most = taken.mean(), np.median(taken), taken.max()
        print(f"{frames} x {height} x {width}: mean {mean:.0f} ms a clip, median {median:.0f}, most {most:.0f}")


if __name__ == "__main__":
    main()
