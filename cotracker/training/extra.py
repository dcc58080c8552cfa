"""Losses of one's own: named in the config, and checked before a run begins."""

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from cotracker import checks

if TYPE_CHECKING:
    from torch import Tensor


def check_terms(name: str, value: Any) -> dict[str, dict]:
    """The value, {NAME: {function: module.function, weight: number}}, whose functions exist."""
    for term, one in _mapping(name, value).items():
        where = f"{name}.{term}"
        if set(_mapping(where, one)) != {"function", "weight"}:
            raise ValueError(
                f"{where} must have function and weight, not {', '.join(one) or 'none'}"
            )
        checks.number(f"{where}.weight", one["weight"], 0)
        find_function(f"{where}.function", one["function"])
    return value


def find_function(name: str, value: Any) -> Callable:
    """The function that a text module.function names; ValueError where there is none."""
    try:
        found = resolve_name(value)
    except (TypeError, AttributeError, ImportError, ValueError) as error:
        raise ValueError(f"{name}={value} names no function module.function ({error})") from error
    if not callable(found):
        raise ValueError(f"{name}={value} is no function, but {type(found).__name__}")
    return found


def _mapping(name: str, value: Any) -> Mapping:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be a section of names and values, not {value}")
    return value


def check_number(name: str, value: object) -> "Tensor":
    """What a loss of this name gave: one number that gradients reach."""
    from torch import Tensor  # settings are checked before PyTorch is imported

    if not isinstance(value, Tensor) or value.shape != ():
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"the loss {name} must give one number, a tensor of shape (), not {found}")
    return value
