"""Labels for real videos by a tracker itself: what it says of a point is believed only where it says so twice.

Self-training with filtered labels. A point is tracked from one frame; then, in the mirrored video, from where that put
it in another frame; the label is believed where both agree, and where dense optical flow that is sure of itself does
not contradict it. So the second answer must lead back to the first query, seen in a mirror.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cotracker.data.video import open_video
from cotracker.geometry import resize_video
from cotracker.pseudo import flow
from cotracker.queries import at_frames
from cotracker.trackers.cotracker import predictor
from cotracker.trackers.flip_tta import mirrored
from cotracker.trackers.tracker import Tracker
from cotracker.trackers.wrappers import Bidirectional
from cotracker.types import Clip

APART = 4  # frames at least between a point's two queries
WIDTH = 512  # lengths below are pixels of a frame so wide
ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm")


@dataclass(frozen=True)
class Trust:
    """When a label is believed; lengths in pixels of a frame 512 wide.

    returned: the second answer is so near to the first query.  agreed: both are so near to each other, in a frame.
    flow: a step departs so much from flow which, there and back, returns within `sure`, and is not believed.
    """

    returned: float = 3.0
    agreed: float = 2.0
    flow: float = 3.0
    sure: float = 1.0


class PseudoLabels:
    """A Source of clips of real videos, labelled by a tracker: `python scripts/generate.py generator=pseudo …`.

    videos: a folder of video files, or of folders of frames.  frames: of a clip, from a random start.  height, width:
    the size that a clip is labelled at and comes out in.  points: asked for.  checkpoint: a file or a name, None for
    the one that ships.  precision, iters: as for load_tracker.  left_out: names (without ending) never used.
    Lengths: see Trust.  ValueError: there is no such folder, or no video in it long enough.
    """

    def __init__(
        self,
        videos: str,
        frames: int = 36,
        height: int = 384,
        width: int = 512,
        points: int = 256,
        checkpoint: str | None = None,
        iters: int = 6,
        precision: str = "float32",
        left_out: Sequence[str] = (),
        returned: float = Trust.returned,
        agreed: float = Trust.agreed,
        flow: float = Trust.flow,
        sure: float = Trust.sure,
    ):
        root = Path(videos)
        if not root.is_dir():
            raise ValueError(
                f"the folder {root} does not exist: generator.videos must be a folder of videos"
            )
        found = sorted(p for p in root.iterdir() if p.is_dir() or p.suffix.lower() in ENDINGS)
        opened = [open_video(path) for path in found if path.stem not in left_out]
        self.videos = [video for video in opened if video.shape[1] >= frames]
        if not self.videos:
            raise ValueError(
                f"{root} holds no video of {frames} frames or more: lower generator.frames"
            )
        self.frames, self.size, self.points = frames, (height, width), points
        self.trust = Trust(returned, agreed, flow, sure)
        self.tracker = predictor(
            checkpoint, iters, None, False, 0, 0, precision=precision, device="cpu"
        )

    def clip(self, rng: np.random.Generator) -> Clip:
        """A random stretch of a random video, labelled; ValueError where no point is believed."""
        video = self.videos[int(rng.integers(len(self.videos)))]
        start = int(rng.integers(video.shape[1] - self.frames + 1))
        frames = resize_video(video[:, start : start + self.frames].float(), self.size)[0]
        return label(
            frames.round().clamp(0, 255).to(torch.uint8), self.tracker, self.points, rng, self.trust
        )


@torch.no_grad()
def label(
    video: Tensor, tracker: Tracker, points: int, rng: np.random.Generator, trust: Trust = Trust()
) -> Clip:
    """The Clip of a video T 3 H W uint8 with about `points` points that were believed, at least one: tracks T N 2.

    valid T N: the label is believed.  visible: both answers say so.  The tracker runs forwards and backwards.
    ValueError: the video is shorter than 2 x APART frames, or no point is believed.
    """
    if len(video) < 2 * APART:
        raise ValueError(f"{len(video)} frames are too few to label: {2 * APART} are needed")
    both, scale = Bidirectional(tracker), video.shape[-1] / WIDTH
    first = torch.from_numpy(flow.places(video, points, rng))  # N 3
    one = both(video[None], first[None])
    asked = first[:, 0].long()
    second_at, possible = _second_frames(one.visible[0], asked, rng)
    first, asked, second_at = first[possible], asked[possible], second_at[possible]
    if not len(first):
        raise ValueError("no point of the video is seen long enough to be asked for twice")
    xy, seen = one.xy[0, :, possible], one.visible[0, :, possible]
    second = at_frames(xy[None], second_at[None])[0]
    other = both(video.flip(-1)[None], mirrored(second, video.shape[-1])[None])
    back, seen_back = mirrored(other.xy[0], video.shape[-1]), other.visible[0]

    apart = (xy - back).norm(dim=-1) / scale  # T N
    time = torch.arange(len(video))[:, None]
    away = ((time - asked).abs(), (time - second_at).abs())
    share = (away[0] / (away[0] + away[1]).clamp(min=1))[
        ..., None
    ]  # the nearer query's answer counts more
    tracks = xy * (1 - share) + back * share
    visible = seen & seen_back
    agreed = (apart < trust.agreed) & (seen == seen_back)
    valid = agreed & ~flow.contradicted(
        video, tracks, visible, trust.flow * scale, trust.sure * scale
    )
    kept = (apart.gather(0, asked[None])[0] < trust.returned) & ((valid & visible).sum(0) >= APART)
    if not kept.any():
        raise ValueError("no point of the video is believed")
    return Clip(
        video,
        tracks[:, kept].contiguous(),
        visible[:, kept].contiguous(),
        valid[:, kept].contiguous(),
    )


def _second_frames(
    visible: Tensor, asked: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """For each point a frame N to ask for it again, seen and APART from its own, and whether there is one, N."""
    time = torch.arange(len(visible))[:, None]
    fit = visible & ((time - asked).abs() >= APART)
    chance = torch.from_numpy(rng.random(visible.shape))
    return torch.where(fit, chance, -1.0).argmax(0), fit.any(0)
