"""train.py: the golden losses, that it learns, resumes exactly, and what it refuses."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

import cotracker
import train
from cotracker import checkpoint
from cotracker.files import PARTIAL
from cotracker.model.config import CoTrackerConfig
from cotracker.training import stopping
from train import run

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def config(*overrides):
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose("train", overrides=["experiment=smoke", *overrides])


def command(*overrides):
    return [sys.executable, "train.py", "experiment=smoke", *overrides]


def lines(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def weights(out):
    return checkpoint.read_card(out / "model.safetensors")["hash"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder of one whole smoke run."""
    out = tmp_path_factory.mktemp("smoke")
    threads = torch.get_num_threads()
    run(config(f"out={out}"))
    torch.set_num_threads(threads)
    return out


V3 = ["model=cotracker3_online_small", "objective=cotracker3", "model.window=8", "model.levels=2"]
V3 += ["model.corr_hidden=32", "model.corr_channels=16"]  # no more than the smoke test's network


@pytest.mark.slow
@pytest.mark.parametrize("words, golden", [([], "smoke"), (V3, "cotracker3")])
def test_first_twenty_losses_are_those_on_file(words, golden, tmp_path):
    """At a low rate: at the run's own, AVX2 and AVX-512 differ by 2 % within twenty steps."""
    threads = torch.get_num_threads()
    slow = ["train.steps=20", "train.schedule_extra_steps=180", "train.lr=3e-5"]
    run(config(f"out={tmp_path}", *slow, *words))
    torch.set_num_threads(threads)
    ours = [line["loss"] for line in lines(tmp_path)]
    np.testing.assert_allclose(ours, np.loadtxt(GOLDEN / f"{golden}_losses.txt"), rtol=1e-3)


@pytest.mark.slow
def test_loss_falls(smoke):
    steps = lines(smoke)
    assert len(steps) == 100

    def fallen(name):  # clips differ much, so many are averaged
        return np.mean([x[name] for x in steps[60:]]) / np.mean([x[name] for x in steps[:20]])

    assert fallen("loss") < 0.93 and fallen("matching") < 0.8 and fallen("error") < 0.8


@pytest.mark.slow
def test_run_writes_what_describes_it(smoke):
    card = checkpoint.read_card(smoke / "model.safetensors")
    assert card["steps"] == 100 and card["examples"] == 200 and card["licence"] and card["data"]
    assert card["training"]["train"]["lr"] == 1e-3 and card["version"] == cotracker.__version__
    assert "lr: 0.001" in (smoke / "config.yaml").read_text()
    assert torch.__version__.startswith(
        json.loads((smoke / "environment.json").read_text())["torch"]
    )
    assert list(smoke.glob("events.*"))
    config = checkpoint.load_model(smoke / "model.safetensors").config
    assert config == CoTrackerConfig(**card["model"])


@pytest.mark.slow
def test_killed_between_checkpoints_it_continues_to_the_same_weights(smoke, tmp_path):
    kill_at = 23  # some step that is not a multiple of save_every
    process = subprocess.Popen(
        command(f"out={tmp_path}"), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )
    log = tmp_path / "log.jsonl"
    while not (log.exists() and log.read_text().count("\n") >= kill_at):
        assert process.poll() is None, "training ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(
        command(f"out={tmp_path}"), cwd=ROOT, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL
    )
    assert weights(tmp_path) == weights(smoke)
    assert [line["loss"] for line in lines(tmp_path)] == [line["loss"] for line in lines(smoke)]


@pytest.mark.slow
def test_asked_to_stop_it_saves_and_leaves(smoke, tmp_path):
    process = subprocess.Popen(
        command(f"out={tmp_path}", "train.save_every=1000"),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "log.jsonl").exists() or not (tmp_path / "log.jsonl").read_text():
        assert process.poll() is None, "training ended before it could be asked to stop"
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate()
    assert process.returncode == 0 and "run the same command again to resume" in said
    done = checkpoint.load_state(tmp_path / "last.pt")["progress"]["step"]
    assert 0 < done < 100
    assert [x["loss"] for x in lines(tmp_path)] == [x["loss"] for x in lines(smoke)[:done]]


@pytest.mark.slow
def test_clips_are_rendered_on_the_device_instead_of_by_workers(tmp_path):
    """The same scenes, nearly the same losses; the same weights whatever the workers, resumed."""
    threads = torch.get_num_threads()
    by_cpu, by_device, continued, both = (
        tmp_path / name for name in ("cpu", "device", "continued", "both")
    )
    words = "train.steps=4", "train.lr=3e-5", "train.save_every=2"
    run(config(f"out={by_cpu}", *words))
    run(config(f"out={by_device}", *words, "train.render_on_device=true"))
    for budget in ("0", "null"):
        run(
            config(
                f"out={continued}",
                *words,
                "train.render_on_device=true",
                "train.workers=2",
                f"train.budget_minutes={budget}",
            )
        )
    torch.set_num_threads(threads)
    assert weights(continued) == weights(by_device) != weights(by_cpu)
    losses = [[line["loss"] for line in lines(out)] for out in (by_cpu, by_device)]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.02)
    run(config(f"out={both}", *words, "train.budget_minutes=0"))
    run(
        config(f"out={both}", *words, "train.render_on_device=true")
    )  # a continued run may change it
    assert [line["loss"] for line in lines(both)] == pytest.approx(
        [losses[0][0], *losses[1][1:]], rel=1e-3
    )


def test_what_a_device_cannot_render_is_refused(tmp_path):
    words = f"out={tmp_path}/out", "train.render_on_device=true"
    with pytest.raises(
        ValueError,
        match="only clips of Sprites can be rendered on the device, and these data are Scenes3D",
    ):
        run(config(*words, "data=scenes3d"))
    with pytest.raises(ValueError, match="render_on_device=true needs augment=none"):
        run(config(*words, "augment=paper"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_other_settings_are_refused_in_a_folder_in_use(smoke):
    with pytest.raises(
        ValueError, match="train.lr was 0.001 and is now 0.002.*pass another folder"
    ):
        run(config(f"out={smoke}", "train.lr=0.002"))


@pytest.mark.slow
def test_starting_from_weights(smoke, tmp_path):
    run(
        config(
            f"out={tmp_path}",
            "train.steps=1",
            "train.lr=1e-12",
            f"train.init_from={smoke}/model.safetensors",
        )
    )
    before, after = (
        checkpoint.load_model(out / "model.safetensors").state_dict() for out in (smoke, tmp_path)
    )
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    began, card = (checkpoint.read_card(out / "model.safetensors") for out in (smoke, tmp_path))
    assert card["steps"] == 1 and card["init_from"]["hash"] == began["hash"]
    assert card["init_from"]["steps"] == 100 and card["init_from"]["data"] == began["data"]
    with pytest.raises(ValueError, match="does not fit the model"):
        run(
            config(
                f"out={tmp_path}/b", "model.hidden=32", f"train.init_from={smoke}/model.safetensors"
            )
        )


@pytest.mark.slow
def test_only_trainable_parts_are_trained(smoke, tmp_path):
    start = f"train.init_from={smoke}/model.safetensors"
    run(
        config(
            f"out={tmp_path}", "train.steps=2", start, "train.trainable=[visibility,encoder.fuse]"
        )
    )
    before, after = (
        checkpoint.load_model(out / "model.safetensors").state_dict() for out in (smoke, tmp_path)
    )
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    asked = {name for name in before if name.startswith(("visibility.", "encoder.fuse."))}
    assert moved == asked and len(asked) > 2
    with pytest.raises(
        ValueError, match="train.trainable=fuse is no part of the model: choose of encoder"
    ):
        run(config(f"out={tmp_path}/b", "train.trainable=[fuse]"))


@pytest.mark.parametrize("word, sentence", [  # one a call site
    ("train.lr=abc", "train.lr must be a number from 0 to 10, not abc"),
    ("train.trainable=visibility", "train.trainable must be a list of names"),
    ("train.device=gpu7", "train.device must be auto, cpu, mps, cuda or one such as cuda:1"),
    ("+train.learning_rate=1", "there is no setting train.learning_rate: choose one of steps,"),
    ("train=null", "train must be a section"),
    ("seed=-1", "seed must be a whole number"),
    ("out=null", "out must be a text, not None"),
    ("evaluation=null", "evaluation must be a section"),
    ("checkpoint.bfloat16_moments=2", "checkpoint.bfloat16_moments must be true or false"),
    ("model.window=7", "model cannot be built: model.window must be an even number"),
    ("objective.gamma=abc", "objective cannot be built: objective.gamma must be a number"),
    ("data.frames=1", "frames"),
    ("textures=/nonexistent", "/nonexistent"),
])  # fmt: skip
def test_values_that_cannot_be_are_refused_before_anything_is_written(word, sentence, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=sentence) as refusal:
        run(config(f"out={out}", word))
    assert "\n" not in str(refusal.value) and not out.exists()


@pytest.mark.parametrize("word, sentence", [
    ("evaluation.best=sprites/aj",
     "evaluation.best must be null or BENCHMARK/METRIC, with BENCHMARK of sprites_val"),
    ("evaluation.resolution=384", "evaluation: resolution must be"),
    ("evaluation.support_grid=-2", "evaluation: support"),
    ("evaluation.benchmarks.sprites_val.clips.count=0", "has no clips"),
])  # fmt: skip
def test_measurements_that_cannot_be_are_refused_before_the_run_begins(word, sentence, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=sentence):
        run(config(f"out={out}", "train.evaluate_every=5000", word))
    assert not out.exists()


@pytest.mark.slow
def test_a_foreign_state_is_refused_and_a_moved_run_goes_on(smoke, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(smoke, moved)
    (moved / f"last.ptabc{PARTIAL}").write_bytes(b"half")
    run(config(f"out={moved}"))
    assert weights(moved) == weights(smoke)
    checkpoint.save_state(moved / "last.pt", {"step": 3})
    with pytest.raises(ValueError, match="not the state of a training run"):
        run(config(f"out={moved}"))


@pytest.mark.slow
def test_moments_in_bfloat16_take_half_the_room_and_go_on_nearly_alike(smoke, tmp_path):
    for _ in range(6):
        run(config(f"out={tmp_path}", "checkpoint.bfloat16_moments=true", "train.budget_minutes=0"))
    exact, rounded = (
        checkpoint.load_state(out / "last.pt")["optimiser"]["adamw"] for out in (smoke, tmp_path)
    )
    assert exact["state"].keys() == rounded["state"].keys()
    for then, now in zip(exact["state"].values(), rounded["state"].values()):
        assert then["exp_avg"].dtype == torch.float32 and now["exp_avg_sq"].dtype == torch.bfloat16
    early = [[line["loss"] for line in lines(out)[:6]] for out in (smoke, tmp_path)]
    assert early[0][:2] == early[1][:2] and early[0] != early[1] and np.allclose(*early, rtol=0.02)


@pytest.mark.slow
def test_fields_can_be_set_and_a_misspelt_one_names_the_right_one(tmp_path):
    ablation = [
        "model.stride=8",
        "model.window=16",
        "model.radius=2",
        "data.frames=18",
        "train.steps=1",
    ]
    run(config(f"out={tmp_path}", *ablation))
    model = checkpoint.load_model(tmp_path / "model.safetensors")
    assert (model.stride, model.window, model.config.radius) == (8, 16, 2)
    answer = subprocess.run(
        command("model.windw=16"), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert (
        answer.returncode == 2
        and "model.window" in answer.stderr
        and answer.stderr.count("\n") == 1
    )


def test_the_end_of_a_run_names_the_command_that_evaluates_it(tmp_path, capsys):
    words = "train.steps=1", "evaluate_with='table=5 datasets=DIR'"
    run(config(f"out={tmp_path}", *words))
    assert "evaluate it: python evaluate.py table=5 datasets=DIR" in capsys.readouterr().out


@pytest.mark.slow
def test_a_dry_run_says_what_a_run_takes_and_writes_nothing(tmp_path, capsys):
    run(config(f"out={tmp_path}/out", "train.dry_run=true", "train.steps=1000"))
    said = capsys.readouterr().out
    assert (
        "parameters, of which" in said
        and "s a step" in said
        and "hours for the 1000 steps to come" in said
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_schedule_of_time_spans_the_budget_of_all_processes_of_a_run(
    tmp_path, monkeypatch, capsys
):
    ticks = itertools.count(
        0.0, 0.1
    )  # a clock that goes on by a tenth of a second whenever it is read
    clock = SimpleNamespace(monotonic=lambda: next(ticks))
    monkeypatch.setattr(stopping, "time", clock)
    monkeypatch.setattr(train, "time", clock)
    settings = (
        f"out={tmp_path}/out",
        "train.steps=100000",
        "train.lr_schedule=time",
        "train.budget_minutes=0.2",
    )
    with monkeypatch.context() as early:
        early.setattr(stopping.Stop, "is_due", lambda self: self.elapsed > 0.5)
        run(config(*settings))
    half = len(lines(tmp_path / "out"))
    run(config(*settings))
    rates = [line["lr"] for line in lines(tmp_path / "out")]
    assert (
        5 < half < len(rates) - 5 and rates.index(max(rates)) == 1
    )  # twelve seconds, a twentieth of them warm-up
    falls = np.diff(rates[1:])
    assert (falls < 0).all() and falls.min() > 2 * falls.mean() and 0 < rates[-1] < max(rates) / 8
    assert "run the same command again to resume" in capsys.readouterr().out
    run(config(*settings))
    assert "is trained" in capsys.readouterr().out and len(lines(tmp_path / "out")) == len(rates)
    with pytest.raises(ValueError, match="train.budget_minutes was 0.2 and is now 1"):
        run(config(*settings[:3], "train.budget_minutes=1"))
    with pytest.raises(ValueError, match="lr_schedule=time needs train.budget_minutes"):
        run(config(f"out={tmp_path}/none", "train.lr_schedule=time"))


def test_cuda_graphs_are_refused_where_they_cannot_be(tmp_path):
    with pytest.raises(ValueError, match="train.cuda_graphs=true needs a GPU and one process"):
        run(config(f"out={tmp_path}/none", "train.cuda_graphs=true", "train.device=cpu"))
    with pytest.raises(ValueError, match="train.cuda_graphs=true needs train.accumulate=1"):
        run(config(f"out={tmp_path}/none", "train.cuda_graphs=true", "train.accumulate=2"))
    with pytest.raises(ValueError, match="needs model.recompute=false"):
        run(config(f"out={tmp_path}/none", "train.cuda_graphs=true", "model.recompute=true"))
