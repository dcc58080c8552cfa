"""README: its Python runs, and each of its commands is one that parses."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from moving import moving_texture

from cotracker import cli
from cotracker.benchmarks.paper import suite
from cotracker.config.overrides import SWEEP, expand_sweep, find_misspelt
from cotracker.data.video import write_video

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
TEXT = (ROOT / "README.md").read_text()
BEGINS = r"(?:\.venv/bin/|cotracker |make |python |torchrun )"
OPTIONS_ALONE = r"cotracker track(?: --[\w-]+)*"  # how a sentence names a command or its options


def python_blocks(text: str) -> list[str]:
    """The fenced blocks of Python."""
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The command lines in blocks and within sentences, without comments and ellipses."""
    outside = re.sub(r"^```python\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = re.findall(rf"^ *({BEGINS}.*)$", outside, flags=re.MULTILINE)
    inline = re.findall(
        rf"`({BEGINS}[^`]+)`", re.sub(r"^(?: {4}|```).*$", "", outside, flags=re.MULTILINE)
    )
    mentions = [
        f"{line} VIDEO --out DIR" if re.fullmatch(OPTIONS_ALONE, line) else line for line in inline
    ]
    plain = [re.sub(r"\s#\s.*", "", line).strip() for line in lines + mentions]
    return sorted({re.sub(r"\s+…$", "", line) for line in plain if "`" not in line})


COMMANDS = commands(TEXT)


def wrong(command: str) -> str | None:
    """Why a command would be refused, or None."""
    program, *words = shlex.split(command.removeprefix(".venv/bin/"))
    if program == "make":
        return wrong_make(words)
    if program == "cotracker":
        return wrong_arguments(words)
    if program == "torchrun":  # its own options stand before the program
        words = words[words.index("train.py") :]
    elif words[:2] == ["-m", "pytest"]:
        missing = [word for word in words[2:] if not (ROOT / word.split("::")[0]).exists()]
        return f"there is no {missing[0]}" if missing else None
    file, *words = words
    if not (ROOT / file).is_file():
        return f"there is no {file}"
    if file in ("train.py", "evaluate.py", "scripts/generate.py"):
        return wrong_overrides(Path(file).stem, words)
    return wrong_options(file, words)


def wrong_make(words: list[str]) -> str | None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, _, value = word.partition("=")
        known = (
            f"$({name})" in makefile
            if value
            else re.search(rf"^{re.escape(name)}:", makefile, re.MULTILINE)
        )
        if not known:
            return f"the Makefile has no {word}"
    return None


def wrong_arguments(words: list[str]) -> str | None:
    try:
        cli._make_parser().parse_args(words)
    except SystemExit as end:
        return f"exit code {end.code}" if end.code else None
    return None


def wrong_overrides(name: str, words: list[str]) -> str | None:
    if name == "evaluate":
        try:
            table, words = suite.config_name(CONFIGS, words)
        except ValueError as error:
            return str(error)
        name = table or name
    lines = (
        expand_sweep([word for word in words if word not in SWEEP])
        if set(words) & set(SWEEP)
        else [words]
    )
    return next(filter(None, (find_misspelt(CONFIGS, name, line) for line in lines)), None)


def wrong_options(file: str, words: list[str]) -> str | None:
    done = subprocess.run(
        [sys.executable, ROOT / file, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    unknown = [
        word
        for word in words
        if word.startswith("--") and word not in re.findall(r"--[\w-]+", done.stdout)
    ]
    return done.stderr or (f"{file} has no {unknown[0]}" if unknown else None)


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


@pytest.mark.parametrize("command, reason", [
    ("make demonstration", "the Makefile has no demonstration"),
    ("make demo FILM=x", "the Makefile has no FILM=x"),
    ("cotracker track my.mp4 --out d --grids 3 --nothing", "exit code 2"),
    (".venv/bin/python train.py experiment=smok", "there is no experiment=smok"),
    (".venv/bin/python train.py -m model.window=4,8 model.strid=4",
     "there is no setting model.strid"),
    (".venv/bin/python evaluate.py table=10", "there is no table=10"),
    (".venv/bin/python scripts/nothing.py", "there is no scripts/nothing.py"),
    (".venv/bin/python scripts/demo.py --film x", "scripts/demo.py has no --film"),
    (".venv/bin/torchrun --nproc-per-node 2 train.py train.batches=1",
     "there is no setting train.batches"),
    (".venv/bin/python -m pytest tests/test_nothing.py", "there is no tests/test_nothing.py"),
])  # fmt: skip
def test_the_check_itself_sees_what_is_wrong(command, reason):
    assert reason in wrong(command)
