"""Labels for real videos by a tracker: a label is trusted only where two answers agree.

Self-training with filtered labels. A point is tracked from one frame; then, in the flipped video,
from its position in another frame. The label is trusted where both answers agree, and where dense
optical flow that is consistent with itself does not contradict it.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cotracker.data.video import VideoFile, open_video
from cotracker.geometry import flip_points, resize_video
from cotracker.pseudo import flow
from cotracker.queries import at_frames
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.wrappers import Bidirectional
from cotracker.types import Clip, Tracks

MIN_GAP = 4  # frames between a point's two queries
WIDTH = 512  # lengths below are pixels of a frame this wide
ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm")


@dataclass(frozen=True)
class Trust:
    """When a label is trusted; lengths in pixels of a frame 512 wide.

    returned: largest distance of the second answer from the first query.
    agreed: largest distance of both answers in a frame.
    flow: a step that departs more than this from consistent flow is not trusted.
    consistent: flow is consistent where it returns, there and back, within this.
    """

    returned: float = 3.0
    agreed: float = 2.0
    flow: float = 3.0
    consistent: float = 1.0


class PseudoLabels:
    """A source of clips of real videos, labelled by a tracker: `generate.py generator=pseudo …`.

    videos: a folder of video files, or of folders of frames.
    tracker: forward in time.
    frames: of a clip, from a random start.
    height, width: the size that clips are labelled at and come out in.
    points: queries of a clip; fewer are trusted.
    left_out: names, without ending, of videos that are never used.
    ValueError: there is no such folder, or no video in it is long enough.
    """

    def __init__(
        self,
        videos: str,
        tracker: Tracker,
        frames: int = 36,
        height: int = 384,
        width: int = 512,
        points: int = 256,
        left_out: Sequence[str] = (),
        trust: Trust = Trust(),
    ):
        root = Path(videos)
        if not root.is_dir():
            raise ValueError(
                f"the folder {root} does not exist: generator.videos must be a folder of videos"
            )
        paths = sorted(p for p in root.iterdir() if p.is_dir() or p.suffix.lower() in ENDINGS)
        opened = [_open_or_warn(path) for path in paths if path.stem not in left_out]
        self.videos = [video for video in opened if video is not None and len(video) >= frames]
        if not self.videos:
            raise ValueError(
                f"{root} holds no video of {frames} frames or more: lower generator.frames"
            )
        self.tracker = tracker
        self.frames = frames
        self.size = (height, width)
        self.points = points
        self.trust = trust

    def clip(self, rng: np.random.Generator) -> Clip:
        """A random stretch of a random video, labelled; ValueError where no point is trusted."""
        video = self.videos[int(rng.integers(len(self.videos)))]
        start = int(rng.integers(video.shape[1] - self.frames + 1))
        frames = resize_video(video[:, start : start + self.frames].float(), self.size)[0]
        frames = frames.round().clamp(0, 255).to(torch.uint8)
        return label(frames, self.tracker, self.points, rng, self.trust)


def _open_or_warn(path: Path) -> VideoFile | None:
    """The video, or None after a warning: a broken one does not stop the others."""
    try:
        return open_video(path)
    except ValueError as error:
        warnings.warn(f"a video is left out: {error}", stacklevel=3)
        return None


@torch.no_grad()
def label(
    video: Tensor, tracker: Tracker, points: int, rng: np.random.Generator, trust: Trust = Trust()
) -> Clip:
    """The Clip of a video T 3 H W uint8 with those of about `points` points that are trusted.

    valid T N: the label is trusted.  visible: both answers say so.  The tracker runs both ways.
    ValueError: the video is shorter than 2 x MIN_GAP frames, or no point is trusted.
    """
    if len(video) < 2 * MIN_GAP:
        raise ValueError(f"{len(video)} frames are too few to label: {2 * MIN_GAP} are needed")
    tracker = tracker if tracker.both_directions else Bidirectional(tracker)
    scale = video.shape[-1] / WIDTH
    queries = torch.from_numpy(flow.sample_queries(video, points, rng))  # N 3
    first = tracker(video[None], queries[None])
    second_frame, possible = _second_frames(first.visible[0], queries[:, 0].long(), rng)
    if not possible.any():
        raise ValueError("no point of the video is visible long enough to be tracked twice")
    queries, second_frame = queries[possible], second_frame[possible]
    xy, visible = first.xy[0, :, possible], first.visible[0, :, possible]
    second = _track_flipped(video, tracker, at_frames(xy[None], second_frame[None]))

    query_frame = queries[:, 0].long()
    apart = (xy - second.xy[0]).norm(dim=-1) / scale  # T N
    agreed = (apart < trust.agreed) & (visible == second.visible[0])
    visible = visible & second.visible[0]
    tracks = _blend(xy, second.xy[0], query_frame, second_frame)
    lengths = (trust.flow * scale, trust.consistent * scale)
    valid = agreed & ~flow.find_contradictions(video, tracks, visible, *lengths)
    returned = apart.gather(0, query_frame[None])[0] < trust.returned
    kept = returned & ((valid & visible).sum(0) >= MIN_GAP)
    if not kept.any():
        raise ValueError("no point of the video is trusted")
    return Clip(video, *(values[:, kept].contiguous() for values in (tracks, visible, valid)))


def _track_flipped(video: Tensor, tracker: Tracker, queries: Tensor) -> Tracks:
    """The Tracks of queries 1 N 3 in a video T 3 H W, found in the flipped video."""
    width = video.shape[-1]
    tracks = tracker(video.flip(-1)[None], flip_points(queries, width))
    return Tracks(flip_points(tracks.xy, width), tracks.visibility, tracks.visible)


def _blend(xy: Tensor, other: Tensor, first_frame: Tensor, second_frame: Tensor) -> Tensor:
    """T N 2: the mean of two answers, in which the one whose query is nearer in time counts more.

    first_frame, second_frame: N, the frames of their queries.
    """
    time = torch.arange(len(xy))[:, None]
    away, other_away = (time - first_frame).abs(), (time - second_frame).abs()
    share = (away / (away + other_away).clamp(min=1))[..., None]
    return xy * (1 - share) + other * share


def _second_frames(
    visible: Tensor, query_frame: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A second query frame for each point, N: visible, and MIN_GAP from the first; if any, N."""
    time = torch.arange(len(visible))[:, None]
    possible = visible & ((time - query_frame).abs() >= MIN_GAP)
    chance = torch.from_numpy(rng.random(visible.shape))
    return torch.where(possible, chance, -1.0).argmax(0), possible.any(0)
