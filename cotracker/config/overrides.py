"""A misspelt word on the command line, answered in one sentence that names the right one."""

import os
import sys
from difflib import get_close_matches
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

SWEEP = ("-m", "--multirun")


def refuse_misspelt(folder: str | Path, name: str, arguments: list[str]) -> None:
    """Nothing where the config `name` of `folder` has these words; else a sentence and exit code 2.

    Called before hydra.main, whose own answer is many lines. Of a sweep (-m) every choice is looked
    at. Hydra's other flags are left to Hydra.
    """
    words = [argument for argument in arguments if argument not in SWEEP]
    if any(word.startswith("-") for word in words):
        return
    sweeps = len(words) < len(arguments)
    lines = expand_sweep(words) if sweeps else [words]
    problem = next(filter(None, (find_misspelt(folder, name, line) for line in lines)), None)
    if sweeps and "TORCHELASTIC_RUN_ID" in os.environ:
        problem = "torchrun cannot sweep: use one torchrun a run, or -m with cluster=local_2"
    if problem:
        print(problem, file=sys.stderr)
        sys.exit(2)


def expand_sweep(arguments: list[str]) -> list[list[str]]:
    """Command lines without sweeps, in which each choice of each `key=a,b` is at least once.

    Globs are left to Hydra.
    """
    columns = []
    for argument in arguments:
        override = _parse(argument)
        if override is None or not override.is_sweep_override():
            columns.append([argument])
        elif override.value_type != ValueType.GLOB_CHOICE_SWEEP and override.is_discrete_sweep():
            key = override.get_key_element()
            columns.append([f"{key}={value}" for value in override.sweep_string_iterator()])
    count = max((len(column) for column in columns), default=1)
    return [[column[min(k, len(column) - 1)] for column in columns] for k in range(count)]


def find_misspelt(folder: str | Path, name: str, arguments: list[str]) -> str | None:
    """One sentence on the first word that the config lacks, or None."""
    folder = Path(folder).resolve()
    groups, settings = [], []
    for argument in arguments:
        override = _parse(argument)
        if override is None or not override.key_or_group:
            return f"cannot read {argument!r}: write key=value, in quotes where it has spaces"
        if override.is_sweep_override():
            key = override.key_or_group
            return f"{argument} is a sweep: pass -m to run each, or '{key}=[a,b]' for a list"
        if (folder / override.key_or_group).is_dir():
            problem = _find_misspelt_option(folder, override.key_or_group, argument)
            if problem:
                return problem
            groups.append(argument)
        elif not argument.startswith(("+", "~", "hydra")):
            settings.append(override.key_or_group)
    try:
        with initialize_config_dir(str(folder), version_base=None):
            keys = dotted_keys(OmegaConf.to_container(compose(name, overrides=groups)))
    except (HydraException, OmegaConfBaseException) as error:
        return str(error).splitlines()[0]
    for key in settings:
        if key not in keys:
            near = nearest(key, keys)
            return f"there is no setting {key}" + (f": did you mean {near}?" if near else "")
    return None


def _find_misspelt_option(folder: Path, group: str, argument: str) -> str | None:
    option = argument.split("=", 1)[-1]
    files = (folder / group).rglob("*.yaml")
    options = sorted(str(path.relative_to(folder / group).with_suffix("")) for path in files)
    if option in options or (option == "null" and group in ("experiment", "cluster")):
        return None
    names = {path.rpartition("/")[2]: path for path in options} | {path: path for path in options}
    near = get_close_matches(option, names, 1) if option != "null" else []
    hint = f": did you mean {group}={names[near[0]]}? There" if near else "; there"
    return f"there is no {group}={option}{hint} are {', '.join(options)}"


def nearest(key: str, keys: list[str]) -> str | None:
    """The key most like the given one: of its section, else of that last name, else of all."""
    section, _, name = key.rpartition(".")
    siblings = {k.rpartition(".")[2]: k for k in keys if k.rpartition(".")[0] == section}
    near = get_close_matches(name, siblings, 1)
    if near:
        return siblings[near[0]]
    likewise = [k for k in keys if k.rpartition(".")[2] == name and not name.isdigit()]
    if likewise:
        return max(likewise, key=lambda k: len(os.path.commonprefix([key, k])))
    return next(iter(get_close_matches(key, keys, 1, 0.8)), None)


def _parse(argument: str) -> Override | None:
    """`key=value` as Hydra reads it, or None where it cannot be read."""
    try:
        return OverridesParser.create().parse_overrides([argument])[0]
    except HydraException:
        return None


def dotted_keys(config: dict | list, prefix: str = "") -> list[str]:
    """Every key of the config with dots: a, a.b, a.b.c; in a list a.0, a.1."""
    keys = []
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        keys.append(f"{prefix}{key}")
        if isinstance(value, (dict, list)):
            keys += dotted_keys(value, f"{prefix}{key}.")
    return keys
