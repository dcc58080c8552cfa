"""Tracks of a stored clip that a person makes and corrects."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cotracker import checks
from cotracker.trackers import passes
from cotracker.trackers.feature_file import FEATURE_DISK, SpillingCache
from cotracker.trackers.inputs import check_queries, check_video
from cotracker.trackers.points import Point, Points, Record
from cotracker.trackers.session_file import read_session, write_session
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.views import FEATURE_MEMORY, MappedVideo
from cotracker.types import Video

DIRECTIONS = ("forward", "both")


class Session(Points):
    """Points of a video B = 1, added, corrected and ended one by one; tracks always at hand.

    A change computes again what it can change and nothing else: the point's own frames up to its
    neighbouring anchors.  The others' tracks stay and serve as context: where they are in the first
    of these frames they are asked too, and their answers are dropped.
    tracker: one that goes forward, as for `tracker.stream`.
    direction: "both": before its first anchor a point is tracked backwards; "forward": it is
        unseen there.
    progress: called with the frames done and all frames of a change, after each window or less;
        where it returns False, the change stops there, and `unfinished` has its points.
    memory, disk: bytes of feature maps kept in memory, then in a temporary file.
    ValueError, one sentence, for a video or a tracker that cannot be.
    """

    def __init__(
        self,
        tracker: Tracker,
        video: Video,
        direction: str = "both",
        progress: Callable[[int, int], object] | None = None,
        memory: float = FEATURE_MEMORY,
        disk: float = FEATURE_DISK,
    ):
        batch, frames, _, *size = check_video(video)
        if batch != 1:
            raise ValueError(f"a session is of one video, not of {batch}")
        super().__init__(frames, tuple(size))
        self.direction = checks.choice("direction", direction, DIRECTIONS)
        self.tracker, self.progress = tracker, progress
        passes.start(tracker, self.size)  # refuses what cannot follow
        self._view = MappedVideo(video, cache=SpillingCache(memory, disk))

    def add(
        self,
        queries: object,
        names: tuple[str, ...] | None = None,
        groups: tuple[int, ...] | None = None,
    ) -> tuple[int, ...]:
        """The ids of new points, queries N 3 (t, x, y), tracked together.

        names, groups: of each; they pass through to Tracks.names and Tracks.ids.
        """
        rows = check_queries(queries, self._view)[0].tolist()
        names, groups = names or ("",) * len(rows), groups or (0,) * len(rows)
        if len(names) != len(rows) or len(groups) != len(rows):
            raise ValueError(f"there must be {len(rows)} names and groups, one of each query")
        record = self._record
        points, first = dict(record.points), record.next_id
        for k, (t, x, y) in enumerate(rows):
            group = checks.whole("a group", groups[k], 0)
            points[first + k] = Point({int(t): (x, y)}, str(names[k]), group)
        ids = tuple(range(first, first + len(rows)))
        blank = passes.blank_tracks(self.frames, [points[one].anchors for one in ids])
        tracks = blank if record.tracks is None else passes.beside(record.tracks, blank)
        self._change(Record(points, tracks, record.unfinished, first + len(rows)))
        self._compute(ids, {one: (0, self.frames - 1) for one in ids})
        return ids

    def correct(self, one: int, t: int, x: float, y: float, joint: bool = False) -> None:
        """Puts a point at (x, y) in frame t, exactly; tracks from there and from other anchors.

        Between two anchors the tracks from both are blended.
        joint: all points are tracked again together, instead of this one beside the others.
        """
        point = self._point(one)
        t, x, y = check_queries([[t, x, y]], self._view)[0, 0].tolist()
        anchors = dict(sorted({**point.anchors, int(t): (x, y)}.items()))
        reach = _neighbours(anchors, int(t), self.frames)
        self._replace(one, replace(point, anchors=anchors))
        if joint:
            self.update()
        else:
            self._compute((one,), {one: reach})

    def retire(self, one: int, t: int) -> None:
        """Ends a point: from frame t on it is NaN and unseen."""
        last = self.frames - 1
        self._replace(one, replace(self._point(one), retired=checks.whole("t", t, 0, last)))

    def update(self, ids: tuple[int, ...] | None = None) -> None:
        """Tracks these points again, together; None for all."""
        ids = self.ids if ids is None else tuple(ids)
        for one in ids:
            self._point(one)
        self._compute(ids, {one: (0, self.frames - 1) for one in ids})

    def save(self, path: str | Path) -> Path:
        """The path of the npz file just written, atomically; feature maps and undo are left out."""
        return write_session(path, self._record, self.size, self.direction)

    @staticmethod
    def load(
        path: str | Path,
        tracker: Tracker,
        video: Video,
        progress: Callable[[int, int], object] | None = None,
    ) -> "Session":
        """The Session of a file that `save` wrote, of the same video; no code of it is run.

        ValueError, one sentence: the file is none, or of a video of another size or length.
        """
        values, tracks, size, direction = read_session(path)
        session = Session(tracker, video, direction, progress)
        frames = session.frames if tracks is None else tracks.xy.shape[1]
        if size != session.size or frames != session.frames:
            raise ValueError(
                f"{path} is of a video of {frames} frames of {size[1]}x{size[0]}, not of "
                f"{session.frames} of {session.size[1]}x{session.size[0]}"
            )
        points = {one: Point(*point) for one, point in values["points"].items()}
        unfinished, next_id = frozenset(values["unfinished"]), values["next_id"]
        session._record = Record(points, tracks, unfinished, next_id)
        return session

    def _replace(self, one: int, point: Point) -> None:
        points = {**self._record.points, one: point}
        self._change(replace(self._record, points=points))

    def _compute(self, ids: tuple[int, ...], reach: dict[int, tuple[int, int]]) -> None:
        """Writes the tracks of these points in their frames `reach`, beside those of the others."""
        record = self._record
        rows = [passes.Row(one, record.points[one].anchors, *reach[one]) for one in ids]
        column = {one: k for k, one in enumerate(record.points)}
        others = [k for one, k in column.items() if one not in ids]
        beside = passes.columns(record.tracks, others)
        both = self.direction == "both"
        answer, done = passes.track(self.tracker, self._view, rows, beside, both, self.progress)
        tracks = passes.write(record.tracks, [column[one] for one in ids], answer)
        unfinished = record.unfinished - set(ids) | (set() if done else set(ids))
        self._record = replace(record, tracks=tracks, unfinished=frozenset(unfinished))


def _neighbours(anchors: dict[int, tuple], t: int, frames: int) -> tuple[int, int]:
    """The first and last frame that the anchor in frame t has a say in."""
    before = max((one for one in anchors if one < t), default=0)
    after = min((one for one in anchors if one > t), default=frames - 1)
    return before, after
