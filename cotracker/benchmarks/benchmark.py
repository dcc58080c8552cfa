"""What a benchmark is: clips with truth, what is asked about them, and how the answers are measured."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cotracker.benchmarks.breakdown import Errors
from cotracker.benchmarks.protocols import BOTH_DIRECTIONS
from cotracker.types import Clip, EvalTargets, Tracks


@dataclass(frozen=True)
class Benchmark:
    """clips: by index, one Clip a video.  protocol: Clip -> EvalTargets.  metric: (answers, targets, clip) -> floats.

    expected: the names of the videos when all of it is there, for `found 3 of 7 expected`; empty where unknown.
    made: what the clips were made from, where they are drawn: whatever changes them changes it.
    breakdown: (answers, targets, clip) -> errors by kind (see breakdown.py), or None.
    names: of the clips, by index, so that a video is known without being read; empty where only its clip tells.
    broken: a sentence for each video whose files are there and could not even be listed among the clips.
    """

    name: str
    clips: Sequence[Clip]
    protocol: Callable[[Clip], EvalTargets]
    metric: Callable[[Tracks, EvalTargets, Clip], dict[str, float]]
    expected: tuple[str, ...] = ()
    made: dict = field(default_factory=dict)
    breakdown: Callable[[Tracks, EvalTargets, Clip], Errors] | None = None
    names: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def both_directions(self) -> bool:
        """Whether it asks about frames before a query too."""
        return self.protocol in BOTH_DIRECTIONS

    def describe(self) -> dict:
        """How it asks and measures, by the names of the two functions, and a hash of `made`: goes into results.json."""
        said = {"queries": self.protocol.__name__, "metric": self.metric.__name__}
        if self.made:
            said["clips"] = hashlib.sha256(
                json.dumps(self.made, sort_keys=True).encode()
            ).hexdigest()[:12]
        return said
