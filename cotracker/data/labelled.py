"""Your own videos with your own labels: a benchmark, and clips to train on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cotracker.data.augment.sampling import check_cut, choose_points, random_crop
from cotracker.data.video import VideoFile, open_video
from cotracker.interchange import BY_SUFFIX, read_tracks
from cotracker.types import Clip

LABELS = (".csv", ".json", *BY_SUFFIX)


class LabelledVideos:
    """A BenchmarkReader of the videos in a folder that have a file of labels beside them.

    A video is NAME.mp4 or the like, or a folder NAME of pictures; its labels are NAME.csv with the
    columns point, frame, x, y and perhaps visible, or any file that cotracker.interchange reads.
    A place without a label is not known, and never counted. Pixels are those of the video, an
    integer is a pixel's centre.
    A Clip's video is decoded when it is sliced.
    ValueError, one sentence: the folder does not exist, or no video has labels.
    """

    expected: tuple[str, ...] = ()
    identity: dict = {}

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.is_dir():
            raise ValueError(f"the folder {root} does not exist: it holds NAME.mp4 and NAME.csv")
        self.faults: dict[Path, str] = {}
        self.files: list[Path] = []
        self._videos: list[Path] = []
        for labels in sorted(path for path in self.root.iterdir() if path.suffix in LABELS):
            videos = list(self._videos_of(labels))
            if len(videos) == 1:
                self.files.append(labels)
                self._videos += videos
            else:
                found = "no video" if not videos else f"{len(videos)} videos"
                self.faults[labels] = f"{labels} has {found} of its name beside it: it needs one"
        self.names = [path.stem for path in self.files]
        self.broken = tuple(self.faults.values())
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"{self.root} holds two files of labels for {twice}: leave one there")
        if not self.names:
            nothing = f"{self.root} holds no labelled video: put NAME.mp4 and NAME.csv there"
            raise ValueError(next(iter(self.broken), nothing))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Clip:
        video = open_video(self._videos[index])
        truth = read_truth(self.files[index], video)
        return Clip(Frames(video), *truth, name=self.names[index], seed=(0, index))

    def _videos_of(self, labels: Path) -> Iterator[Path]:
        for path in self.root.glob("*"):
            if path.stem == labels.stem and path.suffix not in LABELS:
                yield path


class Frames:
    """A VideoFile without its B: shape T 3 H W, and slices of frames n 3 H W."""

    def __init__(self, video: VideoFile):
        self.video = video
        self.shape = video.shape[1:]

    def __getitem__(self, frames: slice) -> Tensor:
        return self.video[:, frames][0]


def read_truth(path: Path, video: VideoFile) -> tuple[Tensor, Tensor, Tensor]:
    """tracks T N 2, visible and valid T N of a file of labels, for all frames of its video.

    ValueError, one sentence naming the file: it cannot be read, or labels frames beyond the video.
    """
    labels = read_tracks(path)
    frames, (count, points) = video.shape[1], labels.visible.shape[1:]
    if count > frames:
        raise ValueError(
            f"{path} labels frame {count - 1}, but its video has frames 0 to {frames - 1}"
        )
    xy = torch.full((frames, points, 2), torch.nan)
    xy[:count] = labels.xy[0]
    valid = xy.isfinite().all(dim=-1)
    visible = torch.zeros(frames, points, dtype=torch.bool)
    visible[:count] = labels.visible[0]
    return torch.where(valid[..., None], xy, 0.0), visible & valid, valid


@dataclass
class LabelledClips:
    """A Reader (see stream.py) of a folder of LabelledVideos, for training.

    frames: the number of consecutive ones, from a random start.
    height, width: of a random crop; None for whole frames.
    points: the number sampled from those visible in the first or the middle frame; None for all.
    least_points: a clip with at least this many keeps all it has; None is `points`.
    ValueError, one sentence, as of LabelledVideos.
    """

    root: str
    frames: int = 24
    height: int | None = None
    width: int | None = None
    points: int | None = None
    least_points: int | None = None

    def __post_init__(self):
        self._videos = LabelledVideos(self.root)
        if self._videos.broken:
            raise ValueError(self._videos.broken[0])
        check_cut(self.frames, self.height, self.width, self.points, self.least_points)

    def __len__(self) -> int:
        return len(self._videos)

    def clip_at(self, position: int, rng: np.random.Generator) -> Clip:
        """A stretch of video `position`: video T 3 H W, tracks T N 2, visible and valid T N.

        rng: start, crop and points are sampled from it.
        ValueError, one sentence naming the file: it cannot be read, or is too short or too small.
        """
        whole_clip, file = self._videos[position], self._videos.files[position]
        total = len(whole_clip.tracks)
        if total < self.frames:
            raise ValueError(f"{file} has {total} frames, but data.frames is {self.frames}")
        start = int(rng.integers(total - self.frames + 1))
        span = slice(start, start + self.frames)
        truth = (whole_clip.tracks, whole_clip.visible, whole_clip.valid)
        clip = Clip(whole_clip.video[span], *(x[span] for x in truth), name=whole_clip.name)
        try:
            clip = random_crop(clip, self.height, self.width, rng)
            if self.points is not None:
                clip = choose_points(clip, self.points, rng, self.least_points)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        return clip
