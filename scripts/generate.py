"""Writes clips for training: python scripts/generate.py generator=sprites count=200 out=DIR workers=4 seed=0

The same bytes for the same (seed, number) whatever the workers; stopped at any moment, the same words go on with it.
Settings: configs/generate.yaml, or --help.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from cotracker import __version__
from cotracker.benchmarks.results import commit
from cotracker.config.instantiate import instantiate
from cotracker.config.overrides import refuse_misspelt
from cotracker.data.kubric.layout import describe, write_clip
from cotracker.data.kubric.manifest import claimed, heading, settle, write_manifest
from cotracker.data.stream import attempted
from cotracker.data.workers import spread

CONFIGS = Path(__file__).parents[1] / "configs"
SAVE_EVERY = 5.0  # seconds between two writings of the manifest
LIMITS = {
    "count": (1, 10**6),
    "start": (0, 10**6),
    "seed": (0, 2**63),
    "workers": (0, 1000),
    "quality": (1, 100),
}


@hydra.main(config_path="../configs", config_name="generate", version_base="1.3")
def main(cfg: DictConfig) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    os.environ |= {
        name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    }  # of workers
    try:
        run(OmegaConf.to_container(cfg, resolve=True))
    except (ValueError, OSError, OmegaConfBaseException) as error:
        print(f"generate.py: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("generate.py: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def run(settings: dict) -> int:
    """How many clips were made, so that the folder settings["out"] holds them all; ValueError for what cannot be."""
    check(settings)
    out, node = Path(settings["out"]), settings["generator"]
    generator = build(settings)
    config = {key: value for key, value in node.items() if key not in ("_target_", "_convert_")}
    files = {key: settings[key] for key in ("images", "quality", "by_products")}
    made = heading(node["_target_"], config, settings["seed"], __version__, commit()) | files
    try:
        with claimed(out):
            manifest = settle(out, made)
            todo = missing(settings, [entry["name"] for entry in manifest["clips"]])
            began = time.monotonic()
            try:
                collect(out, manifest, settings, todo, generator)
            finally:
                write_manifest(out, manifest)
                manifest = settle(
                    out, made
                )  # with the clips that were under way when it was stopped
    except OSError as error:
        raise ValueError(
            f"cannot write into {out} ({error}): make room or choose another folder; whole clips are kept"
        ) from error
    rate = (
        f"{len(todo)} now, {len(todo) / (time.monotonic() - began):.2f} clips/s"
        if todo
        else "all there before"
    )
    print(f"{len(manifest['clips'])} clips in {out}: {rate}")
    return len(todo)


def check(settings: dict) -> None:
    """ValueError, one sentence, for a setting that no run can have."""
    for name, (least, largest) in LIMITS.items():
        value = settings[name]
        if type(value) is not int or not least <= value <= largest:
            raise ValueError(
                f"{name} must be a whole number from {least} to {largest}, not {value}"
            )
    if settings["start"] + settings["count"] > 10**6:  # six digits in a name
        raise ValueError(
            f"start and count must end at 1000000, not {settings['start'] + settings['count']}"
        )
    if settings["images"] not in ("jpg", "png"):
        raise ValueError(f"images must be jpg or png, not {settings['images']}")
    if type(settings["by_products"]) is not bool:
        raise ValueError(f"by_products must be true or false, not {settings['by_products']}")


def build(settings: dict):
    """The generator that configs/generator describes; ValueError with the reason alone where it cannot be made."""
    generator = instantiate(settings["generator"], "the generator")
    if settings["by_products"] and getattr(generator, "recording", None) is None:
        raise ValueError(f"{type(generator).__name__} has no by-products: leave by_products=false")
    return generator


def clip_name(number: int) -> str:
    return f"{number:06d}"


def missing(settings: dict, there: list[str]) -> list[int]:
    """The numbers of the clips that are wanted and not there; ValueError where the folder holds later ones."""
    start, count, have = (
        settings["start"],
        settings["count"],
        {int(name) for name in there if name.isdigit()},
    )
    last = max(have, default=-1)
    if last >= start + count:
        raise ValueError(
            f"{settings['out']} holds clips up to {clip_name(last)}, beyond count={count} from start={start}: "
            f"give count={last + 1 - start} or more, or another folder"
        )
    return [number for number in range(start, start + count) if number not in have]


def collect(out: Path, manifest: dict, settings: dict, todo: list[int], generator) -> None:
    """Makes the clips of `todo` and adds their entries to the manifest, written now and then."""
    saved = time.monotonic()
    there = settings["count"] - len(todo)
    with (
        tqdm(
            total=settings["count"],
            initial=there,
            unit="clip",
            dynamic_ncols=True,
            disable=not todo,
        ) as bar,
        making(out, settings, todo, generator) as made,
    ):
        for entry in made:
            manifest["clips"].append(entry)
            bar.update()
            if time.monotonic() - saved > SAVE_EVERY:
                write_manifest(out, manifest)
                saved = time.monotonic()


def making(
    out: Path, settings: dict, todo: list[int], generator
) -> AbstractContextManager[Iterator[dict]]:
    """The manifest's entries of the clips as they are done; the clips under way when it is left are finished first."""
    if settings["workers"] == 0:
        return spread(partial(write_one, generator, out, settings), todo, 0)
    return spread(work, todo, settings["workers"], partial(begin, out, settings))


_write: Callable[
    [int], dict
]  # of this worker: set once by `begin`, as a generator cannot travel with every number


def begin(out: Path, settings: dict) -> None:
    """Readies a worker: its own generator."""
    global _write
    _write = partial(write_one, build(settings), out, settings)


def work(number: int) -> dict:
    return _write(number)


def write_one(generator, out: Path, settings: dict, number: int) -> dict:
    """The entry of clip `number`, drawn as the training stream draws example `number`, and written to `out`."""
    name, seed = clip_name(number), settings["seed"]
    if (out / name).exists():  # of a worker that outlived a killed run by a moment
        return describe(out / name)

    def make(rng: np.random.Generator, attempt: int) -> tuple:
        return generator.recording(rng) if settings["by_products"] else (generator.clip(rng), None)

    clip, by_products = attempted(
        make, (seed, number), f"clip {number} of seed {seed}: {type(generator).__name__}"
    )
    return write_clip(out, name, clip, by_products, settings["images"], settings["quality"])


if __name__ == "__main__":
    refuse_misspelt(CONFIGS, "generate", sys.argv[1:])
    main()
