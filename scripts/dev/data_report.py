"""Statistics of sets of clips side by side, with plots and contact sheets.

python scripts/dev/data_report.py sprites scenes3d badja:DIR --out outputs/data --sheets

A set is a data config (configs/data), of which --clips clips are generated; a folder in Kubric's
layout, of which as many are read, evenly spread; or badja:ROOT. Writes report.md, report.json,
report.png, and sheet_SET.jpg.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import hydra
import numpy as np
import torch
from refusal import refuse_in_a_sentence
from tqdm import tqdm

from cotracker import checks
from cotracker.config.instantiate import instantiate
from cotracker.data.badja import BADJA
from cotracker.data.kubric.layout import clip_names, read_clip
from cotracker.data.statistics import Samples, measure_motion, pool_samples, summarise_samples
from cotracker.data.stream import TrainingStream
from cotracker.files import output_folder, write_json, write_text
from cotracker.provenance import commit
from cotracker.types import Clip
from cotracker.visualize.plots import Axis, encode_jpg, plot_cumulative, sheet, tile

CONFIGS = Path(__file__).parents[2] / "configs"
TILES = 24  # clips of a sheet
ROWS = [  # of the table: text, statistic, factor to the text's unit
    ("motion from frame to frame, median (px)", "step", 1),
    ("… 95th percentile (px)", "step_95", 1),
    ("… 95th percentile (% of the width)", "step_95", 100 / 512),
    ("motion a frame over 5 frames, median (px)", "step_5", 1),
    ("… 95th percentile (px)", "step_5_95", 1),
    ("… 95th percentile (% of the width)", "step_5_95", 100 / 512),
    ("turn after 5 frames, median (°)", "turn", 1),
    ("… 95th percentile (°)", "turn_95", 1),
    ("point-frame pairs invisible (%)", "unseen", 100),
    ("point-frame pairs outside the frame (%)", "outside", 100),
    ("invisible for, median (frames)", "gap", 1),
    ("… 95th percentile (frames)", "gap_95", 1),
    ("points invisible and visible again (%)", "returns", 100),
    ("points out of the frame and back (%)", "comes_back", 100),
    ("first to last sight, median (% of the clip)", "lifetime", 100),
    ("longest unbroken sight, median (frames)", "longest", 1),
    ("points", "points", 1),
    ("point-frame pairs", "places", 1),
]
PANELS = {
    "step_5": Axis("pixels a frame, over 5 frames (at 384x512)", 0.1, 50, logarithmic=True),
    "turn": Axis("degrees of turn after 5 frames", 0, 180),
    "gap": Axis("frames out of sight, before coming back", 1, 50, logarithmic=True),
    "longest": Axis("frames of a point's longest unbroken sight", 1, 100, logarithmic=True),
}


@refuse_in_a_sentence
def main(argv: list[str] | None = None) -> None:
    """Exit code 0, or 2 and one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", metavar="SET")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument(
        "--clips", type=int, default=100, help="number of clips of each set (default 100)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of generated sets: their clips are those of training",
    )
    parser.add_argument(
        "--textures", help="folder of photographs for generated sets; default: patterns only"
    )
    parser.add_argument(
        "--sheets", action="store_true", help=f"also contact sheets of the first {TILES} clips"
    )
    words = sys.argv[1:] if argv is None else argv
    arguments = parser.parse_args(words)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    report(arguments, "python scripts/dev/data_report.py " + " ".join(words))


def report(arguments: argparse.Namespace, command: str) -> None:
    """Writes all files into the folder --out, all or none of them, and prints the table."""
    checks.whole("--clips", arguments.clips, 1)
    checks.whole("--seed", arguments.seed, 0)
    labels = [Path(name.removeprefix("badja:")).resolve().name for name in arguments.sets]
    if len(set(labels)) < len(labels):
        raise ValueError(f"the sets {', '.join(labels)} must have different names")
    sheets = {label: f"sheet_{label}.jpg" for label in labels if arguments.sheets}
    names = ["report.md", "report.json", "report.png", *sheets.values()]
    with output_folder(arguments.out, names) as out:
        found, numbers = {}, {}
        for name, label in zip(arguments.sets, labels):
            found[label], sizes, tiles = collect(name, label, arguments)
            numbers[label] = {"sizes": sizes} | summarise_samples(found[label])
            if tiles:
                (out / sheets[label]).write_bytes(encode_jpg(sheet(tiles)))
        write_json(out / "report.json", {"command": command, "commit": commit(), "sets": numbers})
        write_text(out / "report.md", f"    {command}\n\n{format_table(numbers)}")
        panels = [
            (axis, {label: values[key] for label, values in found.items()})
            for key, axis in PANELS.items()
        ]
        plot_cumulative(out / "report.png", panels)
    print(f"{format_table(numbers)}\nwrote {', '.join(names)} into {arguments.out}")


def collect(
    name: str, label: str, arguments: argparse.Namespace
) -> tuple[Samples, dict[str, int], list[np.ndarray]]:
    """The samples of a set, the number of clips of each size TxHxW, and tiles for a sheet."""
    found, sizes, tiles = [], Counter(), []
    count, clips = clips_of(name, arguments)
    for clip in tqdm(clips, desc=label, total=count, unit="clip", leave=False):
        found.append(measure_motion(clip))
        frames, _, height, width = clip.video.shape
        sizes[f"{frames}x{height}x{width}"] += 1
        if arguments.sheets and len(tiles) < TILES:
            tiles.append(tile(clip))
    return pool_samples(found), dict(sizes), tiles


def clips_of(name: str, arguments: argparse.Namespace) -> tuple[int, Iterator[Clip]]:
    """The number of clips of a set, and those; ValueError where there is no such set."""
    if name.startswith("badja:"):
        clips = BADJA(name.removeprefix("badja:"))
        return len(clips), (clips[k] for k in range(len(clips)))
    if Path(name).is_dir():
        names = clip_names(name)
        if not names:
            raise ValueError(
                f"{name} holds no clip: each is a folder NAME with frames and NAME.npy"
            )
        count = min(arguments.clips, len(names))
        chosen = np.unique(np.linspace(0, len(names) - 1, count).round().astype(int))
        return len(chosen), (read_clip(Path(name) / names[k]) for k in chosen)
    stream = TrainingStream(generator(name, arguments.textures), arguments.seed)
    return arguments.clips, (stream[k] for k in range(arguments.clips))


def generator(name: str, textures: str | None):
    """The source of configs/data/NAME.yaml; ValueError where it cannot be made."""
    names = sorted(path.stem for path in (CONFIGS / "data").glob("*.yaml"))
    if name not in names:
        raise ValueError(
            f"{name} is no folder and no data config: pass a folder, badja:ROOT or one of {names}"
        )
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra.compose("train", overrides=[f"data={name}"])
    config.textures = textures
    return instantiate(config.data, f"the set {name}")


def format_table(numbers: dict[str, dict]) -> str:
    """Markdown: a row for each statistic, a column for each set; a dash for nothing counted."""
    lines = [f"| | {' | '.join(numbers)} |", "|---|" + "---|" * len(numbers)]
    sizes = [
        "; ".join(f"{count} of {size}" for size, count in one["sizes"].items())
        for one in numbers.values()
    ]
    lines.append(f"| clips (frames x height x width) | {' | '.join(sizes)} |")
    for text, key, factor in ROWS:
        values = [_format(one[key], factor) for one in numbers.values()]
        lines.append(f"| {text} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def _format(value: float | None, factor: float) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value * factor:.{1 if value * factor >= 10 else 2}f}"


if __name__ == "__main__":
    sys.exit(main())
