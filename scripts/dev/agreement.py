"""How far a tracker agrees with itself on real videos without labels.

python scripts/dev/agreement.py VIDEO … --checkpoint NAME [NAME …]
Prints the share of point-frame pairs whose pseudo-label is kept (cotracker/pseudo): found again
from another frame of the flipped video, and not contradicted by flow. The points are the same for
every checkpoint.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from refusal import refuse_in_a_sentence

from cotracker.data.video import open_video
from cotracker.geometry import resize_video
from cotracker.pseudo import label
from cotracker.trackers.build import build_tracker
from cotracker.trackers.options import TrackerOptions
from cotracker.trackers.tracker import Tracker

SIZE = (384, 512)


@refuse_in_a_sentence
def main(argv: list[str] | None = None) -> None:
    """Exit code 0, or 2 and one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO")
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        default=[None],
        metavar="NAME",
        help="default: the one that ships",
    )
    parser.add_argument("--points", type=int, default=192)
    parser.add_argument("--frames", type=int, default=36, help="of each video, from its first")
    parser.add_argument("--precision", default="float32", help="or bfloat16")
    arguments = parser.parse_args(argv)
    if arguments.points < 1 or arguments.frames < 1:
        raise ValueError("--points and --frames must be 1 or more")
    clips = [read_frames(path, arguments.frames) for path in arguments.videos]
    for name in arguments.checkpoint:
        options = TrackerOptions(
            resolution=None, support_grid=0, precision=arguments.precision, device="cpu"
        )
        tracker = build_tracker(name, options)
        shares = [measure_agreement(clip, tracker, arguments.points) for clip in clips]
        each = "  ".join(
            f"{path.stem} {100 * share:.1f}" for path, share in zip(arguments.videos, shares)
        )
        print(f"{name or 'shipped'}: {each}  mean {100 * np.mean(shares):.1f} %", flush=True)


def read_frames(path: Path, count: int) -> torch.Tensor:
    """T 3 H W uint8 of at most `count` frames, at the size tracked at."""
    frames = resize_video(open_video(path)[:, :count].float(), SIZE)[0]
    return frames.round().clamp(0, 255).to(torch.uint8)


def measure_agreement(video: torch.Tensor, tracker: Tracker, points: int) -> float:
    """The share of point-frame pairs whose pseudo-label is kept, 0 to 1."""
    try:
        clip = label(video, tracker, points, np.random.default_rng(0))
    except ValueError as error:
        if "too few" in str(error):
            raise
        return 0.0
    return float((clip.valid & clip.visible).sum()) / (points * len(video))


if __name__ == "__main__":
    sys.exit(main())
