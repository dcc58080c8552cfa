"""How far a run is."""

import math
from dataclasses import dataclass, field, fields


@dataclass
class Progress:
    """How far a run is; all of it is in its state."""

    step: int = 0
    examples: int = 0  # over all processes
    seconds: float = 0.0
    block: int = 0  # consecutive examples that come from one source of a mixture
    replaced: int = 0  # bad clips that were replaced
    not_finite: int = 0  # skipped steps
    skipped: int = 0  # the last steps that were skipped in a row
    best: dict = field(default_factory=dict)  # {name, value, step} of evaluation.best
    init_from: dict = field(default_factory=dict)  # of the card of train.init_from
    teachers: dict = field(default_factory=dict)  # by their hash, of the data that they labelled

    @classmethod
    def read(cls, values: object) -> "Progress":
        """The progress in a state; ValueError, the end of a sentence, where it is none."""
        expected = cls()
        names = {one.name for one in fields(cls)}
        if not isinstance(values, dict) or not values.keys() <= names or "step" not in values:
            raise ValueError("its progress has other fields than a run's")
        for name, value in values.items():
            default = getattr(expected, name)
            kinds = (int, float) if isinstance(default, float) else type(default)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise ValueError(f"its {name} is {value!r}")
            if not isinstance(value, dict) and not 0 <= value < math.inf:
                raise ValueError(f"its {name} is {value!r}")
        return cls(**values)

    def count_step(self, examples: int, finite: bool, replaced: int) -> None:
        """Counts a step of so many examples, of which some replaced bad ones."""
        self.step += 1
        self.examples += examples
        self.replaced += replaced
        self.not_finite += not finite
        self.skipped = 0 if finite else self.skipped + 1

    def fix_block(self, batch: int, accumulate: int, mixed: bool) -> int:
        """The examples of one step, which stay the block of a mixture when a run resumes.

        batch: examples of all processes at a time, which must divide a mixture's block.
        """
        self.block = self.block or batch * accumulate
        if mixed and (self.block % batch or self.examples % batch):
            raise ValueError(
                f"this run samples its mixture in blocks of {self.block} examples: train.batch x "
                f"processes must divide that and the {self.examples} examples seen, and {batch} "
                "does not"
            )
        return self.block
