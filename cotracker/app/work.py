"""The points that a person asks of a video, and their tracks: clicked, tracked, corrected."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cotracker.app.asked import Asked, ask_grid, read_labels
from cotracker.app.pictures import keep_confident, median_distance
from cotracker.app.trackers import Trackers
from cotracker.app.whole_clip import WholeClip, open_session
from cotracker.data.video import VideoFile
from cotracker.trackers.session import Session
from cotracker.trackers.tracker import Tracker
from cotracker.tracks import Tracks

MODES = ADD, BOX, CORRECT, REMOVE = ("add a point", "draw a box", "correct", "remove")
CORNER = "The first corner is set: click the opposite one."


class Work:
    """What is asked of one video, and what is tracked of it.

    Each action gives a sentence to show; ValueError, one sentence, where it cannot be done.
    tell: called while it tracks with the frames done and all of them, and with zeros while it waits
        for others; False stops it.

    asked: points that wait to be tracked.
    corner: the first corner of a box.
    session: of what is tracked, by `checkpoint`; None before.
    other: the same points' tracks by another checkpoint.
    chosen: the id of the point that a correction moves.
    """

    def __init__(self, video: VideoFile, trackers: Trackers, tell: Callable[[int, int], object]):
        self.video, self.trackers, self.tell = video, trackers, tell
        self.asked: tuple[Asked, ...] = ()
        self.corner: Asked | None = None
        self.session: Session | WholeClip | None = None
        self.checkpoint = ""
        self.other: Tracks | None = None
        self.chosen: int | None = None
        self._before: list[tuple[Asked, ...]] = []  # what was asked, for undo
        self._changes = 0  # of the session, for undo
        # by other checkpoints, for undo
        self._earlier: list[tuple[Session | WholeClip, str, int]] = []
        self._named = 0

    @property
    def points(self) -> dict[int, str]:
        """The names of the tracked points by id."""
        if self.session is None:
            return {}
        return {one: point.name for one, point in self.session.points.items()}

    def click(self, mode: str, t: int, x: float, y: float, name: str = "", side: int = 5) -> str:
        """What a click at (x, y) of frame t does in one of MODES; side: of the grid in a box."""
        height, width = self.video.shape[-2:]
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            raise ValueError(f"({x:g}, {y:g}) is outside the {width}x{height} picture")
        here = Asked(t, x, y, name.strip())
        if mode == ADD:
            return self._ask([here])
        if mode == BOX:
            return self._click_corner(here, side)
        return self._correct(here) if mode == CORRECT else self._remove(here)

    def add_grid(self, side: int, t: int) -> str:
        """Asks for a grid over frame t."""
        return self._ask(ask_grid(self.video, side, t))

    def add_mask(self, mask: Path | np.ndarray, side: int, t: int) -> str:
        """Asks for the points of a grid in frame t where a picture file, or a layer H W 4, is."""
        return self._ask(ask_grid(self.video, side, t, mask=read_labels(mask)))

    def choose(self, one: int | None) -> str:
        """Chooses the point that a correction moves; None for the one next clicked."""
        self.chosen = one if one in self.points else None
        if self.chosen is None:
            return "Click the point to correct."
        return f"{self.points[one]}: click where it is."

    def track(self, checkpoint: str) -> str:
        """Tracks what was asked, all again where the checkpoint is another, or what was stopped."""
        if not self.points and not self.asked:
            raise ValueError("nothing is asked: click a point, or add a grid")
        with self.trackers.turn(self.tell):
            if self.session is None or checkpoint != self.checkpoint:
                self._switch(checkpoint)
            self.other = None
            if self.asked:
                self._track_asked()
            elif self.session.unfinished:
                self.session.update(self.session.unfinished)
        return self._told()

    def undo(self) -> str:
        """Takes back what was asked last, or else the last change of the tracks."""
        if self._before:
            self.asked = self._before.pop()
            return f"{_count(len(self.asked))} wait for Track."
        if self._changes and self.session.undo():
            self._changes -= 1
        elif self._earlier:
            self.session, self.checkpoint, self._changes = self._earlier.pop()
        else:
            raise ValueError("there is nothing to take back")
        self.other = None
        if self.chosen not in self.points:
            self.chosen = None
        return "The last change is taken back."

    def compare(self, checkpoint: str) -> str:
        """Tracks the same points, with their corrections, by another checkpoint."""
        one = self.tracks()
        if checkpoint == self.checkpoint:
            raise ValueError(f"{checkpoint} made these tracks: choose another checkpoint")
        with self.trackers.turn(self.tell):
            self.other = self._follow(self.trackers.get(checkpoint)).tracks()
        distance = median_distance(one, self.other)
        sides = f"Left {self.checkpoint}, right {checkpoint}"
        if distance is None:
            return f"{sides}: they never see the same point."
        return f"{sides}: {distance:.1f} pixels apart in the median, where both see a point."

    def tracks(self, least: float = 0.0) -> Tracks:
        """The Tracks, not visible where their confidence is below `least`."""
        if not self.points:
            raise ValueError("nothing is tracked yet: ask for points, then press Track")
        tracks = keep_confident(self.session.tracks(), least)
        seconds = torch.from_numpy(self.video.seconds)
        return replace(tracks, fps=float(self.video.fps), seconds=seconds)

    def _track_asked(self) -> None:
        asked, self.asked, self._before = self.asked, (), []
        queries = torch.tensor([one[:3] for one in asked])
        names, groups = zip(*(one[3:] for one in asked))
        self._changes += 1
        self.session.add(queries, names, groups)

    def _ask(self, points: list[Asked]) -> str:
        taken = {one.name for one in self.asked} | set(self.points.values())
        named = []
        for one in points:
            if one.name in taken:
                raise ValueError(f"a point is called {one.name} already: choose another name")
            named.append(one if one.name else one._replace(name=self._next_name(taken)))
        self._before.append(self.asked)
        self.asked, self.corner = (*self.asked, *named), None
        return f"{_count(len(self.asked))} wait for Track."

    def _next_name(self, taken: set[str]) -> str:
        while True:
            self._named += 1
            if f"p{self._named}" not in taken:
                return f"p{self._named}"

    def _click_corner(self, here: Asked, side: int) -> str:
        first = self.corner
        if first is None or first.t != here.t:
            self.corner = here
            return CORNER
        box = (first.x, first.y, here.x, here.y)
        self.corner = None
        return self._ask(ask_grid(self.video, side, here.t, box))

    def _correct(self, here: Asked) -> str:
        if isinstance(self.session, WholeClip):
            raise ValueError(
                f"{self.checkpoint} sees the video as a whole, so its tracks cannot be corrected: "
                "remove the point, and add it in a frame where it is seen well"
            )
        if self.chosen is None:
            return self.choose(self._nearest(here))
        name, self.other = self.points[self.chosen], None
        self._changes += 1
        self.session.correct(self.chosen, here.t, here.x, here.y)
        return f"{name} is at ({here.x:g}, {here.y:g}) in frame {here.t}. {self._told()}"

    def _remove(self, here: Asked) -> str:
        waiting = [one for one in self.asked if one.t == here.t]
        if waiting:
            near = min(waiting, key=lambda one: (one.x - here.x) ** 2 + (one.y - here.y) ** 2)
            self._before.append(self.asked)
            self.asked = tuple(one for one in self.asked if one is not near)
            return f"{near.name} is removed; {_count(len(self.asked))} wait for Track."
        one = self._nearest(here)
        name, self.other = self.points[one], None
        self._changes += 1
        self.session.remove(one)
        self.chosen = None if self.chosen == one else self.chosen
        return f"{name} is removed."

    def _nearest(self, here: Asked) -> int:
        """The id of the tracked point nearest to a place."""
        xy = self.tracks().xy[0, here.t]
        far = torch.linalg.vector_norm(xy - torch.tensor([here.x, here.y]), dim=-1)
        return self.session.ids[int(far.nan_to_num(float("inf")).argmin())]

    def _switch(self, checkpoint: str) -> None:
        """Makes the session one of this checkpoint, with the points of the one before."""
        tracker = self.trackers.get(checkpoint)
        if self.points:
            session = self._follow(tracker)
            self._earlier.append((self.session, self.checkpoint, self._changes))
        else:
            session = open_session(tracker, self.video, self.tell)
        self.session, self.checkpoint, self._changes = session, checkpoint, 0

    def _follow(self, tracker: Tracker) -> Session | WholeClip:
        """A Session of this tracker with all points and their corrections."""
        points = self.session.points.values()
        session = open_session(tracker, self.video, self.tell)
        if isinstance(session, WholeClip) and any(len(point.anchors) > 1 for point in points):
            raise ValueError(
                "a checkpoint that sees the video as a whole takes no corrections: undo them, or "
                "choose another one"
            )
        first = [next(iter(point.anchors.items())) for point in points]
        queries = torch.tensor([[t, *xy] for t, xy in first])
        ids = session.add(queries, *zip(*((point.name, point.group) for point in points)))
        for one, point in zip(ids, points):
            for t, xy in list(point.anchors.items())[1:]:
                session.correct(one, t, *xy)
        if session.unfinished:
            raise ValueError("stopped: the tracks before it stay")
        return session

    def _told(self) -> str:
        """What is tracked, or was stopped."""
        if self.session.unfinished:
            stopped = _count(len(self.session.unfinished))
            return f"Stopped: {stopped} not finished; Track goes on with them."
        return f"{_count(len(self.points))} in {len(self.video)} frames tracked."


def _count(number: int) -> str:
    return f"{number} point{'' if number == 1 else 's'}"
