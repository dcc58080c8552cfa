"""A run's folder: held by one process at a time, and described by what is written first."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cotracker import files, provenance
from cotracker.model.hardware import choose_precision, device_name
from cotracker.training.distributed import Group
from cotracker.training.log import LOGS, check_logs

OWN_FILES = ("last.pt", "model.safetensors", "best.safetensors", "config.yaml", "environment.json")
RESULTS = ("model.safetensors", "best.safetensors", *LOGS)  # lost if a run began anew beside them


@contextmanager
def hold_folder(out: Path, group: Group) -> Iterator[None]:
    """Keeps other processes from writing into the folder of a run; rank 0 does it for all.

    ValueError where another process holds it, it is no folder, or it holds what a run left, but no
    state from which to resume.
    """
    if not group.is_main:
        yield
        return
    if out.exists() and not out.is_dir():
        raise ValueError(f"out={out} is a file: pass a folder with out=DIR")
    check_logs(out)
    left = [name for name in RESULTS if (out / name).exists()]
    if left and not (out / "last.pt").exists():
        raise ValueError(
            f"{out} holds {', '.join(left)} of a run but no last.pt from which to resume: "
            "pass another folder with out=, or move these files away"
        )
    with files.lock_folder(out):
        yield


def prepare_folder(out: Path, config: str, precision: str, group: Group) -> None:
    """Writes config.yaml and environment.json into `out`, on rank 0; removes partial files.

    config: the text of config.yaml.  precision: "auto" is recorded as what it is here.
    """
    if not group.is_main:
        return
    files.remove_partial(out, OWN_FILES)
    files.write_text(out / "config.yaml", config)
    environment = {
        "commit": provenance.commit(),
        "device": device_name(group.device.type),
        "precision": choose_precision(precision, group.device.type),
        "threads": torch.get_num_threads(),
        **provenance.versions(),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
    }
    files.write_json(out / "environment.json", environment)
