"""How the command line ends: by Ctrl-C and SIGTERM, with nothing left behind, in one sentence."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cotracker import files
from cotracker.cli import exit_code

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def interruptible():
    """Shells start background jobs with Ctrl-C ignored, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number, code, words", [
    (signal.SIGTERM, 143, "ended by SIGTERM"), (signal.SIGINT, 130, "interrupted"),
])  # fmt: skip
def test_a_signal_removes_what_is_half_written(tmp_path, capsys, number, code, words):
    def run() -> None:
        with files.output_folder(tmp_path / "out", ["tracks.csv"]) as folder:
            (folder / "tracks.csv").write_text("half")
            assert len(list(tmp_path.iterdir())) == 1
            os.kill(os.getpid(), number)
            raise AssertionError("the signal came too late")

    before = signal.getsignal(signal.SIGTERM)
    assert exit_code(run) == code and signal.getsignal(signal.SIGTERM) is before
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("program", [["-m", "cotracker", "--version"], ["train.py"],
                                     ["evaluate.py", "benchmark.root=x"]])  # fmt: skip
def test_ctrl_c_while_pytorch_is_imported_is_one_sentence(tmp_path, program):
    (tmp_path / "torch.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    done = subprocess.run([sys.executable, *program], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": path})  # fmt: skip
    assert done.returncode == 130 and done.stderr.count("\n") == 1, done.stderr
    assert "interrupted" in done.stderr


def test_an_error_names_what_was_to_be_written_and_not_the_way_there(tmp_path):
    with pytest.raises(OSError) as error, files.replace_file(tmp_path / "a.json"):
        raise OSError(28, "No space left on device")
    assert str(error.value) == f"[Errno 28] No space left on device: '{tmp_path / 'a.json'}'"
    with pytest.raises(OSError) as error, files.output_folder(tmp_path / "out", ["a"]) as folder:
        (folder / "missing" / "a").write_text("x")
    assert error.value.filename == f"{tmp_path / 'out'}/missing/a"


def test_a_link_to_nothing_is_refused_before_the_work(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path / "link", tmp_path / "link" / "out"):
        with pytest.raises(ValueError, match=f"{tmp_path}/link is a link to {tmp_path}/nowhere"):
            with files.output_folder(path, ["a"]):
                raise AssertionError("the work began")
