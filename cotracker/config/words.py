"""The words of a command line as Hydra reads them: paths of any spelling, and no foreign flags."""

import re
from functools import cache
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

KINDS = ("table", "figure")
SWEEP = ("-m", "--multirun")
SHOWING = ("-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "--resolve", "-p")
SHOWING += ("--package", "-i", "--info", "-sc", "--shell-completion")  # Hydra's; nothing is run
TEXTS = set(  # last names of settings whose value is a text, taken as it is
    "out root textures checkpoint init_from decay_from videos datasets cache encoder_weights file "
    "name_or_path evaluate_with submitit_folder folder weights path licence dir".split()
)
READ_BY_HYDRA = re.compile(r"null|\[.*\]|\{.*\}|'.*'|\".*\"|", re.DOTALL)  # not taken as they are


@cache  # reading takes a millisecond or two
def parse(word: str) -> Override | None:
    """`key=value` as Hydra reads it, or None where it cannot be read."""
    try:
        return OverridesParser.create().parse_overrides([word])[0]
    except (HydraException, ValueError):  # ValueError: a whole number of thousands of digits
        return None


def quote_words(words: list[str], sweeping: bool = False) -> list[str]:
    """The words, with values quoted that are texts or that Hydra cannot read.

    So blanks, brackets, =, #, commas and any letters may stand in a path. A path with a comma is a
    choice of several where the command line sweeps, unless it exists.
    """
    return [_quote_word(word, sweeping) for word in words]


def _quote_word(word: str, sweeping: bool) -> str:
    key, equals, value = word.partition("=")
    if not equals or not re.fullmatch(r"[+~]*[\w@./:-]+", key, re.ASCII):
        return word
    read = parse(word)
    if sweeping and not Path(value).exists():
        if read is not None and read.is_sweep_override():
            return word
        if "," in value and read is None:
            return f"{key}={','.join(_quote(part) for part in value.split(','))}"
    if read is None and value.startswith("[") and value.endswith("]") and not Path(value).exists():
        return f"{key}=[{','.join(_quote(part) for part in value[1:-1].split(','))}]"
    text = key.startswith("card.") or re.split(r"[.@/]", key)[-1] in TEXTS
    plain = text and (Path(value).exists() or not READ_BY_HYDRA.fullmatch(value))
    return f"{key}={_quote(value)}" if value and (plain or read is None) else word


def _quote(value: str) -> str:
    """The value in quotes that Hydra takes off again; ~ is the home folder."""
    if value[:1] == value[-1:] and value[:1] in ("'", '"') and len(value) > 1:
        return value
    value = str(Path(value).expanduser()) if value.startswith("~/") else value
    return QuotedString(text=value, quote=Quote.single).with_quotes()


def foreign_flag(words: list[str]) -> str | None:
    """One sentence on the first word that is a flag of another program, or None."""
    for word in words:
        name = word.partition("=")[0]
        if word.startswith("-") and name not in (*SWEEP, *SHOWING):
            plain = word.lstrip("-")
            hint = f": write {plain.replace(' ', '=')}" if "=" in plain else ""
            hint = "" if name.startswith("--config") else hint
            return (
                f"there is no option {name}{hint}; settings are written key=value, and a file of "
                "configs/ is chosen by its group, such as experiment=NAME"
            )
    return None


def config_name(configs: Path, arguments: list[str]) -> tuple[str | None, list[str]]:
    """The config that table=N or figure=N names, such as tables/2, or None; the other arguments.

    ValueError where both are given, there is no such table or figure, or experiment= is given.
    """
    chosen = [one for one in arguments if one.partition("=")[0] in KINDS]
    others = [one for one in arguments if one not in chosen]
    if any(one.startswith("experiment=") for one in others):
        raise ValueError("evaluate.py has no experiment=: pass table=N or figure=N (table=2)")
    if not chosen:
        return None, others
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)} are two: pass one table=N or figure=N")
    kind, _, name = chosen[0].partition("=")
    names = [path.stem for path in sorted((configs / f"{kind}s").glob("[0-9]*.yaml"))]
    if name not in names:
        raise ValueError(f"there is no {kind}={name}: pass one of {', '.join(names)}")
    return f"{kind}s/{name}", others
