"""The commands in a page of the documentation, and whether each would parse."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from cotracker import cli
from cotracker.config.overrides import expand_sweep, find_misspelt
from cotracker.config.words import SWEEP, config_name

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
BEGINS = r"(?:\.venv/bin/|cotracker |make |python |torchrun )"
OPTIONS_ALONE = r"cotracker track(?: --[\w-]+)*"  # how a sentence names a command or its options


def python_blocks(text: str) -> list[str]:
    """The fenced blocks of Python."""
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The command lines in blocks and within sentences, without comments and ellipses."""
    outside = re.sub(r"^```python\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    outside = re.sub(r" \\\n +", " ", outside)  # a command of two lines
    lines = re.findall(rf"^ *({BEGINS}.*)$", outside, flags=re.MULTILINE)
    inline = re.findall(
        rf"`({BEGINS}[^`]+)`", re.sub(r"^(?: {4}|```).*$", "", outside, flags=re.MULTILINE)
    )
    mentions = [
        f"{line} VIDEO --out DIR" if re.fullmatch(OPTIONS_ALONE, line) else line for line in inline
    ]
    plain = [re.sub(r"\s#\s.*", "", line).strip() for line in lines + mentions]
    return sorted({re.sub(r"\s+…$", "", line) for line in plain if "`" not in line})


def wrong(command: str) -> str | None:
    """Why a command would be refused, or None."""
    program, *words = shlex.split(command.removeprefix(".venv/bin/"))
    if program == "make":
        return wrong_make(words)
    if program == "cotracker":
        return wrong_arguments(words)
    if program == "torchrun":  # its own options stand before the program
        words = words[next(n for n, word in enumerate(words) if word.endswith(".py")) :]
    elif words[0] == "-c":
        return None
    elif words[:2] == ["-m", "cotracker"]:
        return wrong_arguments(words[2:])
    elif words[:2] == ["-m", "pytest"]:
        missing = [word for word in words[2:] if not (ROOT / word.split("::")[0]).exists()]
        return f"there is no {missing[0]}" if missing else None
    file, *words = words
    if not (ROOT / file).is_file():
        return f"there is no {file}"
    if file in ("train.py", "evaluate.py", "scripts/generate.py"):
        return wrong_overrides(Path(file).stem, words)
    if file.startswith("examples/"):
        return wrong_count(file, words)
    return wrong_options(file, words)


def wrong_count(file: str, words: list[str]) -> str | None:
    """An example says itself how many words it takes, its own name among them."""
    (count,) = re.findall(r"len\(sys\.argv\) != (\d+)", (ROOT / file).read_text())
    return None if len(words) + 1 == int(count) else f"{file} takes {int(count) - 1} words"


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
            table, words = config_name(CONFIGS, words)
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
