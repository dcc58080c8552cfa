"""README: its Python runs, and each of its commands is one that parses."""

from pathlib import Path

import pytest
from commands import commands, python_blocks, wrong
from moving import moving_texture

from cotracker.data.video import write_video

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
COMMANDS = commands(TEXT)


@pytest.mark.slow
def test_the_python_of_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video("my.mp4", moving_texture(9, 240, 320), 10.0, (240, 320))
    (block,) = python_blocks(TEXT)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    tracks = names["tracks"]
    assert tracks.xy.shape == (1, 9, 1, 2) and tracks.visible.shape == tracks.visibility.shape == (
        1,
        9,
        1,
    )
    assert tracks.xy[0, 0, 0].tolist() == [100.0, 200.0] and bool(tracks.visible[0, 0, 0])


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_readme_parses(command):
    assert wrong(command) is None


def test_the_commands_are_found():
    programs = [command.removeprefix(".venv/bin/").split()[0] for command in COMMANDS]
    assert {"make", "cotracker", "python"} <= set(programs) and len(COMMANDS) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("command, reason", [
    ("make demonstration", "the Makefile has no demonstration"),
    ("make demo FILM=x", "the Makefile has no FILM=x"),
    ("cotracker track my.mp4 --out d --grids 3 --nothing", "exit code 2"),
    (".venv/bin/python train.py experiment=smok", "there is no experiment=smok"),
    ("python train.py -m model.window=4,8 model.strid=4", "there is no setting model.strid"),
    (".venv/bin/python evaluate.py table=10", "there is no table=10"),
    (".venv/bin/python scripts/nothing.py", "there is no scripts/nothing.py"),
    (".venv/bin/python scripts/demo.py --film x", "scripts/demo.py has no --film"),
    ("torchrun --nproc-per-node 2 train.py train.batches=1", "no setting train.batches"),
    (".venv/bin/python -m pytest tests/test_nothing.py", "there is no tests/test_nothing.py"),
])  # fmt: skip
def test_the_check_itself_sees_what_is_wrong(command, reason):
    assert reason in wrong(command)
