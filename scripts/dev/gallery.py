"""The tracks of a benchmark that went most wrong, one row of close-ups each: what failed, and when.

python scripts/dev/gallery.py OUT.png --count 10 benchmark=badja benchmark.root=DIR tracker=cotracker checkpoint=NAME
Writes OUT.png (truth green, answer red, or the way to it) and OUT.json. Settings are those of evaluate.py.
"""

import argparse
import sys
from pathlib import Path

import cv2
import hydra
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.failures import ANSWER, TRUTH, errors
from cotracker.benchmarks.run import answers, read, with_required_direction
from cotracker.config.instantiate import build_benchmark, instantiate
from cotracker.files import write_json
from cotracker.trackers.tracker import Tracker
from cotracker.types import EvalTargets, Tracks
from cotracker.visualize import write_png

CONFIGS = Path(__file__).parents[2] / "configs"
FRAMES, SIDE, ZOOM = (
    7,
    150,
    1.4,
)  # close-ups of a row; pixels of the video they show a side; enlarged so much
LOST = 8.0  # pixels of the 256x256 frame: from here on a track is called lost


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 and one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT.png")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args(argv)
    try:
        config = composed(arguments.settings)
        found = worst_tracks(
            instantiate(config.tracker, "tracker"),
            build_benchmark(config.benchmark),
            arguments.count,
        )
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write_png(arguments.out, np.concatenate([picture for picture, _ in found]))
        write_json(arguments.out.with_suffix(".json"), [row for _, row in found])
    except (ValueError, OSError) as error:
        print(f"gallery.py: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    for place, (_, row) in enumerate(found, start=1):
        print(f"{place:2d}  " + "  ".join(f"{key} {value}" for key, value in row.items()))
    return 0


def composed(settings: list[str]) -> DictConfig:
    """The config that evaluate.py would have with these settings."""
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra.compose("evaluate", overrides=settings)
    OmegaConf.resolve(config.tracker)
    return config


def worst_tracks(
    tracker: Tracker, benchmark: Benchmark, count: int
) -> list[tuple[np.ndarray, dict]]:
    """A picture and what it shows of each of the `count` tracks with the greatest mean errors, the worst first."""
    if count < 1:
        raise ValueError(f"--count must be 1 or more, not {count}")
    device = next((p.device for p in tracker.parameters()), torch.device("cpu"))
    both, kept = with_required_direction(tracker, benchmark).eval(), []
    for index in range(len(benchmark.clips)):
        clip = read(benchmark, index)
        targets, tracks = answers(both, benchmark, clip, device)
        error = errors(targets, tracks, clip)
        for point in error.argsort(descending=True)[:count].tolist():
            if error[point] >= 0:
                kept.append((float(error[point]), clip, targets, tracks, point))
        kept = sorted(kept, key=lambda one: -one[0])[:count]
    if not kept:
        raise ValueError(f"benchmark={benchmark.name} scores no point: there is nothing to show")
    return [
        _row(clip, targets, tracks, point, error) for error, clip, targets, tracks, point in kept
    ]


def _row(
    clip, targets: EvalTargets, tracks: Tracks, point: int, error: float
) -> tuple[np.ndarray, dict]:
    truth, answer = targets.target.xy[0, :, point], tracks.xy[0, :, point]
    start, x, y = targets.queries[0, point].tolist()
    counted = (targets.eval_mask & targets.target.visible)[0, :, point]
    height, width = clip.video.shape[-2:]
    apart = ((answer - truth) * torch.tensor([256 / width, 256 / height])).norm(dim=-1)
    frames = counted.nonzero()[:, 0].tolist()
    lost = next((frame for frame in frames if apart[frame] > LOST), None)
    near = frames.index(lost) if lost is not None else len(frames) // 2
    chosen = frames[max(0, near - FRAMES // 2) :][: FRAMES - 1]  # around the moment when it is lost
    tiles = [_tile(clip.video, int(start), torch.tensor([x, y]), torch.tensor([x, y]), True)]
    tiles += [
        _tile(clip.video, frame, truth[frame], answer[frame], bool(tracks.visible[0, frame, point]))
        for frame in chosen
    ]
    tiles += [np.zeros_like(tiles[0])] * (FRAMES - len(tiles))
    row = {
        "video": clip.name,
        "point": point,
        "query": [int(start), round(x, 1), round(y, 1)],
        "error": round(error, 1),
    }
    return np.concatenate(tiles, axis=1), row | {
        "lost_at": lost,
        "scored": len(frames),
        "shown": [int(start), *chosen],
    }


def _tile(video, frame: int, truth: Tensor, answer: Tensor, seen: bool) -> np.ndarray:
    """A close-up around the truth in one frame, with its number: the answer a disc (a ring: unseen), or its way."""
    picture = np.ascontiguousarray(video[frame : frame + 1][0].permute(1, 2, 0).numpy()).astype(
        np.uint8
    )
    corner = truth.numpy() - SIDE / 2
    matrix = np.array([[ZOOM, 0, -ZOOM * corner[0]], [0, ZOOM, -ZOOM * corner[1]]])
    side = round(SIDE * ZOOM)
    tile = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR)
    centre = (side // 2, side // 2)
    place = np.rint((answer.numpy() - corner) * ZOOM).astype(int)
    if (place >= 0).all() and (place < side).all():
        cv2.circle(tile, place.tolist(), 5, ANSWER, -1 if seen else 2, cv2.LINE_AA)
    else:
        cv2.arrowedLine(tile, centre, place.clip(6, side - 6).tolist(), ANSWER, 2, cv2.LINE_AA)
    cv2.circle(tile, centre, 5, TRUTH, 2, cv2.LINE_AA)
    cv2.putText(
        tile, str(frame), (5, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 2, cv2.LINE_AA
    )
    return tile


if __name__ == "__main__":
    sys.exit(main())
