"""Tracks that any program has written, as a Tracker: to be measured under any protocol."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from cotracker import checks
from cotracker.geometry import rescale_points
from cotracker.interchange import BY_SUFFIX, read_tracks
from cotracker.trackers.tracker import Tracker
from cotracker.tracks import Tracks
from cotracker.types import Video

SUFFIXES = (".csv", ".json", *BY_SUFFIX)


class Predictions(Tracker):
    """Answers from files: NAME.npz, NAME.csv or another of cotracker.interchange, one a video.

    NAME is the video's in the benchmark. A file holds tracks of all its frames in pixels of the
    video, or of `size`, where the file says one. The answer to a query is, of the tracks that
    are within `tolerance` pixels of it in its frame, the nearest; where the file has queries, only
    tracks of the same frame are compared, by their queries. Where a place is nan, the point is
    hidden.
    root: the folder of the files.
    ValueError, one sentence: the folder holds no file, a video or a query has no answer there.
    """

    both_directions = True  # a file holds all frames

    def __init__(self, root: str | Path, tolerance: float = 1.0):
        super().__init__()
        self.root = Path(root)
        self.tolerance = checks.number("tolerance", tolerance, 0)
        listed = sorted(self.root.iterdir()) if self.root.is_dir() else []
        self.files = {path.stem: path for path in listed if path.suffix in SUFFIXES}
        if not self.files:
            raise ValueError(f"{root} holds no predictions: put NAME.npz or NAME.csv there")

    def forward(self, video: Video, queries: Tensor) -> Tracks:
        name = getattr(video, "name", None)
        if name not in self.files:
            raise ValueError(
                f"{self.root} holds no predictions for the video {name}: add {name}.npz"
            )
        path, (frames, size) = self.files[name], (video.shape[1], tuple(video.shape[-2:]))
        tracks = read_tracks(path)
        if tracks.xy.shape[1] != frames:
            raise ValueError(f"{path} holds {tracks.xy.shape[1]} frames, but the video {frames}")
        if tracks.size is not None and tracks.size != size:
            tracks = _rescale(tracks, size)
        parts = [self._choose(path, tracks, some) for some in queries.cpu()]
        return Tracks(*(torch.stack(fields).to(queries.device) for fields in zip(*parts)))

    def _choose(self, path: Path, tracks: Tracks, queries: Tensor) -> tuple[Tensor, ...]:
        """xy T N 2, visibility and visible T N: the answers to queries N 3."""
        xy, frame = tracks.xy[0].float(), queries[:, 0].long()
        places = xy[frame]  # N K 2
        if tracks.queries is not None:
            same = tracks.queries[0, :, 0] == queries[:, :1]  # N K
            places = torch.where(same[..., None], tracks.queries[0, :, 1:], torch.nan)
        away = (places - queries[:, None, 1:]).norm(dim=-1).nan_to_num(torch.inf)
        nearest, which = (
            away.min(dim=1) if away.shape[1] else (away.new_full((1,), torch.inf), None)
        )
        if (nearest > self.tolerance).any():
            t, x, y = queries[int(nearest.argmax())].tolist()
            raise ValueError(
                f"{path} has no track at the query frame {t:g}, x {x:g}, y {y:g}: the nearest is "
                f"{nearest.max():.1f} pixels away, and tolerance is {self.tolerance:g}"
            )
        known = xy[:, which].isfinite().all(dim=-1)
        chosen = torch.where(known[..., None], xy[:, which], queries[:, 1:])
        return chosen, tracks.visibility[0][:, which].float(), tracks.visible[0][:, which] & known

    def describe(self) -> dict:
        """The folder, and a hash of all its files in the place of weights."""
        digest = hashlib.sha256()
        for name, path in self.files.items():
            digest.update(name.encode() + path.read_bytes())
        identity = {"name": self.root.name, "hash": digest.hexdigest()}
        return super().describe() | {"direction": "both", "checkpoint": identity}


def _rescale(tracks: Tracks, size: tuple[int, int]) -> Tracks:
    """Tracks of the frame of `tracks.size` in the pixels of a frame (H, W)."""
    queries = tracks.queries
    if queries is not None:
        xy = rescale_points(queries[..., 1:], tracks.size, size)
        queries = torch.cat([queries[..., :1], xy], dim=-1)
    xy = rescale_points(tracks.xy, tracks.size, size)
    return Tracks(xy, tracks.visibility, tracks.visible, queries=queries, size=size)
