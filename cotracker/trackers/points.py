"""Points of a stored clip that a person puts, with their tracks; every change can be undone."""

from dataclasses import dataclass, field, replace

import torch

from cotracker.geometry import inside_frame
from cotracker.trackers import passes
from cotracker.tracks import Tracks

UNDOS = 20


@dataclass(frozen=True)
class Point:
    """One point: where a person put it, and what it is called.

    anchors: positions (x, y) by frame; at least one.
    retired: the frame from which on it is not tracked; None for never.
    """

    anchors: dict[int, tuple[float, float]]
    name: str = ""
    group: int = 0
    retired: int | None = None


@dataclass(frozen=True)
class Record:
    """All that a session knows: points by id, and their tracks, columns in the order of the ids."""

    points: dict[int, Point] = field(default_factory=dict)
    tracks: Tracks | None = None
    unfinished: frozenset[int] = frozenset()
    next_id: int = 0


class Points:
    """What a Session knows, whoever tracks: its record, which each change replaces.

    frames, size: of the video, (H, W).
    """

    def __init__(self, frames: int, size: tuple[int, int]):
        self.frames, self.size = frames, size
        self._record = Record()
        self._undo: list[Record] = []

    @property
    def ids(self) -> tuple[int, ...]:
        """Of all points, in the order of the tracks; an id is never used again."""
        return tuple(self._record.points)

    @property
    def points(self) -> dict[int, Point]:
        """The points by id."""
        return dict(self._record.points)

    @property
    def unfinished(self) -> tuple[int, ...]:
        """Points whose last change was stopped; `update(unfinished)` finishes it."""
        return tuple(sorted(self._record.unfinished))

    def remove(self, one: int) -> None:
        """Forgets a point; the others stay as they are."""
        self._point(one)
        record = self._record
        kept = [k for k, other in enumerate(record.points) if other != one]
        points = {other: point for other, point in record.points.items() if other != one}
        tracks = passes.columns(record.tracks, kept)
        unfinished = record.unfinished - {one}
        self._change(replace(record, points=points, tracks=tracks, unfinished=unfinished))

    def undo(self) -> bool:
        """Whether there was a change to take back; it is taken back."""
        if not self._undo:
            return False
        self._record = self._undo.pop()
        return True

    def tracks(self) -> Tracks:
        """The Tracks 1 T N of all points, in the order of `ids`."""
        record = self._record
        if not record.points:
            raise ValueError("the session has no points: add some")
        frames, points = torch.arange(self.frames)[:, None], list(record.points.values())
        ended = torch.tensor([self.frames if p.retired is None else p.retired for p in points])
        gone = (frames >= ended)[None]
        tracks = record.tracks
        visible = tracks.visible & inside_frame(tracks.xy, self.size) & ~gone
        first = [next(iter(point.anchors.items())) for point in points]
        return replace(
            tracks,
            xy=tracks.xy.masked_fill(gone[..., None], float("nan")),
            visibility=tracks.visibility.masked_fill(gone, 0.0),
            visible=visible,
            queries=torch.tensor([[[t, x, y] for t, (x, y) in first]]),
            ids=torch.tensor([[point.group for point in points]]),
            names=tuple(point.name for point in points),
            size=self.size,
        )

    def _point(self, one: int) -> Point:
        point = self._record.points.get(one)
        if point is None:
            raise ValueError(f"there is no point {one}: session.ids has those that are")
        return point

    def _change(self, record: Record) -> None:
        self._undo = [*self._undo[-UNDOS + 1 :], self._record]
        self._record = record
