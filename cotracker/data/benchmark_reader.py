"""What each reader of a benchmark offers, so that evaluation and the data check read any."""

from pathlib import Path
from typing import Protocol

from cotracker.types import Clip


class BenchmarkReader(Protocol):
    """The clips of a benchmark, by index; a new data set is a class with these attributes.

    names: of each clip, a name that no other clip has.
    files: of each clip, the file that a fault of it is reported under; empty for generated clips.
    expected: the names of all clips of the complete data set; empty if unknown.
    faults: of each missing or damaged file that hides clips, one sentence.
    broken: the sentences of `faults`.
    identity: whatever beside the files decides which clips these are; empty if nothing does.

    `reader[index]` raises a ValueError that says what is wrong with that clip and names its file.
    """

    names: list[str]
    files: list[Path]
    expected: tuple[str, ...]
    faults: dict[Path, str]
    broken: tuple[str, ...]
    identity: dict

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Clip: ...
