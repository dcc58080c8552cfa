"""Many runs from one command line: sweeps in one process, and processes as Slurm starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cotracker import checkpoint
from cotracker.config.overrides import expand_sweep

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
TINY = [
    "experiment=smoke",
    "model.channels=8",
    "model.widths=[8,8,8,8]",
    "model.hidden=32",
    "train.log_every=1",
    "train.lr=2e-5",
]  # at the run's own rate Adam makes 1e-3 of the last digit within six steps
pytestmark = pytest.mark.slow
STEPS = 16  # enough to be signalled among them


def command(folder: Path, *overrides: str) -> list[str]:
    return [sys.executable, "train.py", "-m", f"hydra.sweep.dir={folder}/sweep", *TINY, *overrides]


def submitted(folder: Path, *overrides: str) -> list[str]:
    """Two processes of one clip each, started by submitit's local launcher in `folder`."""
    place = f"hydra.launcher.submitit_folder={folder}/submitit/%j"
    return command(folder, "cluster=local_2", place, "train.batch=1", *overrides)


def said(arguments: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What a run of two processes that submitit started leaves."""
    folder = tmp_path_factory.mktemp("together")
    answer = said(submitted(folder, f"train.steps={STEPS}", f"out={folder}/run"))
    assert answer.returncode == 0, answer.stderr
    return folder


def test_a_sweep_trains_one_after_the_other_each_as_it_would_alone(tmp_path):
    out = f"out={tmp_path}/window" + "${model.window}"
    answer = said(command(tmp_path, "model.window=4,8", "train.steps=2", "train.workers=1", out))
    assert answer.returncode == 0, answer.stderr
    assert [
        checkpoint.load_model(tmp_path / f"window{w}" / "model.safetensors").window for w in (4, 8)
    ] == [4, 8]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep", "window4", "window8"]
    single = [word for word in command(tmp_path, "model.window=8", "train.steps=2") if word != "-m"]
    assert said([*single, f"out={tmp_path}/single"]).returncode == 0
    assert losses(tmp_path / "single") == losses(tmp_path / "window8")


def test_asked_to_stop_the_whole_sweep_stops(tmp_path):
    out = f"out={tmp_path}/window" + "${model.window}"
    arguments = command(
        tmp_path, "model.window=4,8", "train.steps=200", "train.save_every=1000", out
    )
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    wait_for_steps(tmp_path / "window4", 2, process)
    process.send_signal(signal.SIGINT)
    heard, _ = process.communicate(timeout=120)
    assert (
        process.returncode == 128 + signal.SIGINT
        and "run the same command again to resume" in heard
    )
    assert (tmp_path / "window4" / "last.pt").exists() and not (tmp_path / "window8").exists()


@pytest.mark.parametrize("words, sentence", [
    (["model.windw=4,8"], "there is no setting model.windw: did you mean model.window?"),
    (["experiment=smoke,smok"], "there is no experiment=smok: did you mean experiment=smoke?"),
    (["model.window=4,8", "--multirun", "train.stepps=range(1,3)"], "did you mean train.steps?"),
    (["cluster=slurm_4x9"], "did you mean cluster=slurm_4x8?"),
])  # fmt: skip
def test_a_misspelt_word_of_a_sweep_is_answered_in_one_sentence(tmp_path, words, sentence):
    answer = said(command(tmp_path, *words))
    assert answer.returncode == 2 and sentence in answer.stderr and answer.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_every_choice_of_a_sweep_is_looked_at():
    lines = expand_sweep(["a=1,2,3", "b=range(4,6)", "+c=x", "d=glob(*)"])
    assert lines == [["a=1", "b=4", "+c=x"], ["a=2", "b=5", "+c=x"], ["a=3", "b=5", "+c=x"]]
    assert expand_sweep([]) == [[]]


def test_a_sweep_without_its_flag_is_told_of_it():
    answer = said([sys.executable, "train.py", *TINY, "model.window=4,8"])
    assert answer.returncode == 2 and "pass -m" in answer.stderr and answer.stderr.count("\n") == 1


def test_torchrun_is_told_that_it_cannot_sweep():
    answer = subprocess.run(
        [sys.executable, "train.py", "-m", *TINY, "model.window=4,8"],
        cwd=ROOT,
        text=True,
        env=ENVIRONMENT | {"TORCHELASTIC_RUN_ID": "x"},
        capture_output=True,
    )
    assert answer.returncode == 2 and "one torchrun a run" in answer.stderr


def test_two_processes_that_submitit_starts_train_as_one_with_both_clips(together, tmp_path):
    alone = [sys.executable, "train.py", *TINY, f"train.steps={STEPS}", f"out={tmp_path}"]
    assert said(alone).returncode == 0
    np.testing.assert_allclose(losses(together / "run")[:6], losses(tmp_path)[:6], rtol=1e-3)
    assert json.loads((together / "run" / "environment.json").read_text())["processes"] == 2
    assert sorted(path.name for path in together.iterdir()) == ["run", "submitit", "sweep"]


def test_told_that_the_time_is_up_it_saves_and_submitit_starts_it_again(together, tmp_path):
    """SIGUSR2 to every process, as Slurm sends it; only the signal and the end save."""
    arguments = submitted(
        tmp_path, f"train.steps={STEPS}", "train.save_every=1000", f"out={tmp_path}/run"
    )
    launcher = subprocess.Popen(
        arguments, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    wait_for_steps(tmp_path / "run", 2, launcher)
    (folder,) = [path for path in (tmp_path / "submitit").iterdir() if path.name != "%j"]
    for task in Path(f"/proc/{folder.name}/task/{folder.name}/children").read_text().split():
        os.kill(int(task), signal.SIGUSR2)
    _, error = launcher.communicate(timeout=120)
    log = (folder / f"{folder.name}_0_log.out").read_text()
    assert launcher.returncode == 0, error + log
    for words in ("run the same command again to resume", "resuming"):
        assert words in log, log
    assert losses(tmp_path / "run") == losses(together / "run")


def wait_for_steps(out: Path, steps: int, process: subprocess.Popen) -> None:
    """Returns once `out`/log.jsonl has so many lines."""
    log = out / "log.jsonl"
    while not (log.exists() and log.read_text().count("\n") >= steps):
        assert process.poll() is None, "training ended before it could be signalled"
        time.sleep(0.005)
