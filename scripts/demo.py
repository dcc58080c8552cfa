"""Track a clip that this program draws, and print the error; or track your own video.

python scripts/demo.py                 writes overlay.mp4, tracks.npz and more into outputs/demo/
python scripts/demo.py --video PATH    tracks a grid of points into outputs/<its name>/
"""

import argparse
import os
import sys
from contextlib import closing
from pathlib import Path

# before PyTorch is loaded: waiting threads sleep soon (docs/speed.md)
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import numpy as np
import torch
from torch import Tensor

import cotracker
from cotracker import cli
from cotracker.benchmarks.metrics import tapvid
from cotracker.cli.track import OUTPUTS, track_with_bar, write_results
from cotracker.data.synthetic.sprites import Sprites
from cotracker.data.video import VideoFile, write_video
from cotracker.files import output_folder
from cotracker.queries import default_grid
from cotracker.trackers.tracker import Tracker
from cotracker.types import Clip, EvalTargets, Tracks
from cotracker.visualize import contact_sheet, rainbow, write_png

FRAMES, HEIGHT, WIDTH, POINTS, SEED = 32, 384, 512, 96, 3
# in widths a frame: most as fast as people and animals in BADJA
SPEED, CAMERA_SPEED = (0.0006, 0.016), (0.0004, 0.008)
FPS = 12.0


def main(argv: list[str] | None = None) -> int:
    """The exit code: 0, or that of `cotracker track` for the same error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    out = "default: outputs/demo, or outputs/<name of the video>"
    parser.add_argument("--video", type=Path, help="your own video, instead of the drawn one")
    parser.add_argument("--out", type=Path, help=out)
    parser.add_argument("--checkpoint", help="default: the one that ships")
    parser.add_argument("--iters", type=int, default=6, help="refinement iterations (default: 6)")
    arguments = parser.parse_args(argv)
    return cli.exit_code(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> None:
    """Tracks the user's video, or the demo's clip, into the output folder."""
    tracker = cotracker.load_tracker(arguments.checkpoint, iters=arguments.iters)
    video = arguments.video
    name = "demo" if video is None else video.stem or "video"
    out = arguments.out or Path("outputs") / name
    if video is not None:
        track(video, out, tracker)
        return
    clip = demo_clip()
    out.mkdir(parents=True, exist_ok=True)
    frames = clip.video.permute(0, 2, 3, 1).numpy()
    write_video(out / "clip.mp4", frames, FPS, (HEIGHT, WIDTH))
    print(report(track(out / "clip.mp4", out, tracker, first_queries(clip)), clip))


def track(path: Path, out: Path, tracker: Tracker, queries: Tensor | None = None) -> Tracks:
    """The Tracks of queries 1 N 3, or of a grid, written into `out` with a contact sheet."""
    with (
        closing(cotracker.open_video(path)) as video,
        output_folder(out, [*OUTPUTS, "sheet.png"]) as folder,
    ):
        if queries is None:
            queries = default_grid(10, video.shape[-2:])
        tracks = track_with_bar(tracker, video, queries)
        write_results(folder, video, queries, tracks)
        write_png(folder / "sheet.png", sheet(video, queries, tracks))
    print(f"wrote overlay.mp4, tracks.npz, tracks.csv and sheet.png to {out}")
    return tracks


def sheet(video: VideoFile, queries: Tensor, tracks: Tracks) -> np.ndarray:
    """Three frames side by side, the points coloured as in the overlay."""
    return contact_sheet(video, tracks, count=3, height=320, colours=rainbow(queries[0, :, 1:]))


def first_queries(clip: Clip) -> Tensor:
    """Queries 1 N 3: the points of a clip in its frame 0."""
    first = clip.tracks[:1]
    return torch.cat([torch.zeros_like(first[..., :1]), first], dim=-1)


def demo_clip() -> Clip:
    """The demo's Clip, always the same; its points are those visible in frame 0."""
    scenes = Sprites(
        frames=FRAMES,
        height=HEIGHT,
        width=WIDTH,
        points=POINTS,
        speed=SPEED,
        camera_speed=CAMERA_SPEED,
    )
    clip = scenes.clip(np.random.default_rng(SEED))
    seen = clip.visible[0]
    return Clip(
        clip.video, clip.tracks[:, seen], clip.visible[:, seen], clip.valid[:, seen], name="demo"
    )


def report(tracks: Tracks, clip: Clip) -> str:
    """The error of the tracks, and of standing still, where the truth is visible after frame 0."""
    eval_mask = torch.ones_like(clip.visible)
    eval_mask[0] = False
    truth = Tracks(clip.tracks[None], clip.visible[None].float(), clip.visible[None])
    targets = EvalTargets(first_queries(clip), truth, eval_mask[None])
    xy = truth.xy[:, :1].expand_as(truth.xy)
    still = Tracks(xy, truth.visibility, torch.ones_like(truth.visible))
    counted = eval_mask & clip.visible
    points = clip.visible.shape[1]
    lines = [f"against the truth ({points} points, {int(counted.sum())} visible positions):"]
    for name, answer in (("cotracker", tracks), ("standing still", still)):
        distance = (answer.xy[0] - clip.tracks).norm(dim=-1)[counted]
        value = tapvid(answer, targets, clip)
        lines.append(
            f"  {name:<15} error mean {distance.mean():6.2f} px, "
            f"median {distance.median():6.2f} px; <delta_avg {value['delta_avg']:5.1f} %, "
            f"visibility right {value['oa']:5.1f} %"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
