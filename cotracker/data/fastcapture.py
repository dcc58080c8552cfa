"""FastCapture: people rendered on black, with dense tracks of their surface (arXiv 2303.11898)."""

from pathlib import Path

import torch
from torch import Tensor

from cotracker.checks import whole
from cotracker.data.video.images import PictureSequence, is_picture
from cotracker.stored import read_tensors
from cotracker.types import Clip

VIDEOS = "renders_local_rm"
TRACKS = "zju_tracking"


class FastCapture:
    """A BenchmarkReader of the sequences below `root`, in sorted order of their names.

    frames: the most frames of a clip.
    points: the most points of a clip, sampled from those visible in frame 0 as the published
    evaluation samples them. Both are its `identity`.
    A Clip holds the video T 3 H W, decoded when sliced; tracks T N 2 in pixels of the pictures;
    visible T N; valid T N; no masks.
    ValueError: there is no sequence at all.
    """

    expected: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    def __init__(self, root: str | Path, frames: int = 100, points: int = 20):
        self.root = Path(root)
        self.frames = whole("benchmark.clips.frames", frames, 1)
        self.points = whole("benchmark.clips.points", points, 1)
        names = {path.name for path in (self.root / VIDEOS).glob("[!.]*") if path.is_dir()}
        names |= {path.stem for path in (self.root / TRACKS).glob("[!.]*.pth")}
        if not names:
            raise ValueError(
                f"{root} holds no sequence of FastCapture: benchmark.root must be the folder with "
                f"{VIDEOS}/NAME/ with pictures and {TRACKS}/NAME.pth"
            )
        self.identity = {"frames": frames, "points": points}
        self.faults: dict[Path, str] = {}
        self.names = sorted(names)
        self.files = [self.root / TRACKS / f"{name}.pth" for name in self.names]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Clip:
        name = self.names[index]
        path = self.files[index]
        tracks, visible = _read_tracks(path)
        pictures = _list_pictures(self.root / VIDEOS / name)
        count = min(len(pictures), self.frames)
        if count != min(len(tracks), self.frames):
            raise ValueError(
                f"{pictures[0].parent} has {len(pictures)} pictures, "
                f"but {path} tracks {len(tracks)} frames: copy both"
            )
        chosen = _sample_points(visible[0], self.points)
        if not len(chosen):
            raise ValueError(
                f"{path}: no point is visible in frame 0, where the queries are: "
                "copy or make it again"
            )
        tracks = tracks[:count, chosen]
        visible = visible[:count, chosen]
        valid = tracks.isfinite().all(-1)
        if (visible & ~valid).any():
            raise ValueError(
                f"{path}: traj_2d is NaN or infinite where points are visible: "
                "copy or make it again"
            )
        video = PictureSequence(pictures[:count])
        video.check()
        return Clip(video, tracks, visible, valid, name=name, seed=(0, index))


def _sample_points(visible: Tensor, count: int) -> Tensor:
    """Indices of at most `count` of the visible points, by torch's permutation of seed 0."""
    candidates = visible.nonzero()[:, 0]
    generator = torch.Generator().manual_seed(0)
    return candidates[torch.randperm(len(candidates), generator=generator)[:count]]


def _list_pictures(folder: Path) -> list[Path]:
    pictures = sorted(filter(is_picture, folder.glob("*")))
    if not pictures:
        raise ValueError(f"{folder} holds no pictures: put the sequence's frames there, jpg or png")
    return pictures


def _read_tracks(path: Path) -> tuple[Tensor, Tensor]:
    """Tracks T N 2 float32 and visible T N bool of all points in a file; no code in it runs."""
    if not path.is_file():
        raise ValueError(
            f"{path} is missing: copy it in, it holds the tracks of the pictures of that name"
        )
    try:
        values = read_tensors(path)
        points = torch.as_tensor(values["traj_2d"])
        visibility = torch.as_tensor(values["visibility"])
    except Exception as error:  # a file may hold anything under these names
        raise ValueError(
            f"{path} cannot be read, it is damaged or holds more than it should: it should be "
            "torch.save of traj_2d and visibility as tensors, and nothing else"
        ) from error
    if points.ndim != 3 or points.shape[1] != 2 or not points.is_floating_point():
        raise ValueError(f"{path}: traj_2d is {_describe(points)}, where floats N 2 T should be")
    if visibility.shape != (points.shape[0], points.shape[2]) or visibility.is_complex():
        raise ValueError(
            f"{path}: visibility is {_describe(visibility)}, "
            f"where N T of traj_2d {_describe(points)} should be"
        )
    return points.permute(2, 0, 1).float().contiguous(), (visibility > 0).T.contiguous()


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
