"""What a benchmark is: clips with truth, what is asked about them, and how the answers are measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cotracker.types import Clip, Questions, Tracks


@dataclass(frozen=True)
class Benchmark:
    """clips: by index, one Clip a video.  protocol: Clip -> Questions.  metric: (answers, questions, clip) -> floats.

    expected: the names of the videos when all of it is there, for `found 3 of 7 expected`; empty where unknown.
    """

    name: str
    clips: Sequence[Clip]
    protocol: Callable[[Clip], Questions]
    metric: Callable[[Tracks, Questions, Clip], dict[str, float]]
    expected: tuple[str, ...] = ()

    def describe(self) -> dict:
        """How it asks and measures, by the names of the two functions: goes into results.json."""
        return {"queries": self.protocol.__name__, "metric": self.metric.__name__}
