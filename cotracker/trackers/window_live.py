"""A windowed network that follows a stream: its final tracks are those of the whole clip."""

from collections.abc import Callable

import torch
from torch import Tensor

from cotracker.model.windows import Estimate, WindowState
from cotracker.trackers.live import Live, Part, join_frames
from cotracker.tracks import Tracks, map_tracks
from cotracker.types import Video


class WindowLive(Live):
    """Windows as they become whole; it holds the last one's maps and the states around it.

    The state before the last window is kept too: a point that is added in a frame which that
    window told, and which is not final yet, is tracked as if it had been there before, by running
    the window again.  Times are counted from where they stay small, however long a stream is.
    predictor: the CoTrackerPredictor.
    """

    def __init__(self, predictor, provisional: bool, iters: int | None):
        self.predictor, self.model = predictor, predictor.model
        self.provisional = provisional
        self.iters = iters or predictor.iters
        self.window, self.half = self.model.window, self.model.window // 2
        self.latency = self.window - 1
        self.state = self.model.begin(torch.zeros(1, 0, 3, device=predictor.device))
        self.before: WindowState | None = None  # the last whole window
        self.start = 0  # the first frame of the next window
        self.maps: list[Tensor] = []  # of the last whole window's frames, and of those after it
        self.stale = False  # the last window is to be run again

    @property
    def open_from(self) -> int:
        return self.start

    def add(self, queries: Tensor) -> None:
        queries = queries.to(self.predictor.device)
        told = self.start + self.half  # the last window's end
        self.stale |= self.before is not None and bool((queries[:, 0] < told).any())
        if self.before is not None:
            self.before = self._extended(self.before, queries, self.start - self.half)
        self.state = self._extended(self.state, queries, self.start)

    def _extended(self, state: WindowState, queries: Tensor, start: int) -> WindowState:
        """The state with new points; `start` is its window's first frame in the stream."""
        queries = queries.clone()
        queries[:, 0] += state.start - start
        new = self.model.begin(queries[None])
        return _map_points(lambda dim, a, b: torch.cat([a, b], dim), state, new)

    def keep(self, rows: Tensor) -> None:
        rows = rows.to(self.predictor.device)
        self.state = _map_points(lambda dim, a: a.index_select(dim, rows), self.state)
        if self.before is not None:
            self.before = _map_points(lambda dim, a: a.index_select(dim, rows), self.before)

    def push(self, frames: Video) -> Part:
        first, parts = self.start, []
        for number in range(frames.shape[1]):
            self._append(self.predictor.encode_slice(frames, number, number + 1))
            if self.frames - self.start == self.window:
                parts.append(self._run())
        final = sum(part.xy.shape[1] for part in parts)
        if self.provisional:
            parts.append(self._newest())
        else:
            parts.append(self._told() if parts else _no_frames(self._told()))
        return Part(first, join_frames(parts), final)

    def flush(self) -> Part:
        tracks = self._newest()
        return Part(self.start, tracks, tracks.xy.shape[1])

    def tensors(self) -> list[Tensor]:
        states = [self.state] if self.before is None else [self.state, self.before]
        held = [value for state in states for value in state if isinstance(value, Tensor)]
        return [*held, *self.maps]

    def _append(self, maps: list[Tensor]) -> None:
        if not self.maps:
            self.maps = maps
        else:
            self.maps = [torch.cat(pair, dim=1) for pair in zip(self.maps, maps)]
        self.frames += 1

    def _run(self) -> Tracks:
        """1 S/2 N: the final half of the window that the newest frame makes whole."""
        self._refresh()
        self.maps = [level[:, -self.window :].clone() for level in self.maps]
        self.before = self.state
        state, estimate = self._step(self.before, self.maps)
        self.state = _rebased(state, self.half)
        self.start += self.half
        return map_tracks(lambda v: v[:, : self.half], self._read(estimate, self.before))

    def _newest(self) -> Tracks:
        """1 n N: all frames that are not final, by a window that ends with the newest."""
        if self.before is not None and self.frames == self.start + self.half:
            return self._told()
        self._refresh()
        final = 0 if self.before is None else self.half
        _, estimate = self._step(self.state, [level[:, final:] for level in self.maps])
        return self._read(estimate, self.state)

    def _told(self) -> Tracks:
        """1 S/2 N: the last whole window's second half; not meant before there is one."""
        self._refresh()
        state = self.state
        half = [v if v is None else v[:, self.half :] for v in (state.tracks, state.logits)]
        confidence = None if state.confidence is None else [state.confidence[:, self.half :]]
        active = state.queries[..., 0] < state.start + self.half
        estimate = Estimate(state.start, half[:1], half[1], active, confidence=confidence)
        return self._read(estimate, state)

    def _refresh(self) -> None:
        """Runs the last window again where points were added to it."""
        if self.stale:
            self.stale = False
            state, _ = self._step(self.before, [level[:, : self.window] for level in self.maps])
            self.state = _rebased(state, self.half)

    def _step(self, state: WindowState, maps: list[Tensor]) -> tuple[WindowState, Estimate]:
        return self.model.step(state, maps, self.iters, refine=self.predictor.refine)

    def _read(self, estimate: Estimate, state: WindowState) -> Tracks:
        """The Tracks of a window that begins where `state` does."""
        queries = state.queries.clone()
        queries[..., 0] -= state.start
        return self.predictor.read_window(estimate, queries)


def _rebased(state: WindowState, start: int) -> WindowState:
    """The same state, counted so that its window begins at `start`."""
    queries = state.queries.clone()
    queries[..., 0] -= state.start - start
    return state._replace(queries=queries, start=start)


def _no_frames(tracks: Tracks) -> Tracks:
    return map_tracks(lambda values: values[:, :0], tracks)


def _map_points(change: Callable[..., Tensor], *states: WindowState) -> WindowState:
    """The first state with `change(axis of points, value of each state)` in its tensors."""
    axes = {"queries": 1, "point_mask": 1, "track_feat": 1, "tracks": 2, "logits": 2}
    axes |= {"confidence": 2} if states[0].confidence is not None else {}
    values = {
        name: change(axis, *(getattr(state, name) for state in states))
        for name, axis in axes.items()
    }
    return states[0]._replace(**values)
