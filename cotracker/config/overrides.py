"""For the entry points: a wrong word on the command line answered in one sentence that names the right one."""

import os
import sys
from difflib import SequenceMatcher
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

SWEEP = ("-m", "--multirun")


def refuse_misspelt(folder: str | Path, name: str, arguments: list[str]) -> None:
    """Nothing where the config `name` of `folder` composes with these arguments; else one sentence and exit code 2.

    Called before hydra.main, whose own answer is many lines. Of a sweep (-m), every choice is composed once; torchrun's
    processes cannot sweep, as they would wait for ever to meet a second time. Hydra's other flags are left to Hydra.
    """
    words = [argument for argument in arguments if argument not in SWEEP]
    if any(word.startswith("-") for word in words):
        return
    sweeps = len(words) < len(arguments)
    problems = (
        misspelt(Path(folder).resolve(), name, line)
        for line in (choices(words) if sweeps else [words])
    )
    problem = next(filter(None, problems), None)
    if sweeps and "TORCHELASTIC_RUN_ID" in os.environ:
        problem = "torchrun's processes meet for one run only: say torchrun once a run, or -m with cluster=local_2"
    if problem:
        print(problem, file=sys.stderr)
        sys.exit(2)


def choices(arguments: list[str]) -> list[list[str]]:
    """Lines without sweeps, in which each choice of each `key=a,b` stands at least once; globs are left to Hydra."""
    columns = []
    for argument in arguments:
        override = _override(argument)
        if override is None or not override.is_sweep_override():
            columns.append([argument])
        elif override.value_type != ValueType.GLOB_CHOICE_SWEEP and override.is_discrete_sweep():
            columns.append(
                [
                    f"{override.get_key_element()}={value}"
                    for value in override.sweep_string_iterator()
                ]
            )
    lines = range(max((len(column) for column in columns), default=1))
    return [[column[min(k, len(column) - 1)] for column in columns] for k in lines]


def misspelt(folder: Path, name: str, arguments: list[str]) -> str | None:
    """One sentence on what is wrong with the arguments, or None."""
    with initialize_config_dir(str(folder), version_base=None):
        try:
            compose(name, overrides=arguments)
            return None
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            return _explain(folder, name, arguments, error)


def _explain(folder: Path, name: str, arguments: list[str], error: Exception) -> str:
    chosen, keys_said = [], {}
    for argument in arguments:
        override = _override(argument)
        if override is None or not override.key_or_group:
            return f"cannot read the override {argument!r}: write key=value, quoted for the shell where it holds spaces"
        key = keys_said[argument] = override.key_or_group
        if override.is_sweep_override():
            return f"{argument} is a sweep: say -m for one run after the other, or '{key}=[a,b]' for a list"
        if (folder / key).is_dir():
            options = sorted(path.stem for path in (folder / key).glob("*.yaml"))
            option = argument.split("=", 1)[-1]
            if (
                option == "null" and type(error) is ValueError
            ):  # what Hydra raises where a group is to be nothing
                return f"{argument}: name one, not null"
            if option not in (*options, "null"):
                return f"there is no {key}={option}{_meant(option, options, f'{key}=')}; there are {', '.join(options)}"
            chosen.append(argument)
    keys = _dotted(OmegaConf.to_container(compose(name, overrides=chosen)))
    for argument in arguments:
        key = keys_said[argument]
        if (
            argument not in chosen
            and not argument.startswith(("+", "~", "hydra"))
            and key not in keys
        ):
            return f"there is no setting {key}{_meant(key, keys) or ': --help lists them'}"
    return str(error).splitlines()[0]


def nearest(word: str, words: list[str]) -> str | None:
    """The word most like the one given, whole or after its last dot, of several one that begins alike; or None."""

    def likeness(other: str) -> tuple[float, int, float]:
        parts, others = word.split("."), other.split(".")
        whole, tail = (
            SequenceMatcher(None, *pair).ratio()
            for pair in ((word, other), (parts[-1], others[-1]))
        )
        if parts[-1].isdigit() or others[-1].isdigit():  # a place in a list is like every other
            tail, whole = 0, whole if parts[-1] == others[-1] or not others[-1].isdigit() else 0
        return max(whole, 0.99 * tail), len(os.path.commonprefix([parts, others])), whole

    best = max(words, key=likeness, default=None)
    return best if best is not None and likeness(best)[0] >= 0.5 else None


def _meant(word: str, words: list[str], prefix: str = "") -> str:
    near = nearest(word, words)
    return f": did you mean {prefix}{near}?" if near else ""


def _override(argument: str) -> Override | None:
    """`key=value` as Hydra reads it, or None where it cannot be read."""
    try:
        return OverridesParser.create().parse_overrides([argument])[0]
    except HydraException:
        return None


def _dotted(config: dict | list, prefix: str = "") -> list[str]:
    """Every key of the config, groups and leaves, with dots: a, a.b, a.b.c; in a list a.0, a.1."""
    keys = []
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        keys.append(f"{prefix}{key}")
        if isinstance(value, (dict, list)):
            keys += _dotted(value, f"{prefix}{key}.")
    return keys
