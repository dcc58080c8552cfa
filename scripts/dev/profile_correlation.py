"""Seconds of both correlation paths over map sizes: the reason for WHOLE_MAP_CELLS.

python scripts/dev/profile_correlation.py [--points 256] [--channels 128] [--radius 3] [--threads 1]
"""

import argparse
import time

import torch

from cotracker.model.correlation import read_products


def main() -> None:
    """Prints the seconds of both paths and their ratio for each map size, for 8 frames."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (
        ("points", 256),
        ("channels", 128),
        ("radius", 3),
        ("threads", 1),
        ("repeats", 5),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("map        whole s   local s   whole/local")
    for height, width in ((12, 16), (24, 32), (48, 64), (64, 96), (96, 128)):
        maps = torch.randn(1, 8, height, width, arguments.channels)
        features = torch.randn(1, 8, arguments.points, arguments.channels)
        cells = torch.rand(1, 8, arguments.points, 2) * torch.tensor([width, height])
        seconds = {True: [], False: []}
        for _ in range(arguments.repeats):
            for whole in seconds:  # alternately, so that other load affects both
                begin = time.perf_counter()
                read_products(maps, features, cells, arguments.radius, whole)
                seconds[whole].append(time.perf_counter() - begin)
        both = [sorted(seconds[whole])[arguments.repeats // 2] for whole in (True, False)]
        print(f"{height:3d}x{width:<4d}  {both[0]:8.4f}  {both[1]:8.4f}  {both[0] / both[1]:8.2f}")


if __name__ == "__main__":
    with torch.no_grad():
        main()
