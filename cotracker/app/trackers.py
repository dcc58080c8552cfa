"""Trackers by the names of their checkpoints, loaded once and shared by all desks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from cotracker import checkpoint, checks
from cotracker.trackers.build import build_tracker
from cotracker.trackers.options import TrackerOptions
from cotracker.trackers.tracker import Tracker

PATIENCE = 0.1  # seconds between two looks whether a network is free


class Trackers:
    """The checkpoints that a page offers, by name; they track for one desk at a time.

    files: checkpoints, names or paths; the one that ships is always offered.
    ValueError, one sentence, for one that is not there, or for two of one name.
    """

    def __init__(self, files: Sequence[str | Path] = (), options: TrackerOptions | None = None):
        self.options = options or TrackerOptions()
        self._files: dict[str, Path] = {}
        self._loaded: dict[str, Tracker] = {}
        self._loading, self._tracking = Lock(), Lock()
        for path in map(checkpoint.find, (checkpoint.SHIPPED, *files)):
            before = self._files.setdefault(path.stem, path)
            if not before.samefile(path):
                raise ValueError(f"{before} and {path} have one name: rename one of them")

    @property
    def names(self) -> tuple[str, ...]:
        """Of all checkpoints, the one that ships first."""
        return tuple(self._files)

    def get(self, name: str) -> Tracker:
        """The Tracker of a name; ValueError, one sentence, where it cannot be loaded."""
        checks.choice("checkpoint", name, self.names)
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = build_tracker(self._files[name], self.options)
            return self._loaded[name]

    @contextmanager
    def turn(self, tell: Callable[[int, int], object]) -> Iterator[None]:
        """A block that alone computes; it waits for those of others.

        tell: called with zeros while it waits.  ValueError, one sentence, where that is False.
        """
        while not self._tracking.acquire(timeout=PATIENCE):
            if tell(0, 0) is False:
                raise ValueError("stopped before it was its turn: nothing has changed")
        try:
            yield
        finally:
            self._tracking.release()
