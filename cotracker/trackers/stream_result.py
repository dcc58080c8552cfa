"""What a push to a stream tells, and many such joined."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cotracker.tracks import Tracks, map_tracks


@dataclass(frozen=True)
class StreamResult:
    """What a push told of some neighbouring frames.

    frames: n int64, counted from the stream's first.
    final: n bool; a frame that is not final yet is told again by a later push.
    ids: of the N points, as `add` gave them.
    tracks: 1 n N, on the CPU, with `queries` and `size`.
    """

    frames: Tensor
    final: Tensor
    ids: tuple[int, ...]
    tracks: Tracks

    @property
    def xy(self) -> Tensor:
        """n N 2, pixels."""
        return self.tracks.xy[0]

    @property
    def visibility(self) -> Tensor:
        """n N, in 0..1."""
        return self.tracks.visibility[0]

    @property
    def visible(self) -> Tensor:
        """n N bool, False outside the picture."""
        return self.tracks.visible[0]

    @property
    def confidence(self) -> Tensor | None:
        """n N in 0..1; None where the tracker has none."""
        return None if self.tracks.confidence is None else self.tracks.confidence[0]

    @property
    def in_frame(self) -> Tensor:
        """n N bool: the position is within the picture."""
        return self.tracks.in_frame[0]


def collect(results: list[StreamResult]) -> tuple[Tensor, Tracks]:
    """The frames T, ascending, and the final Tracks 1 T N of results that have the same ids."""
    kept = [one for one in results if one.final.any()]
    frames = torch.cat([one.frames[one.final] for one in kept])
    parts = [map_tracks(lambda v, k=one.final: v[:, k], one.tracks) for one in kept]
    tracks = map_tracks(lambda *values: torch.cat(values, dim=1), *parts)
    last = kept[-1].tracks
    return frames, replace(tracks, queries=last.queries, size=last.size)
