"""Statistics of sets of clips side by side, with plots, and contact sheets.

python scripts/dev/data_report.py sprites scenes3d badja:../shared/data/BADJA --out outputs/data --sheets

A set is the name of a data config (configs/data), drawn for --clips clips; a folder in Kubric's layout, of which so
many clips are read, evenly spread; or badja:ROOT. Writes report.md, report.json, report.png, and sheet_SET.jpg.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import hydra
import numpy as np
import torch
from tqdm import tqdm

from cotracker.benchmarks.results import commit
from cotracker.config.instantiate import instantiate
from cotracker.data.badja import BADJA
from cotracker.data.kubric.layout import clip_names, read_clip
from cotracker.data.statistics import Samples, pooled, samples, summary
from cotracker.data.stream import TrainingStream
from cotracker.files import output_folder
from cotracker.types import Clip
from cotracker.visualize.plots import Axis, cumulative, sheet, small_jpg, tile

CONFIGS = Path(__file__).parents[2] / "configs"
TILES = 24  # clips of a sheet
ROWS = [  # of the table: what it says, the statistic, and the factor that takes it into that unit
    ("motion from frame to frame, median (px)", "step", 1),
    ("… 95th percentile (px)", "step_95", 1),
    ("… 95th percentile (% of the width)", "step_95", 100 / 512),
    ("motion a frame over 5 frames, median (px)", "step_5", 1),
    ("… 95th percentile (px)", "step_5_95", 1),
    ("… 95th percentile (% of the width)", "step_5_95", 100 / 512),
    ("turn after 5 frames, median (°)", "turn", 1),
    ("… 95th percentile (°)", "turn_95", 1),
    ("places out of sight (%)", "unseen", 100),
    ("places outside the frame (%)", "outside", 100),
    ("out of sight for, median (frames)", "gap", 1),
    ("… 95th percentile (frames)", "gap_95", 1),
    ("points out of sight and back (%)", "returns", 100),
    ("points out of the frame and back (%)", "comes_back", 100),
    ("first to last sight, median (% of the clip)", "lifetime", 100),
    ("longest unbroken sight, median (frames)", "longest", 1),
    ("points", "points", 1),
    ("places", "places", 1),
]
PANELS = {
    "step_5": Axis("pixels a frame, over 5 frames (at 384x512)", 0.1, 50, logarithmic=True),
    "turn": Axis("degrees of turn after 5 frames", 0, 180),
    "gap": Axis("frames out of sight, before coming back", 1, 50, logarithmic=True),
    "longest": Axis("frames of a point's longest unbroken sight", 1, 100, logarithmic=True),
}


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 and one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", metavar="SET")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument(
        "--clips", type=int, default=100, help="so many clips of each set (default 100)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of drawn sets: their clips are those that training sees",
    )
    parser.add_argument(
        "--textures", help="folder of photographs for drawn sets; default: patterns only"
    )
    parser.add_argument(
        "--sheets", action="store_true", help=f"contact sheets of the first {TILES} clips too"
    )
    words = sys.argv[1:] if argv is None else argv
    arguments = parser.parse_args(words)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        report(arguments, "python scripts/dev/data_report.py " + " ".join(words))
    except (ValueError, OSError) as error:
        print(f"data_report.py: {error}", file=sys.stderr)
        return 2
    return 0


def report(arguments: argparse.Namespace, command: str) -> None:
    """Writes all files into the folder --out, all or none of them, and prints the table."""
    if arguments.clips < 1 or arguments.seed < 0:
        raise ValueError("--clips must be 1 or more, and --seed 0 or more")
    labels = [Path(name.removeprefix("badja:")).resolve().name for name in arguments.sets]
    if len(set(labels)) < len(labels):
        raise ValueError(
            f"the sets {', '.join(labels)} must have different names, as they are told apart by them"
        )
    sheets = {label: f"sheet_{label}.jpg" for label in labels if arguments.sheets}
    with output_folder(
        arguments.out, ["report.md", "report.json", "report.png", *sheets.values()]
    ) as out:
        whole, numbers = {}, {}
        for name, label in zip(arguments.sets, labels):
            whole[label], sizes, tiles = gathered(name, label, arguments)
            numbers[label] = {"sizes": sizes} | summary(whole[label])
            if tiles:
                (out / sheets[label]).write_bytes(small_jpg(sheet(tiles)))
        made = {"command": command, "commit": commit(), "sets": numbers}
        (out / "report.json").write_text(json.dumps(made, indent=1, allow_nan=False) + "\n")
        (out / "report.md").write_text(f"    {command}\n\n{table(numbers)}")
        panels = [
            (axis, {label: found[key] for label, found in whole.items()})
            for key, axis in PANELS.items()
        ]
        cumulative(panels).save(out / "report.png", optimize=True)
    print(
        f"{table(numbers)}\nwrote {arguments.out / 'report.md'}, report.json, report.png {' '.join(sheets.values())}"
    )


def gathered(
    name: str, label: str, arguments: argparse.Namespace
) -> tuple[Samples, dict[str, int], list[np.ndarray]]:
    """The samples of a set, how many clips there are of each size (frames x height x width), and tiles for a sheet."""
    found, sizes, tiles = [], Counter(), []
    count, clips = clips_of(name, arguments)
    for clip in tqdm(clips, desc=label, total=count, unit="clip", leave=False):
        found.append(samples(clip))
        frames, _, height, width = clip.video.shape
        sizes[f"{frames}x{height}x{width}"] += 1
        if arguments.sheets and len(tiles) < TILES:
            tiles.append(tile(clip))
    return pooled(found), dict(sizes), tiles


def clips_of(name: str, arguments: argparse.Namespace) -> tuple[int, Iterator[Clip]]:
    """How many clips of a set there will be, and those, one by one. ValueError: there is no such set."""
    if name.startswith("badja:"):
        clips = BADJA(name.removeprefix("badja:"))
        return len(clips), (clips[k] for k in range(len(clips)))
    if Path(name).is_dir():
        names = clip_names(name)
        if not names:
            raise ValueError(
                f"{name} holds no clip: each is a folder NAME with frames and NAME.npy"
            )
        chosen = np.unique(
            np.linspace(0, len(names) - 1, min(arguments.clips, len(names))).round().astype(int)
        )
        return len(chosen), (read_clip(Path(name) / names[k]) for k in chosen)
    stream = TrainingStream(generator(name, arguments.textures), arguments.seed)
    return arguments.clips, (stream[k] for k in range(arguments.clips))


def generator(name: str, textures: str | None):
    """The source that configs/data/NAME.yaml describes. ValueError: there is none, or it cannot be made."""
    known = sorted(path.stem for path in (CONFIGS / "data").glob("*.yaml"))
    if name not in known:
        raise ValueError(
            f"{name} is no folder and no data config: give a folder, badja:ROOT or one of {known}"
        )
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra.compose("train", overrides=[f"data={name}"])
    config.textures = textures
    return instantiate(config.data, f"the set {name}")


def table(numbers: dict[str, dict]) -> str:
    """Markdown: a row for each statistic, a column for each set; a dash where nothing was to be counted."""
    lines = [f"| | {' | '.join(numbers)} |", "|---|" + "---|" * len(numbers)]
    sizes = [
        "; ".join(f"{count} of {size}" for size, count in one["sizes"].items())
        for one in numbers.values()
    ]
    lines.append(f"| clips (frames x height x width) | {' | '.join(sizes)} |")
    for said, key, factor in ROWS:
        lines.append(
            f"| {said} | {' | '.join(shown(one[key], factor) for one in numbers.values())} |"
        )
    return "\n".join(lines) + "\n"


def shown(value: float | None, factor: float) -> str:
    if value is None:
        return "–"
    return (
        f"{value:,}"
        if isinstance(value, int)
        else f"{value * factor:.{1 if value * factor >= 10 else 2}f}"
    )


if __name__ == "__main__":
    sys.exit(main())
