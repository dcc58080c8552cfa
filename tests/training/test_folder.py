"""A run's folder: one process at a time, and nothing that was saved is lost or misread."""

import json
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cotracker import checkpoint, files
from cotracker.config import entry
from cotracker.training.log import Log
from cotracker.training.progress import Progress
from train import run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TINY = ("experiment=smoke", "model.channels=8", "model.widths=[8,8,8,8]", "model.hidden=32")
SAVING = ("train.schedule_extra_steps=1", "train.save_every=1", "train.batch=1", "train.steps=2")


def train_into(out: Path, *words: str) -> None:
    threads = torch.get_num_threads()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("train", overrides=[*TINY, *SAVING, f"out={out}", *words])
    run(config)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    train_into(out)
    return out


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "out"))


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def refusal(out: Path, *words: str) -> str:
    """The sentence that refuses to resume, after which all is as it was."""
    before = contents(out)
    with pytest.raises(ValueError) as error:
        train_into(out, *words)
    assert contents(out) == before
    return str(error.value)


def test_a_run_without_its_state_is_not_begun_anew(copied):
    (copied / "last.pt").unlink()
    said = refusal(copied)
    assert f"{copied} holds model.safetensors, log.jsonl of a run but no last.pt" in said


def test_a_run_killed_before_its_first_checkpoint_resumes(copied, tmp_path):
    """The state is saved before the first step, so that only a lost one is missing."""
    train_into(tmp_path / "new", "train.budget_minutes=0", "train.save_every=100")
    state = checkpoint.load_state(tmp_path / "new" / "last.pt")
    assert state["progress"]["step"] == 1
    for path in copied.iterdir():
        if path.name not in ("config.yaml", "environment.json"):
            path.unlink()
    train_into(copied)  # killed before any state
    assert (copied / "last.pt").exists()


def test_a_state_with_a_flipped_bit_or_cut_short_is_refused(copied):
    state = copied / "last.pt"
    whole = state.read_bytes()
    with zipfile.ZipFile(state) as stored:
        info = max(stored.infolist(), key=lambda one: one.file_size)  # some weights
    flipped = bytearray(whole)
    flipped[info.header_offset + 200 + info.file_size // 2] ^= 4
    for data in (bytes(flipped), whole[: len(whole) // 2], b"", b"[" * 300_000):
        state.write_bytes(data)
        assert str(state) in refusal(copied)


def test_no_flipped_bit_anywhere_changes_what_is_loaded(tmp_path):
    path, rng = tmp_path / "last.pt", random.Random(0)
    checkpoint.save_state(path, {"a": torch.arange(64.0), "text": "x" * 64})
    whole, refused = path.read_bytes(), 0
    for _ in range(300):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            state = checkpoint.load_state(path)
        except ValueError as error:
            refused += str(path) in str(error)
        else:
            assert torch.equal(state["a"], torch.arange(64.0)) and state["text"] == "x" * 64
    assert refused > 100


@pytest.mark.parametrize("change", [
    lambda state: state["progress"].update(colour=1),
    lambda state: state["progress"].update(step=-5),
    lambda state: state.update(progress=[1]),
    lambda state: state.update(settings=3),
    lambda state: state.update(settings="[" * 200_000),
    lambda state: state.update(model={}),
    lambda state: state.update(model=3),
    lambda state: state.update(optimiser=None),
    lambda state: state["optimiser"].update(adamw={"state": 3, "param_groups": []}),
    lambda state: state.update(random=[torch.zeros(3)]),
])  # fmt: skip
def test_a_state_of_another_shape_is_one_sentence_that_names_it(copied, change):
    state = checkpoint.load_state(copied / "last.pt")
    change(state)
    checkpoint.save_state(copied / "last.pt", state)
    assert f"{copied}/last.pt" in refusal(copied, "train.steps=2")


@pytest.mark.parametrize("line", ["{", "[" * 100_000, '{"loss": 1}', "3", '{"step": "x"}', "\x00"])
def test_a_log_with_a_foreign_line_is_refused_and_kept(copied, line):
    log = copied / "log.jsonl"
    log.write_text(line + "\n" + log.read_text())
    assert f"{log}: line 1" in refusal(copied)


def test_a_log_cut_in_its_last_line_goes_on(finished, tmp_path):
    out = tmp_path / "out"
    train_into(out, "train.budget_minutes=0")
    with (out / "log.jsonl").open("a") as log:
        log.write('{"step": 2, "lo')
    train_into(out)
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2]
    ours, theirs = (checkpoint.read_card(one / "model.safetensors") for one in (out, finished))
    assert ours["hash"] == theirs["hash"]


def test_two_runs_cannot_write_into_one_folder(copied, monkeypatch):
    holder = "import sys\nfrom pathlib import Path\nfrom cotracker.files import lock_folder\n"
    holder += "with lock_folder(Path(sys.argv[1])):\n    print('held', flush=True)\n    input()\n"
    command = [sys.executable, "-c", holder, copied]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **streams) as process:
        assert process.stdout.readline() == "held\n"
        monkeypatch.setattr(files.lock_folder.__wrapped__, "__defaults__", (0.0,))
        assert f"another process is writing into {copied}" in refusal(copied)
        process.communicate("\n")
    train_into(copied)


def test_only_files_of_its_own_are_removed(copied, tmp_path):
    kept = [copied / "thesis.zip.partial", copied / "last.pt.bak.partial"]
    for path in [*kept, copied / "last.ptabcd_123.partial"]:
        path.write_text("half")
    out = Path(shutil.copytree(copied, tmp_path / "more"))
    state = checkpoint.load_state(out / "last.pt")
    state["progress"]["step"] = 1
    checkpoint.save_state(out / "last.pt", state)
    train_into(out)
    left = sorted(path.name for path in out.glob("*.partial"))
    assert left == sorted(path.name for path in kept)


def test_an_empty_folder_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="out is empty: pass out=DIR"):
        train_into("")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_killed_process_is_removed_by_the_next(tmp_path, monkeypatch):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True).stdout.strip()  # fmt: skip
    for process in (dead, "1"):
        (tmp_path / f"{files._own_prefix()}{process}-abc").mkdir()
    (tmp_path / f"{files.PARTIAL_FOLDER}elsewhere-{dead}-abc").mkdir()
    with files.output_folder(tmp_path / "out", ["a"]) as folder:
        (folder / "a").write_text("x")
    left = sorted(path.name.split("-")[-2] for path in tmp_path.glob(".cotracker*"))
    assert left == sorted(["1", dead]) and (tmp_path / "out" / "a").exists()


def test_a_full_disk_is_one_sentence_and_keeps_what_was_saved(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save_state(path, {"a": torch.zeros(10)})

    class Full:
        def __reduce__(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        checkpoint.save_state(path, {"a": torch.zeros(1000), "b": Full()})
    assert list(tmp_path.iterdir()) == [path] and len(checkpoint.load_state(path)["a"]) == 10


@pytest.mark.parametrize("error, sentence", [
    (MemoryError(), "the memory is full"),
    (RuntimeError("CUDA out of memory. Tried"), "the memory is full"),
    (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "a data worker died"),
    (OSError(28, "No space left on device", "a/b"), "a/b: No space left on device"),
    (ValueError("Caught ValueError in DataLoader worker process 0.\nTrace\nValueError: b"), "b"),
])  # fmt: skip
def test_known_errors_end_in_a_sentence(error, sentence, capsys):
    with pytest.raises(SystemExit) as end, entry.end_in_a_sentence("train.py", "interrupted"):
        raise error
    said = capsys.readouterr().err
    assert (
        end.value.code == 2 and said.startswith(f"train.py: {sentence}") and said.count("\n") == 1
    )


def test_ctrl_c_ends_in_a_sentence(capsys):
    with pytest.raises(SystemExit) as end, entry.end_in_a_sentence("evaluate.py", "interrupted"):
        raise KeyboardInterrupt
    assert end.value.code == 130 and capsys.readouterr().err == "evaluate.py: interrupted\n"


def test_the_board_of_a_resumed_run_has_each_step_once(tmp_path):
    """That of the saved step too, and none of the steps that the run had lost."""
    for start, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        log = Log(tmp_path, start, 4, 1)
        for step in steps:
            log.step(step, {"loss": step + start / 10})
        log.close()
    board = EventAccumulator(str(tmp_path)).Reload()
    values = [(one.step, round(one.value, 3)) for one in board.Scalars("loss")]
    assert values == [(1, 1.0), (2, 2.0), (3, 3.2), (4, 4.2)]


def test_progress_of_a_state_is_checked():
    assert Progress.read({"step": 3, "best": {}}) == Progress(3)
    for values in ({}, {"step": True}, {"step": 1.5}, {"step": 1, "seconds": float("nan")}):
        with pytest.raises(ValueError):
            Progress.read(values)
