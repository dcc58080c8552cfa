"""A command line checked before PyTorch is imported: its names, its values, all runs of a sweep."""

import itertools
import os
import sys
from collections.abc import Iterator
from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cotracker.config.synonyms import note, synonym
from cotracker.config.values import find_without_effect, find_wrong_value
from cotracker.config.words import SHOWING, SWEEP, foreign_flag, parse, quote_words

MANY_RUNS = 10_000  # of a sweep; no more are checked one by one
REMOVABLE = ("experiment", "cluster", "evaluation.benchmarks")


def refuse_misspelt(folder: str | Path, name: str, arguments: list[str]) -> list[str]:
    """The command line for Hydra, where the config `name` of `folder` has its words and values.

    Else one sentence and exit code 2. Called before hydra.main, whose own answer is many lines, and
    before PyTorch is imported. Of a sweep (-m) every run is looked at.
    """
    flags = [word for word in arguments if word in SWEEP]
    words = quote_words([word for word in arguments if word not in SWEEP], bool(flags))
    problem = foreign_flag(arguments)
    if problem is None and any(word.partition("=")[0] in SHOWING for word in arguments):
        return arguments
    sweeping = bool(flags) or any("cluster=" in word for word in words)
    if flags and "TORCHELASTIC_RUN_ID" in os.environ:
        problem = "torchrun cannot sweep: use one torchrun a run, or -m with cluster=local_2"
    problem = problem or find_problem(folder, name, words, sweeping)
    if problem:
        print(problem, file=sys.stderr)
        sys.exit(2)
    return [*flags, *words]


def find_problem(
    folder: str | Path, name: str, words: list[str], sweeping: bool = False
) -> str | None:
    """One sentence on the first wrong name or value of a command line, or None.

    What a word sets in vain is said on stderr.
    """
    every = list(itertools.islice(combine_sweep(words), MANY_RUNS + 1)) if sweeping else [words]
    if len(every) > MANY_RUNS:
        return f"this sweep has more than {MANY_RUNS} runs: sweep fewer settings at once"
    for line in expand_sweep(words) if sweeping else [words]:  # names first, which are quick
        problem = find_misspelt(folder, name, line)
        if problem:
            return problem
    outs: dict[str, list[str]] = {}
    bases: dict[tuple, DictConfig] = {}
    first: dict[tuple, tuple[list[str], DictConfig]] = {}  # of each choice of files
    with initialize_config_dir(str(Path(folder).resolve()), version_base=None):
        for line in every:
            try:
                groups = _chosen_groups(Path(folder), line)
                config = _vary(*first[groups], line) if groups in first else None
                config = compose(name, overrides=line) if config is None else config
                first.setdefault(groups, (line, config))
                base = bases.get(groups) or compose(name, overrides=list(groups))
                bases[groups] = base
                problem = find_wrong_value(name, config, base)
                outs.setdefault(str(config.get("out")), []).append(" ".join(line))
            except (HydraException, OmegaConfBaseException) as error:
                problem = str(error).splitlines()[0]
            if problem:
                return problem + (f" (in the run {' '.join(line)})" if len(every) > 1 else "")
    shared = next((out for out, runs in outs.items() if len(runs) > 1), None)
    if shared is not None:
        swept = next(key for key, values in _sweeps(words).items() if len(values) > 1)
        return (
            f"{len(outs[shared])} runs of this sweep have out={shared}: name what is swept, such "
            f"as 'out={shared}_${{{swept}}}'"
        )
    typed = [override.key_or_group for override in map(parse, words) if override is not None]
    for sentence in find_without_effect(name, config, typed):
        print(f"{name}.py: {sentence}", file=sys.stderr)
    return None


def _vary(words: list[str], config: DictConfig, line: list[str]) -> DictConfig | None:
    """The config of another line, from that of `words`: far quicker than composing it.

    None where they differ in more than the values of settings.
    """
    config = deepcopy(config)
    for word, other in zip(words, line, strict=True):
        override = parse(other)
        if word != other and override.is_add():
            return None
        if word != other:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    return config


def _chosen_groups(folder: Path, words: list[str]) -> tuple[str, ...]:
    """The words that choose a file of configs/."""
    return tuple(word for word in words if (folder / parse(word).key_or_group).is_dir())


def _sweeps(words: list[str]) -> dict[str, list[str]]:
    """The choices of each `key=a,b`; globs are left to Hydra."""
    found = {}
    for word in words:
        override = parse(word)
        if override is None or not override.is_sweep_override():
            continue
        if override.value_type != ValueType.GLOB_CHOICE_SWEEP and override.is_discrete_sweep():
            key = override.get_key_element()
            found[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
    return found


def _columns(words: list[str]) -> list[list[str]]:
    columns, sweeps = [], _sweeps(words)
    for word in words:
        override = parse(word)
        if override is None or not override.is_sweep_override():
            columns.append([word])
        elif override.get_key_element() in sweeps:
            columns.append(sweeps[override.get_key_element()])
    return columns


def expand_sweep(words: list[str]) -> list[list[str]]:
    """Command lines without sweeps, in which each choice of each `key=a,b` is at least once."""
    columns = _columns(words)
    count = max((len(column) for column in columns), default=1)
    return [[column[min(k, len(column) - 1)] for column in columns] for k in range(count)]


def combine_sweep(words: list[str]) -> Iterator[list[str]]:
    """The command lines of all runs of a sweep."""
    return map(list, itertools.product(*_columns(words)))


def find_misspelt(folder: str | Path, name: str, words: list[str]) -> str | None:
    """One sentence on the first word that the config lacks, or None."""
    folder = Path(folder).resolve()
    groups, settings, added = [], [], []
    for word in quote_words(words):
        override = parse(word)
        if override is None or not override.key_or_group:
            return f"cannot read {word!r}: write key=value, in quotes where it has spaces"
        key = override.key_or_group
        if override.is_sweep_override():
            return f"{word} is a sweep: pass -m to run each, or '{key}=[a,b]' for a list"
        if override.is_delete() and not key.startswith((*REMOVABLE, "hydra")):
            return f"{word}: a setting cannot be removed: pass {key}=null, or leave it out"
        if (folder / key).is_dir():
            problem = _find_misspelt_option(folder, key, word)
            if problem:
                return problem
            groups.append(word)
        elif word.startswith("+") and not key.startswith("hydra"):
            added.append((word, key))
        elif not word.startswith("~") and not key.startswith("hydra"):
            settings.append(key)
    try:
        config = _compose_files(folder, name, tuple(groups))
    except (HydraException, OmegaConfBaseException) as error:
        return str(error).splitlines()[0]
    return _find_unknown(config, settings, added, ["experiment"] if name == "train" else [])


@cache
def _compose_files(folder: Path, name: str, groups: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(folder), version_base=None):
        return compose(name, overrides=list(groups))


def _find_unknown(
    config: DictConfig, settings: list[str], added: list[tuple[str, str]], groups: list[str]
) -> str | None:
    keys = dotted_keys(OmegaConf.to_container(config))
    for key in settings:
        if key not in keys:
            return _no_setting(key, [*keys, *groups])
    for word, key in added:
        if key in keys and not word.startswith("++"):
            return f"{word}: that setting is there: write {word.lstrip('+')}"
        if key not in keys and not _may_be_added(key, config):
            return _no_setting(key, [*keys, *groups])
    return None


def _may_be_added(key: str, config: DictConfig) -> bool:
    """Whether the key's section is a node with a class, whose own check says what it may have."""
    section = key.rpartition(".")[0]
    while section:
        node = OmegaConf.select(config, section)
        if isinstance(node, DictConfig) and "_target_" in node:
            return True
        section = section.rpartition(".")[0]
    return False


def _no_setting(key: str, keys: list[str]) -> str:
    section, _, name = key.rpartition(".")
    siblings = [one for one in keys if one.rpartition(".")[0] == section]
    names = [one.rpartition(".")[2] for one in siblings]
    same = get_close_matches(name, names, 1, 0.9)  # a letter is missing, or two changed places
    meant = siblings[names.index(same[0])] if same else synonym(key, keys)
    said = None if meant else note(key)
    if said:
        return f"there is no setting {key}: {said}"
    near = meant or nearest(key, keys)
    return f"there is no setting {key}" + (f": did you mean {near}?" if near else "")


def _find_misspelt_option(folder: Path, group: str, argument: str) -> str | None:
    option = argument.split("=", 1)[-1].strip("'")
    files = (folder / group).rglob("*.yaml")
    options = sorted(str(path.relative_to(folder / group).with_suffix("")) for path in files)
    if option in options or (option == "null" and group in ("experiment", "cluster")):
        return None
    names = {path.rpartition("/")[2]: path for path in options} | {path: path for path in options}
    near = get_close_matches(option, names, 1) if option != "null" else []
    near = near or [name for name in names if len(name) > 3 and name in option][:1]
    hint = f": did you mean {group}={names[near[0]]}? There" if near else "; there"
    return f"there is no {group}={option}{hint} are {', '.join(options)}"


def nearest(key: str, keys: list[str]) -> str | None:
    """The key most like the given one: of its section, else of that last name, else of all."""
    section, _, name = key.rpartition(".")
    siblings = {k.rpartition(".")[2]: k for k in keys if k.rpartition(".")[0] == section}
    near = get_close_matches(name, siblings, 1, 0.7)
    near = near or [one for one in siblings if len(name) > 2 and one.startswith(name)][:1]
    if near:
        return siblings[near[0]]
    likewise = [k for k in keys if k.rpartition(".")[2] == name and not name.isdigit()]
    if likewise:
        return max(likewise, key=lambda k: len(os.path.commonprefix([key, k])))
    return next(iter(get_close_matches(key, keys, 1, 0.8)), None)


def dotted_keys(config: dict | list, prefix: str = "") -> list[str]:
    """Every key of the config with dots: a, a.b, a.b.c; in a list a.0, a.1."""
    keys = []
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        keys.append(f"{prefix}{key}")
        if isinstance(value, (dict, list)):
            keys += dotted_keys(value, f"{prefix}{key}.")
    return keys
