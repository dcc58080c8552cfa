"""For evaluate.py: pictures of the tracks that went most wrong, truth and answer drawn on the same frames."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from cotracker.benchmarks.benchmark import Benchmark
from cotracker.benchmarks.metrics import TAPVID_SIZE
from cotracker.benchmarks.results import worst
from cotracker.benchmarks.run import Row, Unreadable, answers, read, with_required_direction
from cotracker.trackers.tracker import Tracker
from cotracker.types import Clip, EvalTargets, Tracks
from cotracker.visualize import contact_sheet

TRUTH, ANSWER = (60, 220, 90), (255, 70, 60)  # green, red
POINTS, FRAMES = (
    3,
    5,
)  # of a picture: its worst points, in so many of the frames whose truth is known


def pictures(
    tracker: Tracker, benchmark: Benchmark, rows: list[Row], count: int
) -> Iterator[tuple[str, np.ndarray, list[dict]]]:
    """Of each of the `count` worst videos: name, a picture H W 3 uint8, and its points {query, error} as plain values.

    The videos are tracked again, as rows hold no tracks. Truth is green, the answer red; rings are places unseen.
    """
    device = next(chain(tracker.parameters(), tracker.buffers()), torch.empty(0)).device
    both = with_required_direction(tracker, benchmark).eval()
    wanted = dict.fromkeys(worst(rows, count))
    for index in range(len(benchmark.clips) if wanted else 0):
        if benchmark.names and benchmark.names[index] not in wanted:
            continue
        try:
            clip = read(benchmark, index)
            if clip.name in wanted:
                wanted[clip.name] = (clip, *answers(both, benchmark, clip, device))
        except Unreadable:
            continue
    for name, held in wanted.items():
        if held is not None:
            yield name, *_picture(*held)


def errors(targets: EvalTargets, tracks: Tracks, clip: Clip) -> Tensor:
    """N: each point's mean error where it is scored and seen, in pixels of the 256x256 frame; -1 where nowhere."""
    height, width = clip.video.shape[-2:]
    ratio = tracks.xy.new_tensor([TAPVID_SIZE[1] / width, TAPVID_SIZE[0] / height])
    distance = ((tracks.xy - targets.target.xy) * ratio).norm(dim=-1)[0]
    counted = (targets.eval_mask & targets.target.visible)[0]
    total = torch.where(counted, distance, 0.0).sum(0) / counted.sum(0).clamp(min=1)
    return torch.where(counted.any(0), total, -1.0)


def _picture(clip: Clip, targets: EvalTargets, tracks: Tracks) -> tuple[np.ndarray, list[dict]]:
    error = errors(targets, tracks, clip)
    chosen = error.argsort(descending=True)[:POINTS]
    chosen = chosen[error[chosen] >= 0]
    asked = torch.arange(clip.video.shape[0])[:, None] == targets.queries[0, chosen, 0]
    told = targets.eval_mask[0, :, chosen] | asked  # T n
    frames = _spread(told.any(1).nonzero()[:, 0].tolist())
    truth = torch.where(
        told[..., None], targets.target.xy[0, :, chosen], torch.nan
    )  # NaN is not drawn
    shown = [
        (truth, targets.target.visibility, targets.target.visible),
        (tracks.xy[0, :, chosen], tracks.visibility, tracks.visible),
    ]
    both = Tracks(
        torch.cat([xy for xy, _, _ in shown], dim=1)[None, frames],
        torch.cat([score[0, :, chosen] for _, score, _ in shown], dim=1)[None, frames],
        torch.cat([seen[0, :, chosen] for _, _, seen in shown], dim=1)[None, frames],
    )
    colours = np.array([TRUTH] * len(chosen) + [ANSWER] * len(chosen), np.uint8).reshape(-1, 3)
    rows = [
        {
            "frame": int(t),
            "x": round(float(x), 2),
            "y": round(float(y), 2),
            "error": round(float(error[n]), 2),
        }
        for n, (t, x, y) in zip(chosen.tolist(), targets.queries[0, chosen].tolist())
    ]
    picture = contact_sheet(_Some(clip, frames), both, count=len(frames), trail=0, colours=colours)
    return picture, rows


def _spread(frames: list[int]) -> list[int]:
    """FRAMES of them or fewer, the first and the last among them; [0] of none."""
    if not frames:
        return [0]
    return [
        frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))
    ]


class _Some:
    """Some frames of a clip, as a video with B = 1 in front."""

    def __init__(self, clip: Clip, frames: list[int]):
        self._video, self._frames = clip.video, frames
        self.shape = (1, len(frames), *clip.video.shape[1:])

    def __getitem__(self, index: tuple[slice, slice]) -> Tensor:
        return torch.cat([self._video[k : k + 1] for k in self._frames[index[1]]])[None]
