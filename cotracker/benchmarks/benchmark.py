"""What a benchmark is: clips with true tracks, a protocol and a metric."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field

from cotracker.benchmarks.breakdown import Errors
from cotracker.types import Clip, EvalTargets, Tracks


@dataclass(frozen=True)
class Benchmark:
    """A set of clips, a protocol and a metric.

    clips: by index, one Clip a video.
    protocol: Clip -> EvalTargets.
    metric: (tracks, targets, clip) -> the video's percentages by name.
    both_directions: the protocol counts frames before a query too.
    expected: names of the videos of the complete set; empty where unknown.
    made: what generated clips depend on; it changes whenever they change.
    breakdown: (tracks, targets, clip) -> errors by kind (breakdown.py), or None.
    names: of the clips by index; empty where only reading a clip gives its name.
    left_out: names of the videos that are there but not asked for.
    broken: a sentence for each file that could not be listed among the clips.
    """

    name: str
    clips: Sequence[Clip]
    protocol: Callable[[Clip], EvalTargets]
    metric: Callable[[Tracks, EvalTargets, Clip], dict[str, float]]
    _: KW_ONLY
    both_directions: bool = False
    expected: tuple[str, ...] = ()
    made: dict = field(default_factory=dict)
    breakdown: Callable[[Tracks, EvalTargets, Clip], Errors] | None = None
    names: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    def describe(self) -> dict:
        """Its part of a result's protocol: the names of two functions, and a hash of `made`."""
        protocol = {"queries": self.protocol.__name__, "metric": self.metric.__name__}
        if self.made:
            made = json.dumps(self.made, sort_keys=True).encode()
            protocol["clips"] = hashlib.sha256(made).hexdigest()[:12]
        return protocol
