"""The tracks between a person's anchors: runs forward and backward in time, blended."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from cotracker.trackers.live import Live, LiveOptions, join_frames
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.views import MappedVideo
from cotracker.tracks import PER_FRAME, Tracks, map_tracks


class Row(NamedTuple):
    """A point to be tracked in the frames from `first` to `last`."""

    id: int
    anchors: dict[int, tuple[float, float]]  # by frame, ascending
    first: int
    last: int


class Lane(NamedTuple):
    """A row followed from one of its anchors, forward or backward, up to frame `stop`."""

    row: int
    t: int
    xy: tuple[float, float]
    stop: int


class Piece(NamedTuple):
    """Tracks 1 n 1 of a row from frame `start` on."""

    row: int
    start: int
    tracks: Tracks


class Run(NamedTuple):
    """Tracks 1 n L of L lanes in the frames from `start` on, in ascending order."""

    start: int
    tracks: Tracks
    lanes: list[Lane]

    def read(self, row: int, t: int, first: int, last: int) -> Tracks:
        """The Tracks 1 m 1 of the lane from anchor t in those of the frames that were reached."""
        number = next(k for k, lane in enumerate(self.lanes) if (lane.row, lane.t) == (row, t))
        frames = slice(max(0, first - self.start), max(0, last + 1 - self.start))
        return map_tracks(lambda values: values[:, frames, number : number + 1], self.tracks)


def start(tracker: Tracker, size: tuple[int, int]) -> Live:
    """What follows frames of a size, without provisional answers."""
    with torch.inference_mode():
        return tracker.start_live(size, LiveOptions(provisional=False))


def track(
    tracker: Tracker,
    view: MappedVideo,
    rows: list[Row],
    beside: Tracks | None,
    both: bool,
    progress: Callable[[int, int], object] | None,
) -> tuple[list[Piece], bool]:
    """What is new of the rows, and whether all of it was done.

    view: the video, with a cache.
    beside: tracks of other points, context; None for none.
    both: the frames before a first anchor are tracked too.
    progress: as of a Session.
    """
    ahead, back = _lanes(rows, both)
    watch = _Watch(progress, _frames_of(ahead) + _frames_of(back))
    forward = _run(tracker, view, ahead, beside, False, watch)
    backward = _run(tracker, view, back, beside, True, watch) if watch.going else None
    pieces = [piece for k, row in enumerate(rows) for piece in _join(k, row, forward, backward)]
    return pieces, watch.going


def _lanes(rows: list[Row], both: bool) -> tuple[list[Lane], list[Lane]]:
    """The lanes forward and backward; empty where none of them has a frame to go."""
    ahead, back = [], []
    for k, row in enumerate(rows):
        within = [t for t in row.anchors if row.first <= t <= row.last]
        for number, t in enumerate(within):
            after = within[number + 1] if number + 1 < len(within) else row.last
            before = within[number - 1] if number else row.first if both else t
            ahead.append(Lane(k, t, row.anchors[t], after))
            back.append(Lane(k, t, row.anchors[t], before))
    return _reached(ahead), _reached(back)


def _ends(lanes: list[Lane]) -> list[int]:
    return [end for lane in lanes for end in (lane.t, lane.stop)]


def _reached(lanes: list[Lane]) -> list[Lane]:
    """The lanes within the frames that some lane goes through; the others see them there."""
    ends = _ends([lane for lane in lanes if lane.t != lane.stop])
    return [lane for lane in lanes if ends and min(ends) <= lane.t <= max(ends)]


def _frames_of(lanes: list[Lane]) -> int:
    return max(_ends(lanes)) - min(_ends(lanes)) + 1 if lanes else 0


class _Watch:
    """Tells the frames done; `going` is False once the person has stopped it."""

    def __init__(self, progress: Callable[[int, int], object] | None, total: int):
        self.progress, self.total = progress, total
        self.done, self.going = 0, True

    def tell(self, frames: int) -> None:
        self.done += frames
        if self.progress is not None:
            self.going = self.progress(self.done, self.total) is not False


def _run(
    tracker: Tracker,
    view: MappedVideo,
    lanes: list[Lane],
    beside: Tracks | None,
    reverse: bool,
    watch: _Watch,
) -> Run | None:
    """The lanes' tracks, in as many frames as were reached; None without lanes."""
    if not lanes:
        return None
    low, high = min(_ends(lanes)), max(_ends(lanes))
    numbers = range(low, high + 1)[:: -1 if reverse else 1]
    asked = [(abs(lane.t - numbers[0]), *lane.xy) for lane in lanes]
    queries = torch.cat([torch.tensor(asked), _context(beside, numbers[0])])
    live, parts = start(tracker, tuple(view.shape[-2:])), []
    portion = max(1, (live.latency + 1) // 2)
    with torch.inference_mode():
        live.add(queries)
        for begin in range(0, len(numbers), portion):
            some = MappedVideo(view, frames=numbers[begin : begin + portion])
            part = live.push(_on_device(some, tracker))
            parts.append(map_tracks(lambda v, n=part.final: v[:, :n], part.tracks))
            watch.tell(some.shape[1])
            if not watch.going:
                break
        parts.append(live.flush().tracks)
    tracks = map_tracks(lambda v: v[:, :, : len(lanes)].clone().cpu(), join_frames(parts))
    if reverse:
        tracks = map_tracks(lambda v: v.flip(1), tracks)
    return Run(high + 1 - tracks.xy.shape[1] if reverse else low, tracks, lanes)


def _on_device(view: MappedVideo, tracker: Tracker) -> MappedVideo:
    if tracker.device.type == "cpu":
        return view
    return MappedVideo(view, change=lambda frames: frames.to(tracker.device), key=())


def _context(beside: Tracks | None, frame: int) -> Tensor:
    """Queries M 3, in frame 0 of a run, of the points that are seen in this frame."""
    if beside is None:
        return torch.zeros(0, 3)
    xy = beside.xy[0, frame][beside.visible[0, frame]]
    xy = xy[xy.isfinite().all(dim=-1)]
    return torch.cat([torch.zeros_like(xy[:, :1]), xy], dim=-1)


def _join(number: int, row: Row, forward: Run | None, backward: Run | None) -> list[Piece]:
    """The pieces of a row: blends between its anchors, its ends, and the anchors themselves."""
    within = [t for t in row.anchors if row.first <= t <= row.last]
    pieces = []
    if within and row.last > within[-1] and forward is not None:
        t = within[-1]
        pieces.append(Piece(number, t, forward.read(number, t, t, row.last)))
    if within and row.first < within[0]:
        pieces += _before(number, row, within[0], backward)
    for a, b in zip(within, within[1:]) if forward and backward else ():
        one, other = forward.read(number, a, a, b), backward.read(number, b, a, b)
        if one.xy.shape[1] == other.xy.shape[1] == b - a + 1:
            pieces.append(Piece(number, a, _blend(one, other)))
    like = forward or backward
    confident = like is not None and like.tracks.confidence is not None
    return pieces + [_anchor(number, t, row.anchors[t], confident) for t in within]


def _before(number: int, row: Row, t: int, backward: Run | None) -> list[Piece]:
    """The frames before a point's first anchor, where it was tracked backward."""
    lanes = backward.lanes if backward is not None else []
    if not any((lane.row, lane.t) == (number, t) and lane.stop < t for lane in lanes):
        return []
    first = max(row.first, backward.start)
    return [Piece(number, first, backward.read(number, t, first, t))]


def _blend(one: Tracks, other: Tracks) -> Tracks:
    """From the first's start to the other's end: weights go from 0 to 1 over the frames."""
    frames = one.xy.shape[1]
    weight = (torch.arange(frames) / (frames - 1))[None, :, None]

    def mix(a: Tensor, b: Tensor) -> Tensor:
        w = weight[..., None] if a.ndim == 4 else weight
        return torch.where(w < 0.5, a, b) if a.dtype == torch.bool else (1 - w) * a + w * b

    return map_tracks(mix, one, other)


def _anchor(number: int, t: int, xy: tuple[float, float], confident: bool) -> Piece:
    sure = torch.ones(1, 1, 1)
    tracks = Tracks(torch.tensor([[[xy]]]), sure, sure > 0, sure if confident else None)
    return Piece(number, t, tracks)


def blank_tracks(frames: int, anchors: list[dict[int, tuple[float, float]]]) -> Tracks:
    """Tracks 1 T N that repeat each point's first anchor, unseen."""
    first = torch.tensor([next(iter(one.values())) for one in anchors]).reshape(-1, 2)
    none = torch.zeros(1, frames, len(anchors))
    return Tracks(first.expand(1, frames, -1, -1).clone(), none, none > 0, none.clone())


def beside(tracks: Tracks, more: Tracks) -> Tracks:
    """The points of both."""
    return map_tracks(lambda *values: torch.cat(values, dim=2), tracks, more)


def columns(tracks: Tracks | None, kept: list[int]) -> Tracks | None:
    """These points of the tracks; None of none."""
    if tracks is None or not kept:
        return None
    return map_tracks(lambda values: values[:, :, kept], tracks)


def write(tracks: Tracks, places: list[int], pieces: list[Piece]) -> Tracks:
    """The tracks with pieces written over them; places: the column of each row."""
    values = {name: getattr(tracks, name) for name in PER_FRAME}
    values = {name: None if value is None else value.clone() for name, value in values.items()}
    for piece in pieces:
        frames = slice(piece.start, piece.start + piece.tracks.xy.shape[1])
        for name, value in values.items():
            new = getattr(piece.tracks, name)
            if value is None or new is None:
                values[name] = None
            else:
                value[:, frames, places[piece.row]] = new[:, :, 0]
    return replace(tracks, **values)
