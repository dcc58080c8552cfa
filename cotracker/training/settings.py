"""The base of a run's settings: dataclasses of which each field has its check."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

Section = TypeVar("Section", bound="Settings")


def setting(default: Any, check: Callable, *limits: Any, may_change: bool = False) -> Any:
    """A field whose value passes check(name, value, *limits).

    Where the default is None, None passes too.
    may_change: a resumed run may have another value, as it changes no result.
    """
    return field(default=default, metadata={"check": (check, limits), "may_change": may_change})


@dataclass(frozen=True)
class Settings:
    """Base of the settings in one section of the config: checks every field."""

    SECTION: ClassVar[str]

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is None and one.default is None:
                continue
            check, limits = one.metadata["check"]
            checked = check(f"{self.SECTION}.{one.name}", value, *limits)
            object.__setattr__(self, one.name, checked)


def from_section(kind: type[Section], values: Any) -> Section:
    """The settings of one section of the config; ValueError for a name that the section lacks."""
    if not isinstance(values, dict):
        raise ValueError(f"{kind.SECTION} must be a section {kind.SECTION}.NAME=…, not {values}")
    names = [one.name for one in fields(kind)]
    for name in values:
        if name not in names:
            raise ValueError(
                f"there is no setting {kind.SECTION}.{name}: choose one of {', '.join(names)}"
            )
    return kind(**values)
