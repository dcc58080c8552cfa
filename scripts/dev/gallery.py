"""The tracks of a benchmark with the largest errors, one row of close-ups each.

python scripts/dev/gallery.py OUT.png --count 10 benchmark=badja benchmark.root=DIR
Writes OUT.png (target green, prediction red, or the way to it) and OUT.json. Settings are those of
evaluate.py.
"""

import argparse
import sys
from pathlib import Path

import cv2
import hydra
import numpy as np
import torch
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from refusal import refuse_in_a_sentence
from torch import Tensor

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.breakdown import tapvid_ratio
from cotracker.benchmarks.failures import (
    PREDICTED_COLOUR,
    TARGET_COLOUR,
    point_errors,
    worst_points,
)
from cotracker.benchmarks.run import predict, read, with_required_direction
from cotracker.config.instantiate import build_benchmark, instantiate
from cotracker.files import write_json
from cotracker.trackers.tracker import Tracker
from cotracker.types import Clip, EvalTargets, Tracks
from cotracker.visualize import write_png

CONFIGS = Path(__file__).parents[2] / "configs"
FRAMES = 7  # close-ups of a row
SIDE, ZOOM = 150, 1.4  # pixels of the video that a close-up shows, and its scale
LOST = 8.0  # pixels of the 256x256 frame: from here on a track is lost


@refuse_in_a_sentence
def main(argv: list[str] | None = None) -> None:
    """Exit code 0, or 2 and one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT.png")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args(argv)
    config = compose_evaluation(arguments.settings)
    benchmark = build_benchmark(config.benchmark)
    rows = render_worst_tracks(instantiate(config.tracker, "tracker"), benchmark, arguments.count)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_png(arguments.out, np.concatenate([picture for picture, _ in rows]))
    write_json(arguments.out.with_suffix(".json"), [row for _, row in rows])
    for rank, (_, row) in enumerate(rows, start=1):
        print(f"{rank:2d}  " + "  ".join(f"{key} {value}" for key, value in row.items()))


def compose_evaluation(settings: list[str]) -> DictConfig:
    """The config that evaluate.py has with these settings; ValueError for one it has not."""
    try:
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = hydra.compose("evaluate", overrides=settings)
    except HydraException as error:
        raise ValueError(str(error)) from error
    OmegaConf.resolve(config.tracker)
    return config


def render_worst_tracks(
    tracker: Tracker, benchmark: Benchmark, count: int
) -> list[tuple[np.ndarray, dict]]:
    """A picture and its description of each of the `count` worst tracks, the worst first."""
    if count < 1:
        raise ValueError(f"--count must be 1 or more, not {count}")
    directed, worst = with_required_direction(tracker, benchmark).eval(), []
    for index in range(len(benchmark.clips)):
        clip, targets = read(benchmark, index)
        tracks = predict(directed, clip, targets)
        error = point_errors(targets, tracks, clip)
        for point in worst_points(error, count).tolist():
            worst.append((float(error[point]), clip, targets, tracks, point))
        worst = sorted(worst, key=lambda one: -one[0])[:count]
    if not worst:
        raise ValueError(f"benchmark={benchmark.name} counts no point: there is nothing to show")
    return [
        _render_row(clip, targets, tracks, n, error) for error, clip, targets, tracks, n in worst
    ]


def _render_row(
    clip: Clip, targets: EvalTargets, tracks: Tracks, point: int, error: float
) -> tuple[np.ndarray, dict]:
    """The query frame, and frames around the one where the track is lost."""
    target, predicted = targets.target.xy[0, :, point], tracks.xy[0, :, point]
    start, *xy = targets.queries[0, point].tolist()
    counted = (targets.eval_mask & targets.target.visible)[0, :, point]
    distance = ((predicted - target) * tapvid_ratio(clip)).norm(dim=-1)
    frames = counted.nonzero()[:, 0].tolist()
    lost = next((frame for frame in frames if distance[frame] > LOST), None)
    middle = frames.index(lost) if lost is not None else len(frames) // 2
    shown = frames[max(0, middle - FRAMES // 2) :][: FRAMES - 1]
    tiles = [_render_tile(clip, int(start), torch.tensor(xy), torch.tensor(xy), True)]
    for frame in shown:
        visible = bool(tracks.visible[0, frame, point])
        tiles.append(_render_tile(clip, frame, target[frame], predicted[frame], visible))
    tiles += [np.zeros_like(tiles[0])] * (FRAMES - len(tiles))
    row = {
        "video": clip.name,
        "point": point,
        "query": [int(start), *(round(value, 1) for value in xy)],
        "error": round(error, 1),
        "lost_at": lost,
        "counted": len(frames),
        "shown": [int(start), *shown],
    }
    return np.concatenate(tiles, axis=1), row


def _render_tile(
    clip: Clip, frame: int, target: Tensor, predicted: Tensor, visible: bool
) -> np.ndarray:
    """A close-up around the target; the prediction: a disc, a ring where invisible, an arrow."""
    picture = clip.video[frame : frame + 1][0].permute(1, 2, 0).numpy()
    corner = target.numpy() - SIDE / 2
    matrix = np.array([[ZOOM, 0, -ZOOM * corner[0]], [0, ZOOM, -ZOOM * corner[1]]])
    side = round(SIDE * ZOOM)
    picture = np.ascontiguousarray(picture).astype(np.uint8)
    tile = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR)
    centre = (side // 2, side // 2)
    xy = np.rint((predicted.numpy() - corner) * ZOOM).astype(int)
    if (xy >= 0).all() and (xy < side).all():
        cv2.circle(tile, xy.tolist(), 5, PREDICTED_COLOUR, -1 if visible else 2, cv2.LINE_AA)
    else:
        end = xy.clip(6, side - 6).tolist()
        cv2.arrowedLine(tile, centre, end, PREDICTED_COLOUR, 2, cv2.LINE_AA)
    cv2.circle(tile, centre, 5, TARGET_COLOUR, 2, cv2.LINE_AA)
    font, white = cv2.FONT_HERSHEY_SIMPLEX, (255, 255, 255)
    cv2.putText(tile, str(frame), (5, 18), font, 0.55, white, 2, cv2.LINE_AA)
    return tile


if __name__ == "__main__":
    sys.exit(main())
