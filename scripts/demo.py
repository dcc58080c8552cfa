"""Track a clip that this program draws itself, and print the error against its known truth; or track your own video.

python scripts/demo.py                 writes overlay.mp4, tracks.npz, tracks.csv and more into outputs/demo/
python scripts/demo.py --video PATH    tracks a grid of points into outputs/<its name>/
"""

import argparse
import csv
import os
import sys
from pathlib import Path

os.environ.setdefault(
    "GOMP_SPINCOUNT", "3000"
)  # before PyTorch is loaded: docs/speed.md, beside other work

import numpy as np
import torch
from torch import Tensor

from cotracker import cli
from cotracker.benchmarks.metrics import tapvid
from cotracker.data.synthetic.sprites import Sprites
from cotracker.data.video import open_video, write_video
from cotracker.types import Clip, EvalTargets, Tracks
from cotracker.visualize import contact_sheet, rainbow, write_png

FRAMES, HEIGHT, WIDTH, POINTS, SEED = 32, 384, 512, 96, 3
SPEED, CAMERA_SPEED = (
    (0.0006, 0.016),
    (0.0004, 0.008),
)  # widths a frame: most as fast as people and animals in BADJA
FPS = 12.0


def main(argv: list[str] | None = None) -> int:
    """The exit code of `cotracker track`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--video", type=Path, help="your own video, instead of the drawn one")
    parser.add_argument(
        "--out", type=Path, help="default: outputs/demo, or outputs/<name of the video>"
    )
    parser.add_argument("--checkpoint", help="default: the one that ships")
    parser.add_argument("--iters", default="6")
    arguments = parser.parse_args(argv)
    options = ["--iters", arguments.iters]
    options += ["--checkpoint", arguments.checkpoint] if arguments.checkpoint else []
    if arguments.video is not None:
        out = arguments.out or Path("outputs") / (arguments.video.stem or "video")
        return track(arguments.video, out, options)
    return drawn(arguments.out or Path("outputs/demo"), options)


def track(video: Path, out: Path, options: list[str]) -> int:
    """The exit code of `cotracker track` on `video`; where all went well, also a contact sheet in `out`."""
    code = cli.main(["track", str(video), "--out", str(out), *options])
    if code == 0:
        tracks, queries = read_tracks(out)
        sheet = contact_sheet(
            open_video(video), tracks, count=3, height=320, colours=rainbow(queries[0, :, 1:])
        )
        write_png(out / "sheet.png", sheet)
    return code


def drawn(out: Path, options: list[str]) -> int:
    """Draws the demo clip into `out`, tracks the points seen in its first frame, and prints how far off they are."""
    clip = demo_clip()
    out.mkdir(parents=True, exist_ok=True)
    write_video(out / "clip.mp4", clip.video.permute(0, 2, 3, 1).numpy(), FPS, (HEIGHT, WIDTH))
    with open(out / "points.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [("frame", "x", "y"), *((0, *xy) for xy in clip.tracks[0].tolist())]
        )
    code = track(out / "clip.mp4", out, ["--points", str(out / "points.csv"), *options])
    if code == 0:
        print(report(read_tracks(out)[0], clip))
    return code


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


def read_tracks(out: Path) -> tuple[Tracks, Tensor]:
    """The Tracks (1 T N ...) and queries 1 N 3 of a tracks.npz."""
    with np.load(out / "tracks.npz") as file:
        saved = {
            name: torch.from_numpy(file[name])[None]
            for name in ("xy", "visibility", "visible", "queries")
        }
    return Tracks(saved["xy"], saved["visibility"], saved["visible"]), saved["queries"]


def report(tracks: Tracks, clip: Clip) -> str:
    """One line on the error where the truth is visible, after the query frame, and what standing still would give."""
    scored = torch.ones_like(clip.visible)
    scored[0] = False
    truth = Tracks(clip.tracks[None], clip.visible[None].float(), clip.visible[None])
    queries = torch.cat([torch.zeros_like(clip.tracks[:1, :, :1]), clip.tracks[:1]], dim=-1)
    targets = EvalTargets(queries, truth, scored[None])
    still = Tracks(
        truth.xy[:, :1].expand_as(truth.xy), truth.visibility, torch.ones_like(truth.visible)
    )
    counted = scored & clip.visible
    lines = [
        f"against the known truth ({clip.visible.shape[1]} points, {int(counted.sum())} visible places):"
    ]
    for name, answer in (("cotracker", tracks), ("standing still", still)):
        distance = (answer.xy[0] - clip.tracks).norm(dim=-1)[counted]
        value = tapvid(answer, targets, clip)
        lines.append(
            f"  {name:<15} error mean {distance.mean():6.2f} px, median {distance.median():6.2f} px; "
            f"<delta_avg {value['delta_avg']:5.1f} %, visibility right {value['oa']:5.1f} %"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
