"""Trackers by the names of their checkpoints, loaded once and shared by all desks."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from cotracker import checkpoint, checks
from cotracker.trackers.build import build_tracker
from cotracker.trackers.options import TrackerOptions
from cotracker.trackers.tracker import Tracker


class Trackers:
    """The checkpoints that a page offers, by name.

    files: checkpoints, names or paths; the one that ships is always offered.
    ValueError, one sentence, for one that is not there, or for two of one name.
    """

    def __init__(self, files: Sequence[str | Path] = (), options: TrackerOptions | None = None):
        self.options = options or TrackerOptions()
        self._files: dict[str, Path] = {}
        self._loaded: dict[str, Tracker] = {}
        self._loading = Lock()
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
