"""Checks of settings: each returns the value, or raises ValueError "NAME must be …, not VALUE".

NAME is the full name of the setting, such as train.lr, so that the sentence says what to change.
"""

from collections.abc import Sequence
from typing import Any


def whole(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """The value, a whole number from `least` to `most`; ValueError otherwise."""
    if type(value) is not int or not _within(value, least, most):
        raise ValueError(f"{name} must be a whole number{_limits(least, most)}, not {value}")
    return value


def number(
    name: str, value: Any, least: float | None = None, most: float | None = None
) -> int | float:
    """The value, a finite number from `least` to `most`; ValueError otherwise."""
    if not is_number(value) or not _within(value, least, most):
        raise ValueError(f"{name} must be a number{_limits(least, most)}, not {value}")
    return value


def share(name: str, value: Any) -> int | float:
    """The value, a number from 0 to 1; ValueError otherwise."""
    return number(name, value, 0, 1)


def pair(
    name: str,
    value: Any,
    least: float | None = None,
    most: float | None = None,
    ordered: bool = True,
) -> tuple:
    """The value as a tuple of two finite numbers from `least` to `most`; ValueError otherwise.

    ordered: the first must not be above the second.
    """
    parts = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(parts) != 2 or not all(is_number(part) and _within(part, least, most) for part in parts):
        raise ValueError(f"{name} must be two numbers{_limits(least, most)}, not {value}")
    if ordered and parts[0] > parts[1]:
        raise ValueError(f"{name} must be two numbers, the smaller one first, not {value}")
    return tuple(parts)


def choice(name: str, value: Any, choices: Sequence) -> Any:
    """The value, one of the choices and of its type; ValueError otherwise."""
    if not any(type(value) is type(one) and value == one for one in choices):
        raise ValueError(f"{name} must be {_listed(choices)}, not {value}")
    return value


def flag(name: str, value: Any) -> bool:
    """The value, true or false; ValueError otherwise."""
    return choice(name, value, (True, False))


def is_number(value: Any) -> bool:
    """Whether the value is an int or a finite float; a bool is neither."""
    return type(value) in (int, float) and abs(value) < float("inf")


def _within(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _limits(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f" from {_plain(least)} to {_plain(most)}"
    if least is not None:
        return f", {_plain(least)} or more"
    return "" if most is None else f", {_plain(most)} or less"


def _plain(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _listed(choices: Sequence) -> str:
    words = [str(one).lower() if isinstance(one, bool) else str(one) for one in choices]
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[:-1] else words)
