"""PIPs that follow a stream: the same windows, each run when its frames have come."""

import torch
from torch import Tensor

from cotracker.baselines.by_clip import read_frames
from cotracker.baselines.pips import THRESHOLD, Chained, PIPs
from cotracker.geometry import inside_frame, rescale_points, resize_video
from cotracker.trackers.live import Live, Part, join_frames
from cotracker.tracks import Tracks, map_tracks
from cotracker.types import Video


class PIPsLive(Live):
    """Holds maps and answers from the first frame that a window to come may still change.

    provisional: the frames after it are answered too, by windows that repeat the newest frame.
    """

    def __init__(self, tracker: PIPs, size: tuple[int, int], provisional: bool):
        self.tracker, self.size, self.provisional = tracker, size, provisional
        self.working = tracker.resolution or size
        self.window = tracker.network.window
        self.latency = self.window - 1
        self.queries = torch.zeros(0, 3, device=tracker.device)
        self.chain = self._begin(self.queries)
        self.maps: dict[int, list[Tensor]] = {}

    @property
    def open_from(self) -> int:
        return self.chain.offset

    def add(self, queries: Tensor) -> None:
        queries = queries.to(self.tracker.device)
        self.queries = torch.cat([self.queries, queries])
        old, new = self.chain, self._begin(queries)
        self.chain = Chained(
            torch.cat([old.xy, new.xy], 1),
            torch.cat([old.visibility, new.visibility], 1),
            torch.cat([old.feature, new.feature]),
            torch.cat([old.begun, new.begun]),
            torch.cat([old.now, new.now]),
            old.offset,
        )

    def _begin(self, queries: Tensor) -> Chained:
        """Of new points, in as many frames as are held."""
        points = rescale_points(queries[:, 1:], self.size, self.working)
        held = self.frames - self.open_from if self.frames else 0
        channels = self.tracker.network.config.channels
        return Chained.begin(queries[:, 0].long(), points, held, channels)

    def keep(self, rows: Tensor) -> None:
        rows = rows.to(self.tracker.device)
        self.queries, chain = self.queries[rows], self.chain
        self.chain = Chained(
            chain.xy[:, rows],
            chain.visibility[:, rows],
            chain.feature[rows],
            chain.begun[rows],
            chain.now[rows],
            chain.offset,
        )

    def push(self, frames: Video) -> Part:
        first = self.open_from
        for k in range(frames.shape[1]):
            self._append(read_frames(frames, k, k + 1))
        for t in range(first, self.frames - self.window + 1):
            self._run(self.chain, t)
        final = min([self.frames, *self.chain.now.tolist()])
        told = self._read(self.chain, first, final)
        later = self._read_provisionally(final)
        self._forget(final)
        return Part(first, join_frames([told, later]), final - first)

    def flush(self) -> Part:
        first, chain = self.open_from, self._finished()
        return Part(first, self._read(chain, first, self.frames), self.frames - first)

    def _append(self, frame: Tensor) -> None:
        """Encodes a frame; points stay where they are in it, until a window tells more."""
        frame = resize_video(frame.to(self.tracker.device), self.working)
        self.maps[self.frames] = self.tracker.network.encode(frame[None])
        start = rescale_points(self.queries[:, 1:], self.size, self.working)
        last = self.chain.xy[-1] if len(self.chain.xy) else start
        self.chain.xy = torch.cat([self.chain.xy, last[None]])
        unseen = torch.zeros_like(last[None, :, 0])
        self.chain.visibility = torch.cat([self.chain.visibility, unseen])
        self.frames += 1

    def _run(self, chain: Chained, t: int) -> None:
        if (chain.now == t).any():
            numbers = [min(t + s, self.frames - 1) for s in range(self.window)]
            levels = zip(*(self.maps[number] for number in numbers))
            maps = [torch.cat(level, dim=1) for level in levels]
            self.tracker.run_window(chain, t, self.frames, maps)

    def _finished(self) -> Chained:
        """A copy in which all windows are run, as at the end of a video."""
        held = vars(self.chain).items()
        chain = Chained(**{k: v.clone() if isinstance(v, Tensor) else v for k, v in held})
        for t in range(self.open_from, self.frames - 1):
            self._run(chain, t)
        return chain

    def _read_provisionally(self, first: int) -> Tracks:
        if not self.provisional:
            return self._read(self.chain, first, first)
        return self._read(self._finished(), first, self.frames)

    def _forget(self, first: int) -> None:
        """Drops what lies before a frame."""
        gone, self.chain.offset = first - self.chain.offset, first
        self.chain.xy = self.chain.xy[gone:].clone()
        self.chain.visibility = self.chain.visibility[gone:].clone()
        self.maps = {number: maps for number, maps in self.maps.items() if number >= first}

    def _read(self, chain: Chained, first: int, stop: int) -> Tracks:
        """The Tracks 1 n N of the frames from `first` to before `stop`."""
        some = slice(first - chain.offset, stop - chain.offset)
        xy = rescale_points(chain.xy[some], self.working, self.size)
        visibility = chain.visibility[some]
        visible = (visibility > THRESHOLD) & inside_frame(xy, self.size)
        time = torch.arange(first, stop, device=xy.device)[:, None] - self.queries[:, 0]
        here, known = time == 0, time <= 0
        tracks = Tracks(
            torch.where(known[..., None], self.queries[:, 1:], xy),
            torch.where(known, here.float(), visibility),
            torch.where(known, here, visible),
        )
        return map_tracks(lambda values: values[None], tracks)

    def tensors(self) -> list[Tensor]:
        chain = [value for value in vars(self.chain).values() if isinstance(value, Tensor)]
        return [self.queries, *chain, *(level for maps in self.maps.values() for level in maps)]
