"""Writes clips for training.

    python scripts/generate.py generator=sprites count=200 out=DIR workers=4 seed=0

The same (seed, index) gives the same bytes, whatever the workers.  Run the same command again to
resume a run that was stopped.
Settings: configs/generate.yaml, or --help.
"""

# ruff: noqa: E402 - words are read before PyTorch is imported
import signal
from pathlib import Path

CONFIGS = Path(__file__).parents[1] / "configs"
if __name__ == "__main__":
    from cotracker.config.entry import begin

    begin(CONFIGS, "generate")

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from cotracker import __version__, checkpoint, checks
from cotracker.config.entry import end_in_a_sentence
from cotracker.config.instantiate import instantiate
from cotracker.data.kubric.layout import describe_clip, write_clip
from cotracker.data.kubric.manifest import (
    manifest_header,
    update_manifest,
    write_manifest,
)
from cotracker.data.stream import sample_until_good
from cotracker.data.workers import map_in_processes
from cotracker.files import lock_folder
from cotracker.provenance import commit

SAVE_EVERY = 5.0  # seconds between two writings of the manifest
LARGEST = 10**6  # of indices: six digits in a name
LIMITS = {
    "count": (1, LARGEST),
    "start": (0, LARGEST),
    "seed": (0, 2**63),
    "workers": (0, 1000),
    "quality": (1, 100),
}


@hydra.main(config_path="../configs", config_name="generate", version_base="1.3")
def main(cfg: DictConfig) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    for library in ("OMP", "MKL", "OPENBLAS"):
        os.environ[f"{library}_NUM_THREADS"] = "1"  # in each worker
    with end_in_a_sentence("generate.py", "stopped; run the same command again to resume"):
        run(OmegaConf.to_container(cfg, resolve=True))


def run(settings: dict) -> int:
    """Writes the clips that settings["out"] lacks, and returns their number."""
    check(settings)
    out = Path(settings["out"])
    node = settings["generator"]
    generator = build(settings)
    config = {key: value for key, value in node.items() if key not in ("_target_", "_convert_")}
    files = {key: settings[key] for key in ("images", "quality", "by_products")}
    head = (
        manifest_header(node["_target_"], config, settings["seed"], __version__, commit()) | files
    )
    head |= describe_teacher(generator, node)
    try:
        with lock_folder(out, wait=0):
            manifest = update_manifest(out, head)
            todo = missing_clips(settings, [entry["name"] for entry in manifest["clips"]])
            began = time.monotonic()
            try:
                collect(out, manifest, settings, todo, generator)
            finally:
                write_manifest(out, manifest)
                # with the clips that were being written when it was stopped
                manifest = update_manifest(out, head)
    except OSError as error:
        raise ValueError(
            f"cannot write into {out} ({error}): make room or choose another folder; "
            "whole clips are kept"
        ) from error
    rate = len(todo) / (time.monotonic() - began)
    news = f"{len(todo)} now, {rate:.2f} clips/s" if todo else "all there before"
    print(f"{len(manifest['clips'])} clips in {out}: {news}")
    return len(todo)


def check(settings: dict) -> None:
    """ValueError, one sentence, for an impossible setting."""
    for name, (least, most) in LIMITS.items():
        checks.whole(name, settings[name], least, most)
    checks.whole("start + count", settings["start"] + settings["count"], 1, LARGEST)
    checks.choice("images", settings["images"], ("jpg", "png"))
    checks.switch("by_products", settings["by_products"])


def build(settings: dict):
    """The generator that configs/generator describes; ValueError: it cannot be built."""
    generator = instantiate(settings["generator"], "the generator")
    if settings["by_products"] and getattr(generator, "recording", None) is None:
        raise ValueError(f"{type(generator).__name__} has no by-products: leave by_products=false")
    return generator


def describe_teacher(generator, node: dict) -> dict:
    """{"teacher": {name, hash, licence}} where a checkpoint labels the clips, else {}."""
    tracker = getattr(generator, "tracker", None)
    found = None if tracker is None else tracker.describe().get("checkpoint")
    if not found:
        return {}
    if "licence" not in found:
        path = checkpoint.find(node["tracker"].get("name_or_path") or checkpoint.SHIPPED)
        found = found | {"licence": checkpoint.read_card(path).get("licence")}
    return {"teacher": {key: found[key] for key in ("name", "hash", "licence")}}


def clip_name(index: int) -> str:
    return f"{index:06d}"


def missing_clips(settings: dict, names: list[str]) -> list[int]:
    """The indices of the clips that are not among `names`; ValueError: that holds later ones."""
    start, count = settings["start"], settings["count"]
    written = {int(name) for name in names if name.isdigit()}
    last = max(written, default=-1)
    if last >= start + count:
        raise ValueError(
            f"{settings['out']} holds clips up to {clip_name(last)}, beyond count={count} from "
            f"start={start}: give count={last + 1 - start} or more, or another folder"
        )
    return [index for index in range(start, start + count) if index not in written]


def collect(out: Path, manifest: dict, settings: dict, todo: list[int], generator) -> None:
    """Writes the clips of `todo` and adds them to the manifest, saved every few seconds."""
    saved = time.monotonic()
    count = settings["count"]
    progress = tqdm(total=count, initial=count - len(todo), unit="clip", disable=not todo)
    with progress as bar, write_clips(out, settings, todo, generator) as entries:
        for entry in entries:
            manifest["clips"].append(entry)
            bar.update()
            if time.monotonic() - saved > SAVE_EVERY:
                write_manifest(out, manifest)
                saved = time.monotonic()


def write_clips(
    out: Path, settings: dict, todo: list[int], generator
) -> AbstractContextManager[Iterator[dict]]:
    """The manifest's entries of clips, as they are written.

    When the block is left, the clips that were started are finished first.
    """
    if settings["workers"] == 0:
        return map_in_processes(partial(write_one, generator, out, settings), todo, 0)
    return map_in_processes(
        write_in_worker, todo, settings["workers"], partial(init_worker, out, settings)
    )


_write: Callable[[int], dict]  # of this worker, since a generator cannot travel with every index


def init_worker(out: Path, settings: dict) -> None:
    """Builds the worker's own generator."""
    global _write
    _write = partial(write_one, build(settings), out, settings)


def write_in_worker(index: int) -> dict:
    return _write(index)


def write_one(generator, out: Path, settings: dict, index: int) -> dict:
    """Writes clip `index`, the stream's example of that index; the entry of the manifest."""
    name = clip_name(index)
    seed = settings["seed"]
    if (out / name).exists():  # by a worker that outlived a killed run for a moment
        return describe_clip(out / name)

    def make(rng: np.random.Generator, attempt: int) -> tuple:
        return generator.recording(rng) if settings["by_products"] else (generator.clip(rng), None)

    owner = f"clip {index} of seed {seed}: {type(generator).__name__}"
    (clip, by_products), _ = sample_until_good(make, (seed, index), owner)
    return write_clip(out, name, clip, by_products, settings["images"], settings["quality"])


if __name__ == "__main__":
    main()
