"""What follows a stream of frames: the part of a tracker that holds state. Stream is its door."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from cotracker import checks
from cotracker.model.config import LARGEST
from cotracker.tracks import Tracks, map_tracks
from cotracker.types import Video

MODES = ("window", "frame")


@dataclass(frozen=True)
class LiveOptions:
    """How a stream is followed.

    mode: "window", whose final tracks are those of the whole clip; or "frame", one answer a frame,
        final at once, for a network that can (docs/live.md).
    provisional: mode "window": each push answers its newest frames too, with what a window that
        ends there tells; False: nothing before a window is whole, which costs a part of the time.
    iters: iterations of a window, or of a frame; None: the tracker's, and 2 of a frame.
    context: mode "frame": frames that are looked at together, the new one among them; None: the
        network's window, half of which is kept when it is full.
    ValueError, one sentence, for a field that cannot be.
    """

    mode: str = "window"
    provisional: bool = True
    iters: int | None = None
    context: int | None = None

    def __post_init__(self):
        checks.choice("mode", self.mode, MODES)
        checks.switch("provisional", self.provisional)
        if self.iters is not None:
            checks.whole("iters", self.iters, 1, LARGEST["iters"])
        if self.context is not None:
            checks.whole("context", self.context, 2)
            if self.mode != "frame":
                raise ValueError('context is for mode="frame" alone: leave it out')


class Part(NamedTuple):
    """Answers of neighbouring frames."""

    start: int  # the first frame
    tracks: Tracks  # 1 n N
    final: int  # so many of the frames are final, the first ones


class Live(ABC):
    """Follows frames of one size; its rows are the points asked, in the order that they came.

    latency: an answer is final when so many frames after its own have come.
    frames: pushed so far.
    """

    latency: int = 0
    frames: int = 0

    @property
    @abstractmethod
    def open_from(self) -> int:
        """The first frame that a new query may be at."""

    @abstractmethod
    def add(self, queries: Tensor) -> None:
        """More rows, for queries N 3 of frames from `open_from` on."""

    @abstractmethod
    def keep(self, rows: Tensor) -> None:
        """Forgets all rows but these, M int64 in ascending order."""

    @abstractmethod
    def push(self, frames: Video) -> Part:
        """What the next frames 1 n 3 H W, n > 0, tell; a lazy Video's cache is used."""

    @abstractmethod
    def flush(self) -> Part:
        """What was not final yet, now that no frame comes any more."""

    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """All that it holds."""


def join_frames(parts: list[Tracks]) -> Tracks:
    """1 T N of several 1 n N; at least one."""
    return map_tracks(lambda *values: torch.cat(values, dim=1), *parts)


def count_bytes(tensors: list[Tensor]) -> int:
    """Bytes of the storages behind the tensors, each counted once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


class LiveWrapper(Live):
    """Hands all on to another Live, in what concerns frames."""

    def __init__(self, inner: Live):
        self.inner = inner
        self.latency = inner.latency

    @property
    def frames(self) -> int:
        return self.inner.frames

    @property
    def open_from(self) -> int:
        return self.inner.open_from

    def push(self, frames: Video) -> Part:
        return self.restore(self.inner.push(self.change(frames)))

    def flush(self) -> Part:
        return self.restore(self.inner.flush())

    def change(self, frames: Video) -> Video:
        """The frames that the inner one sees."""
        return frames

    def restore(self, part: Part) -> Part:
        """The inner one's answer as one to what was asked here."""
        return part


class ResizedLive(LiveWrapper):
    """Frames and points changed by functions on the way in, and points on the way back.

    view: frames 1 n 3 H W as the inner one sees them.
    there: queries 1 N 3 as the inner one is asked them.
    back: the positions 1 n N 2 of its answer as ones here, given the queries here and there.
    """

    def __init__(
        self,
        inner: Live,
        view: Callable[[Video], Video],
        there: Callable[[Tensor], Tensor],
        back: Callable[[Tensor, Tensor, Tensor], Tensor],
    ):
        super().__init__(inner)
        self.view, self.there, self.back = view, there, back
        self.queries = torch.zeros(1, 0, 3)

    def add(self, queries: Tensor) -> None:
        self.queries = torch.cat([self.queries.to(queries), queries[None]], dim=1)
        self.inner.add(self.there(queries[None])[0])

    def keep(self, rows: Tensor) -> None:
        self.queries = self.queries[:, rows]
        self.inner.keep(rows)

    def change(self, frames: Video) -> Video:
        return self.view(frames)

    def restore(self, part: Part) -> Part:
        tracks = part.tracks
        queries = self.queries.to(tracks.xy.device)
        xy = self.back(tracks.xy, queries, self.there(queries))
        return part._replace(tracks=replace(tracks, xy=xy))

    def tensors(self) -> list[Tensor]:
        return [self.queries, *self.inner.tensors()]


class SupportedLive(LiveWrapper):
    """More points inside than asked: `grid` N 3 from the start, and `around` each one that comes.

    around: queries N 3 to the points (N K) 3 around them, or None.
    """

    def __init__(
        self,
        inner: Live,
        grid: Tensor | None,
        around: Callable[[Tensor], Tensor] | None,
    ):
        super().__init__(inner)
        self.around, self.grid = around, grid
        self.owner = torch.zeros(0, dtype=torch.long)  # of each inner row: the row here, or -1
        self.asked = torch.zeros(0, dtype=torch.bool)  # of each inner row: it is that row itself
        self.rows = 0

    def add(self, queries: Tensor) -> None:
        own = torch.arange(self.rows, self.rows + len(queries))
        parts, owners = [queries], [own]
        if self.around is not None:
            parts.append(self.around(queries))
            owners.append(own.repeat_interleave(len(parts[-1]) // max(1, len(queries))))
        if self.grid is not None:  # after the first points, as in a clip
            parts.append(self.grid.to(queries))
            owners.append(torch.full((len(self.grid),), -1))
            self.grid = None
        self.inner.add(torch.cat(parts))
        self.owner = torch.cat([self.owner, *owners])
        first = torch.arange(sum(map(len, parts))) < len(queries)
        self.asked = torch.cat([self.asked, first])
        self.rows += len(queries)

    def keep(self, rows: Tensor) -> None:
        number = torch.full((self.rows + 1,), -2)
        number[rows], number[-1] = torch.arange(len(rows)), -1  # [-1]: the grid's
        owner = number[self.owner]
        kept = owner > -2
        self.inner.keep(kept.nonzero()[:, 0])
        self.owner, self.asked, self.rows = owner[kept], self.asked[kept], len(rows)

    def restore(self, part: Part) -> Part:
        return part._replace(tracks=map_tracks(lambda v: v[:, :, self.asked], part.tracks))

    def tensors(self) -> list[Tensor]:
        return [self.owner, self.asked, *self.inner.tensors()]
