"""Several runs of train.py, one after the other, in the processes that torchrun started.

jobs.py JOBS.json, which holds the keyword arguments of `run_watched` for each run.
"""

import json
import os
import sys
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

import train
from cotracker import checkpoint
from cotracker.training.distributed import Group, join_group
from cotracker.training.optim import Optimiser
from cotracker.training.stopping import Stop

ROOT = Path(__file__).parents[2]
SMALL = [
    "experiment=smoke",
    "data._target_=faulty.Faulty",
    "data.height=32",
    "data.width=48",
    "train.batch=1",
    "train.lr=2e-5",  # so slow that noise in the last digits does not grow
]


def run_watched(overrides: list[str], until: int | None = None, data: dict | None = None) -> None:
    """One run, which is asked to stop at step `until`; `data` takes the place of the config's.

    In its `out` each process leaves rank<n>.json: the hash of its weights after each step, and the
    error that ended the run or null; its first step's gradients, gradients<n>.pt; and in seen/<pid>
    the numbers of its examples.
    """
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("train", overrides=[*SMALL, *overrides])
    if data:
        cfg.data = data
    rank, out, hashes, error = int(os.environ.get("RANK", 0)), Path(cfg.out), [], None
    (out / "seen").mkdir(parents=True, exist_ok=True)
    os.environ["SEEN"] = str(out / "seen")
    clip, step, is_due = Optimiser.clip_gradients, Optimiser.step, Stop.is_due

    def saving_clip(self):
        if not hashes:
            torch.save([p.grad.clone() for p in self.parameters], out / f"gradients{rank}.pt")
        return clip(self)

    def hashing_step(self, finite, progress):
        step(self, finite, progress)
        hashes.append(checkpoint.weights_hash(self.model.state_dict()))

    def is_due_then(self):
        return is_due(self) or (until is not None and len(hashes) + 1 >= until)

    Optimiser.clip_gradients, Optimiser.step, Stop.is_due = saving_clip, hashing_step, is_due_then
    try:
        train.run(cfg)
    except ValueError as caught:
        error = str(caught)
    finally:
        Optimiser.clip_gradients, Optimiser.step, Stop.is_due = clip, step, is_due
        del os.environ["SEEN"]
    (out / f"rank{rank}.json").write_text(json.dumps({"hashes": hashes, "error": error}))


if __name__ == "__main__":
    group, destroy = join_group(torch.device("cpu"), timeout_minutes=1), Group.destroy
    train.join_group = lambda device, timeout: group  # one group for all the runs
    Group.destroy = lambda self: None
    for job in json.loads(Path(sys.argv[1]).read_text()):
        run_watched(**job)
    destroy(group)
    threads = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    assert not any("gloo" in name for name in threads), f"after the group was left: {threads}"
