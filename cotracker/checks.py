"""The checks of settings: each returns the value, or raises a ValueError in one sentence."""

import math
import re
from collections.abc import Collection, Sequence
from numbers import Integral, Real
from pathlib import Path

LONGEST = 60  # characters of a value that a message repeats


def whole(name: str, value: object, least: int | None = None, most: int | None = None) -> int:
    """The value, a whole number within the bounds; True and False are none."""
    if not _is(Integral, value) or not _within(value, least, most):
        raise _error(name, f"a whole number{_bounds(least, most)}", value)
    return value


def number(
    name: str, value: object, least: float | None = None, most: float | None = None
) -> float:
    """The value, a finite number within the bounds; True and False are none."""
    if not _is(Real, value) or not _within(value, least, most):
        raise _error(name, f"a number{_bounds(least, most)}", value)
    return value


def share(name: str, value: object) -> float:
    """The value, a number from 0 to 1: a share, or a probability."""
    return number(name, value, 0, 1)


def switch(name: str, value: object) -> bool:
    """The value, True or False."""
    if not isinstance(value, bool):
        raise _error(name, "true or false", value)
    return value


def pair(
    name: str,
    value: object,
    least: float | None = None,
    most: float | None = None,
    whole: bool = False,
    ordered: bool = True,
) -> tuple[float, float]:
    """The value as a tuple of two finite numbers within the bounds.

    whole: both are whole numbers.  ordered: the second is no less than the first, as in a range.
    """
    kind = Integral if whole else Real
    items = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    good = len(items) == 2 and all(_is(kind, item) and _within(item, least, most) for item in items)
    if not good or (ordered and items[0] > items[1]):
        noun = "whole numbers" if whole else "numbers"
        order = ", the lower first" if ordered else ""
        raise _error(name, f"two {noun}{_bounds(least, most)}{order}", value)
    return tuple(items)


def choice(name: str, value: object, choices: Collection) -> object:
    """The value, one of the choices."""
    if not any(value == one and type(value) is type(one) for one in choices):
        *others, last = map(str, choices)
        wanted = f"{', '.join(others)} or {last}" if others else last
        raise _error(name, wanted, value)
    return value


def text(name: str, value: object) -> str:
    """The value, a text that is not empty."""
    if value == "":
        raise ValueError(f"{name} is empty: pass {name}=VALUE, or leave it out")
    if not isinstance(value, str):
        raise _error(name, "a text", value)
    return value


def path(name: str, value: object) -> Path:
    """The value as a Path; an address of the network is none."""
    if not isinstance(value, (str, Path)):
        raise _error(name, "a path, as text or pathlib.Path", value)
    if value == "":
        raise ValueError(f"{name} is empty: give a path")
    if "\0" in str(value):
        raise _error(name, "a path, which holds no NUL", str(value).replace("\0", "\\0"))
    path = Path(value)
    address = re.sub(r"^([a-z]{2,}):/+", r"\1://", str(path))  # a Path keeps one slash of two
    if re.match("[a-z]{2,}://", address) and not path.exists():
        raise ValueError(f"{address} is an address: download it, and give the path of the file")
    return path


def texts(name: str, value: object) -> str | list[str]:
    """The value, a text or a list of texts, none of them empty."""
    if isinstance(value, (list, tuple)) and value:
        return [text(name, one) for one in value]
    return text(name, value)


def names(name: str, value: object) -> tuple[str, ...]:
    """The value as a tuple of names, at least one."""
    if not isinstance(value, (list, tuple)) or not value:
        raise _error(name, "a list of names such as [visibility]", value)
    return tuple(text(name, one) for one in value)


def fits(value: object, shape: object) -> bool:
    """Whether a value read from a file has this shape.

    shape: a type, or a tuple of types (True and False are no numbers); [shape], a list of such;
    {str: shape}, a dictionary of such; {"key": shape, "key?": shape}, one with these keys, of which
    the last may be missing, beside others.
    """
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(one, shape[0]) for one in value)
    if isinstance(shape, dict) and str in shape:
        return isinstance(value, dict) and all(fits(one, shape[str]) for one in value.values())
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            fits(value[key.rstrip("?")], one) if key.rstrip("?") in value else key.endswith("?")
            for key, one in shape.items()
        )
    kinds = shape if isinstance(shape, tuple) else (shape,)
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _is(kind: type, value: object) -> bool:
    try:
        return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _within(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or least <= value) and (most is None or value <= most)


def _bounds(least: float | None, most: float | None) -> str:
    if least is None:
        return "" if most is None else f" of at most {_show(most)}"
    low = _show(least)
    return f" of at least {low}" if most is None else f" from {low} to {_show(most)}"


def _show(number: float) -> str:
    return str(number) if isinstance(number, Integral) else f"{number:g}"


def _error(name: str, wanted: str, value: object) -> ValueError:
    said = str(value)
    said = said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
    return ValueError(f"{name} must be {wanted}, not {' '.join(said.split())}")
