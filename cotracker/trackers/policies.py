"""What may be done to a tracker's answers, apart from them: small wrappers, none on by default.

A policy sees frame after frame and nothing ahead, so it stands around a clip's tracker and a
stream's alike.  Whether a point is outside the picture needs none: Tracks.in_frame tells.
"""

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from cotracker import checks
from cotracker.geometry import reverse_time
from cotracker.trackers.live import Live, LiveOptions, LiveWrapper, Part, join_frames
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.views import reverse_view
from cotracker.trackers.wrappers import Wrapper, choose
from cotracker.tracks import Tracks, map_tracks
from cotracker.types import Video

State = tuple[Tensor, ...]  # each B N ..., all that a policy keeps of the frames before
FILLS = ("hold", "extrapolate", "nan")


class Policy(Wrapper):
    """Changes the answers of the tracker inside, frame by frame from each query on."""

    @abstractmethod
    def begin(self, queries: Tensor) -> State:
        """The State before the queries B N 3."""

    @abstractmethod
    def step(self, state: State, frame: Tracks) -> tuple[State, Tracks]:
        """The next State, and what becomes of one frame's Tracks B 1 N."""

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        return self.apply(self.tracker.forward(video, queries), queries)[0]

    def apply(
        self, tracks: Tracks, queries: Tensor, state: State | None = None, start: int = 0
    ) -> tuple[Tracks, State]:
        """What becomes of Tracks B T N that begin in frame `start`, and the State after them."""
        state, parts = state or self.begin(queries), []
        for k in range(tracks.xy.shape[1]):
            one = map_tracks(lambda values, k=k: values[:, k : k + 1], tracks)
            changed, told = self.step(state, one)
            begun = start + k >= queries[..., 0]
            state = tuple(choose(begun, a, b) for a, b in zip(changed, state))
            parts.append(map_tracks(lambda a, b, m=begun[:, None]: choose(m, a, b), told, one))
        return (join_frames(parts) if parts else tracks), state

    def start_live(self, size: tuple[int, int], options: LiveOptions) -> Live:
        return PolicyLive(self.tracker.start_live(size, options), self)


class PolicyLive(LiveWrapper):
    """A Policy around a stream: its state goes on with the frames that are final."""

    def __init__(self, inner: Live, policy: Policy):
        super().__init__(inner)
        self.policy, self.queries = policy, torch.zeros(1, 0, 3)
        self.state = policy.begin(self.queries)

    def add(self, queries: Tensor) -> None:
        self.inner.add(queries)
        queries = queries[None]
        new = self.policy.begin(queries)
        self.queries = torch.cat([self.queries.to(queries), queries], dim=1)
        self.state = tuple(torch.cat([a, b.to(a)], 1) for a, b in zip(self.state, new))

    def keep(self, rows: Tensor) -> None:
        self.inner.keep(rows)
        self.queries = self.queries[:, rows]
        self.state = tuple(values[:, rows] for values in self.state)

    def restore(self, part: Part) -> Part:
        device = part.tracks.xy.device
        queries, self.state = self.queries.to(device), tuple(v.to(device) for v in self.state)
        final, later = (
            map_tracks(lambda v, s=some: v[:, s], part.tracks)
            for some in (slice(part.final), slice(part.final, None))
        )
        final, self.state = self.policy.apply(final, queries, self.state, part.start)
        later, _ = self.policy.apply(later, queries, self.state, part.start + part.final)
        return part._replace(tracks=join_frames([final, later]))

    def tensors(self) -> list[Tensor]:
        return [self.queries, *self.state, *self.inner.tensors()]


class Hidden(Policy):
    """After `frames` hidden frames a point stays where it was seen last, goes on, or is NaN.

    fill: "hold"; "extrapolate", at the velocity that it was last seen with; or "nan".
    """

    def __init__(self, tracker: Tracker, frames: int = 8, fill: str = "hold"):
        super().__init__(tracker)
        self.frames = checks.whole("frames", frames, 0)
        self.fill = checks.choice("fill", fill, FILLS)

    def begin(self, queries: Tensor) -> State:
        """How long each point is hidden, where it was seen last, and its velocity there."""
        xy = queries[..., 1:]
        return torch.zeros_like(xy[..., 0]), xy, torch.zeros_like(xy)

    def step(self, state: State, frame: Tracks) -> tuple[State, Tracks]:
        hidden, last, velocity = state
        xy, seen = frame.xy[:, 0], frame.visible[:, 0]
        steps = hidden + 1
        velocity = torch.where(seen[..., None], (xy - last) / steps[..., None], velocity)
        last = torch.where(seen[..., None], xy, last)
        hidden = torch.where(seen, 0.0, steps)
        ahead = {
            "hold": last,
            "extrapolate": last + velocity * hidden[..., None],
            "nan": torch.full_like(xy, float("nan")),
        }[self.fill]
        xy = torch.where((hidden > self.frames)[..., None], ahead, xy)
        return (hidden, last, velocity), replace(frame, xy=xy[:, None])

    def describe(self) -> dict:
        return super().describe() | {"hidden": {"frames": self.frames, "fill": self.fill}}


class Retired(Policy):
    """A point that was hidden for `frames` frames is NaN and unseen from then on."""

    def __init__(self, tracker: Tracker, frames: int = 48):
        super().__init__(tracker)
        self.frames = checks.whole("frames", frames, 1)

    def begin(self, queries: Tensor) -> State:
        """How long each point is hidden."""
        return (torch.zeros_like(queries[..., 0]),)

    def step(self, state: State, frame: Tracks) -> tuple[State, Tracks]:
        (hidden,) = state
        ended = hidden >= self.frames
        hidden = torch.where(frame.visible[:, 0] & ~ended, 0.0, hidden + 1)
        gone = (hidden >= self.frames)[:, None]
        return (hidden,), replace(
            frame,
            xy=frame.xy.masked_fill(gone[..., None], float("nan")),
            visibility=frame.visibility.masked_fill(gone, 0.0),
            visible=frame.visible & ~gone,
        )

    def describe(self) -> dict:
        return super().describe() | {"retired_after": self.frames}


class Filtered(Policy):
    """Positions smoothed over time: each is `share` of the new one and the rest of the one before.

    A point that comes back into sight starts anew, and a query stays where it is.
    """

    def __init__(self, tracker: Tracker, share: float = 0.6):
        super().__init__(tracker)
        self.share = checks.share("share", share)

    def begin(self, queries: Tensor) -> State:
        """The smoothed positions, and whether the points were seen."""
        return queries[..., 1:], torch.ones_like(queries[..., 0])

    def step(self, state: State, frame: Tracks) -> tuple[State, Tracks]:
        before, seen = state
        xy, sees = frame.xy[:, 0], frame.visible[:, 0]
        both = (sees & (seen > 0))[..., None]
        xy = torch.where(both, self.share * xy + (1 - self.share) * before, xy)
        return (xy, sees.to(xy)), replace(frame, xy=xy[:, None])

    def describe(self) -> dict:
        return super().describe() | {"filter_share": self.share}


def forward_backward(tracker: Tracker, video: Video, tracks: Tracks, queries: Tensor) -> Tensor:
    """B T N pixels: how far from a track its point is, tracked backwards from where it ends.

    It ends in the last frame where it is visible; after that, and before its query, 0.  A score:
    what is far apart is doubtful, what is near may still be wrong in the same way both times.
    """
    frames = video.shape[1]
    time = torch.arange(frames, device=tracks.xy.device)[:, None]
    last = torch.where(tracks.visible, time, -1).amax(dim=1)  # B N
    last = torch.maximum(last, queries[..., 0].long())
    index = last[:, None, :, None].expand(-1, 1, -1, 2)
    ends = torch.cat([last[..., None].to(queries), tracks.xy.gather(1, index)[:, 0]], dim=-1)
    back = tracker.forward(reverse_view(video), reverse_time(ends, frames))
    apart = (back.xy.flip(1) - tracks.xy).norm(dim=-1)
    between = (time >= queries[:, None, :, 0]) & (time <= last[:, None])
    return torch.where(between, apart, 0.0)
