"""Schedules of the rate: a run at a constant rate can be ended at any step by a decay."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

from cotracker import checkpoint
from train import run

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = [
    "experiment=smoke",
    "train.lr_schedule=constant",
    "train.schedule_extra_steps=0",
    "train.warmup=0.5",
    "train.lr=1e-3",
    "train.log_every=1",
    "train.threads=1",
    "train.workers=0",
    "train.ema=0.5",
]


def train(*overrides: str) -> list[dict]:
    """The lines of the log of a run with these overrides; the last one is out=FOLDER."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", overrides=[*SMALL, *overrides])
    threads = torch.get_num_threads()
    run(config)
    torch.set_num_threads(threads)
    log = Path(config.out) / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.fixture(scope="module")
def constant(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("constant")
    train("train.steps=4", f"out={out}")
    return out


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.iterdir() if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_a_constant_rate_rises_and_stays(constant):
    log = [json.loads(line) for line in (constant / "log.jsonl").read_text().splitlines()]
    assert [line["lr"] for line in log] == pytest.approx([5e-4, 1e-3, 1e-3, 1e-3])


@pytest.mark.slow
def test_a_decay_goes_on_from_the_run_and_leaves_it_as_it_was(constant, tmp_path):
    before = digests(constant)
    words = ["train.steps=4", "train.ema=0.25", f"train.decay_from={constant}"]
    decay = train(*words, f"out={tmp_path}/decay")
    assert digests(constant) == before
    rates = [line["lr"] for line in decay]
    assert rates == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])
    card = checkpoint.read_card(tmp_path / "decay" / "model.safetensors")
    assert card["examples"] == 16 and card["init_from"]["steps"] == 4

    longer = train("train.steps=6", f"train.warmup={1 / 3}", f"out={tmp_path}/longer")
    assert decay[0]["loss"] == longer[4]["loss"]  # the same weights see the same clips


@pytest.mark.parametrize("words, message", [
    (["train.decay_from=nowhere"], "nowhere has no last.pt: pass the folder of a run"),
    (["train.decay_from=x", "train.init_from=y"], "leave train.init_from=null"),
])  # fmt: skip
def test_a_decay_that_cannot_begin_is_refused(words, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(*words, f"out={tmp_path}/out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_resumed_run_may_weigh_its_mixture_anew(tmp_path):
    """The first step sees clips of 8 frames, those after the resuming clips of 12."""
    words = [*SMALL, "train.steps=4", "train.warmup=0.25", f"out={tmp_path}/out"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", overrides=[*words, "train.budget_minutes=null"])
    sources = [{**config.data, "frames": frames} for frames in (8, 12)]
    mixture = {"_target_": "cotracker.data.stream.Mixture", "_convert_": "all"}
    with open_dict(config):
        config.data = mixture | {"sources": sources, "weights": [1, 0]}
    log = tmp_path / "out" / "log.jsonl"
    config.train.budget_minutes = 1e-9  # one step
    run(config)
    config.train.budget_minutes, config.data.weights = None, [0, 1]
    run(config)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    frames = [line["frames_per_second"] / line["clips_per_second"] for line in lines]
    assert frames == pytest.approx([8, 12, 12, 12])
