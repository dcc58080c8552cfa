"""What a Session is for the page, by a tracker that sees a clip as a whole."""

from collections.abc import Callable
from dataclasses import replace

import torch

from cotracker.trackers import passes
from cotracker.trackers.feature_file import FEATURE_DISK, SpillingCache
from cotracker.trackers.inputs import check_queries
from cotracker.trackers.points import Point, Points, Record
from cotracker.trackers.session import Session
from cotracker.trackers.track import track_video
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.views import FEATURE_MEMORY, MappedVideo
from cotracker.types import Video


class _Stopped(Exception):
    """The person has pressed Cancel."""


class WholeClip(Points):
    """Points of a video, added and removed; those added together are tracked together.

    It has what the page asks of a Session, but no corrections. The others' tracks stay as they are
    when points are added.
    tracker: one that tracks in both directions.
    progress: called with the frames done and all of them; False stops, and `unfinished` has the
        points that wait.
    """

    def __init__(self, tracker: Tracker, video: Video, progress: Callable[[int, int], object]):
        self.tracker, self.progress = tracker, progress
        super().__init__(video.shape[1], tuple(video.shape[-2:]))
        self._view = MappedVideo(video, cache=SpillingCache(FEATURE_MEMORY, FEATURE_DISK))

    def add(self, queries: object, names: tuple[str, ...], groups: tuple[int, ...]) -> tuple:
        """The ids of new points, queries N 3 (t, x, y), tracked together."""
        rows, record = check_queries(queries, self._view)[0].tolist(), self._record
        added = {
            record.next_id + k: Point({int(t): (x, y)}, name, group)
            for k, ((t, x, y), name, group) in enumerate(zip(rows, names, groups))
        }
        blank = passes.blank_tracks(self.frames, [point.anchors for point in added.values()])
        tracks = blank if record.tracks is None else passes.beside(record.tracks, blank)
        points = {**record.points, **added}
        self._change(Record(points, tracks, record.unfinished, record.next_id + len(rows)))
        self.update(tuple(added))
        return tuple(added)

    def update(self, ids: tuple[int, ...]) -> None:
        """Tracks these points, together."""
        record = self._record
        columns = {one: k for k, one in enumerate(record.points)}
        first = [next(iter(record.points[one].anchors.items())) for one in ids]
        queries = torch.tensor([[[t, *xy] for t, xy in first]])
        try:
            answer = track_video(self._view, queries, self.tracker, self._teller())
        except _Stopped:
            self._record = replace(record, unfinished=record.unfinished | set(ids))
            return
        pieces = [passes.Piece(k, 0, passes.columns(answer, [k])) for k in range(len(ids))]
        tracks = passes.write(record.tracks, [columns[one] for one in ids], pieces)
        unfinished = record.unfinished - set(ids)
        self._record = replace(record, tracks=tracks, unfinished=unfinished)

    def _teller(self) -> Callable[[int], None]:
        """What `track_video` calls; frames count twice, as a long clip is looked at twice."""
        done, total = 0, 2 * self.frames

        def tell(frames: int) -> None:
            nonlocal done
            done = min(done + frames, total)
            if self.progress(done, total) is False:
                raise _Stopped

        return tell


def open_session(
    tracker: Tracker, video: Video, progress: Callable[[int, int], object]
) -> Session | WholeClip:
    """A Session, or a WholeClip of a tracker that cannot follow a video window by window."""
    try:
        return Session(tracker, video, progress=progress)
    except ValueError:
        return WholeClip(tracker, video, progress)
