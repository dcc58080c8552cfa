"""FastCapture: people rendered on black, with dense tracks of their surface (arXiv 2303.11898), as Clips."""

from pathlib import Path

import torch
from torch import Tensor

from cotracker.data.video.images import Frames
from cotracker.types import Clip

VIDEOS, TRACKS = "renders_local_rm", "zju_tracking"
_PICTURES = {".jpg", ".jpeg", ".png"}


class FastCapture:
    """Clips of the sequences below `root`, in sorted order of their names: each of at most `frames` frames.

    A Clip holds the video T 3 H W, decoded when sliced; tracks T N 2 in pixels of the pictures, of `points` points
    drawn from those visible in frame 0 as the published evaluation draws them; visible T N; valid T N; no masks.
    `files`: of each clip, its tracks.  `faults`, `broken`: none, as every sequence is listed.
    `made`: the two settings, without which two results cannot be told apart.
    ValueError, one sentence: there is nothing at all; `clips[i]`: what is missing or wrong, naming its file.
    """

    expected: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    def __init__(self, root: str | Path, frames: int = 100, points: int = 20):
        self.root, self.frames, self.points = Path(root), frames, points
        for name, value in (("frames", frames), ("points", points)):
            if type(value) is not int or value < 1:
                raise ValueError(
                    f"benchmark.clips.{name} must be a whole number, 1 or more, not {value}"
                )
        names = {path.name for path in (self.root / VIDEOS).glob("[!.]*") if path.is_dir()}
        names |= {path.stem for path in (self.root / TRACKS).glob("[!.]*.pth")}
        if not names:
            wanted = f"{VIDEOS}/NAME/ with pictures and {TRACKS}/NAME.pth"
            raise ValueError(
                f"{root} holds no sequence of FastCapture: benchmark.root must be the folder with {wanted}"
            )
        self.made = {"frames": frames, "points": points}
        self.faults: dict[Path, str] = {}
        self.names = sorted(names)
        self.files = [self.root / TRACKS / f"{name}.pth" for name in self.names]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Clip:
        path, folder = self.files[index], self.root / VIDEOS / self.names[index]
        tracks, visible = _read_tracks(path)
        pictures = _pictures(folder)
        count = min(len(pictures), self.frames)
        if count != min(len(tracks), self.frames):
            raise ValueError(
                f"{folder} has {len(pictures)} pictures, but {path} tracks {len(tracks)} frames: copy both"
            )
        tracks, visible = tracks[:count], visible[:count]
        chosen = _drawn(visible[0], self.points)
        if not len(chosen):
            raise ValueError(
                f"{path}: no point is visible in frame 0, where points are asked: copy or make it again"
            )
        tracks, visible = tracks[:, chosen], visible[:, chosen]
        valid = tracks.isfinite().all(-1)
        if (visible & ~valid).any():
            raise ValueError(
                f"{path}: traj_2d is NaN or infinite where points are visible: copy or make it again"
            )
        video = Frames(pictures[:count]).verified()
        return Clip(video, tracks, visible, valid, name=self.names[index], seed=(0, index))


def _drawn(visible: Tensor, count: int) -> Tensor:
    """Which points are asked: `count` of those visible, by torch's permutation of seed 0, in its order."""
    candidates = visible.nonzero()[:, 0]
    return candidates[
        torch.randperm(len(candidates), generator=torch.Generator().manual_seed(0))[:count]
    ]


def _pictures(folder: Path) -> list[Path]:
    files = sorted(folder.glob("[!.]*"))
    pictures = [path for path in files if path.suffix.lower() in _PICTURES]
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
        held = torch.load(path, map_location="cpu", weights_only=True)
        points, visibility = (torch.as_tensor(held[key]) for key in ("traj_2d", "visibility"))
    except Exception as error:  # a damaged file can raise anything
        says = "it should be torch.save of traj_2d and visibility as tensors, and nothing else"
        raise ValueError(
            f"{path} cannot be read, it is damaged or holds more than it should: {says}"
        ) from error
    if points.ndim != 3 or points.shape[1] != 2 or not points.is_floating_point():
        raise ValueError(f"{path}: traj_2d is {_kind(points)}, where floats N 2 T should be")
    if visibility.shape != (points.shape[0], points.shape[2]) or visibility.is_complex():
        raise ValueError(
            f"{path}: visibility is {_kind(visibility)}, where N T of traj_2d {_kind(points)} should be"
        )
    return points.permute(2, 0, 1).float().contiguous(), (visibility > 0).T.contiguous()


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
