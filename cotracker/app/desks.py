"""The desks of everybody who has the page open, each in its own folder."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from cotracker.app.desk import CLOSED, Desk
from cotracker.app.trackers import Trackers
from cotracker.files import temporary_folder


class Desks:
    """Desks by the names of sessions; nobody is given another's.

    root: a folder of this server alone.
    damaged: as of a Desk.
    """

    def __init__(self, root: Path, trackers: Trackers, damaged: str = "refuse"):
        self.root, self.trackers, self.damaged = root, trackers, damaged
        self._open: dict[str, Desk] = {}
        self._closed: set[str] = set()
        self._lock = Lock()

    def of(self, session: str) -> Desk:
        """The Desk of a session, made where there is none; ValueError after its end."""
        with self._lock:
            if session in self._closed:
                raise ValueError(CLOSED)
            if session not in self._open:
                self._open[session] = Desk(self.root, self.trackers, self.damaged)
            return self._open[session]

    def say(self, error: Exception) -> str:
        """An error's sentence on one line, without the folders of desks."""
        own = rf"{re.escape(str(self.root))}{re.escape(os.sep)}(?:[0-9a-f]+{re.escape(os.sep)})*"
        return re.sub(own, "", " ".join(str(error).split()))

    def close(self, session: str) -> None:
        """Ends a session: what it runs is stopped, and its files are removed."""
        with self._lock:
            desk = self._open.pop(session, None)
            self._closed.add(session)
        if desk is not None:
            desk.close()

    def close_all(self) -> None:
        """Ends all sessions."""
        for session in list(self._open):
            self.close(session)


@contextmanager
def open_desks(
    trackers: Trackers, parent: Path | None = None, damaged: str = "refuse"
) -> Iterator[Desks]:
    """The Desks of a server, in a temporary folder that ends with the block.

    parent: where the folder is made; None for the system's place for such.
    damaged: as of a Desk.
    """
    with temporary_folder(parent) as root:
        desks = Desks(root, trackers, damaged)
        try:
            yield desks
        finally:
            desks.close_all()
