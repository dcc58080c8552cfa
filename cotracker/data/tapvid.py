"""TAP-Vid's data sets (Doersch et al. 2022; RoboTAP: Vecerik et al. 2023) as Clips of 256x256.

Their files are pickles of records {video, points, occluded}. Opening a data set reads no video.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cotracker.checks import choice
from cotracker.data.pickles import open_pickle
from cotracker.data.pickles.arrays import StoredArray, load_value
from cotracker.data.video.images import decode_image
from cotracker.types import Clip

SIZE = 256  # height and width of the protocol's frames
KEYS = ("video", "points", "occluded")
DAVIS = (
    "bike-packing blackswan bmx-trees breakdance camel car-roundabout car-shadow cows dance-twirl "
    "dog dogs-jump drift-chicane drift-straight goat gold-fish horsejump-high india judo kite-surf "
    "lab-coat libby loading mbike-trick motocross-jump paragliding-launch parkour pigs "
    "scooter-black shooting soapbox"
).split()


@dataclass(frozen=True)
class Layout:
    """A data set's files, the folder below the root that usually holds them, and all clip names."""

    files: tuple[str, ...]
    folder: str
    expected: tuple[str, ...] = ()


SETS = {
    "davis": Layout(("tapvid_davis.pkl",), "tapvid_davis", tuple(DAVIS)),
    "kinetics": Layout(tuple(f"{k:04d}_of_0010.pkl" for k in range(10)), "tapvid_kinetics"),
    "rgb_stacking": Layout(
        ("tapvid_rgb_stacking.pkl",),
        "tapvid_rgb_stacking",
        tuple(f"tapvid_rgb_stacking-{k:03d}" for k in range(50)),
    ),
    "robotap": Layout(tuple(f"robotap_split{k}.pkl" for k in range(5)), "robotap"),
}


class TapVid:
    """A BenchmarkReader of one of TAP-Vid's SETS below `root`, in the order of files and records.

    A Clip holds the video T 3 256 256, each frame resized by Pillow's LANCZOS as the protocol does;
    tracks T N 2 in its pixels; visible T N; valid T N, all True; no masks.
    Records without a name are called FILE-number.
    ValueError: there is no clip at all.
    """

    def __init__(self, root: str | Path, which: str = "davis"):
        choice("benchmark.clips.which", which, tuple(SETS))
        layout = SETS[which]
        folder, paths = find_files(Path(root), which)
        if not paths:
            raise ValueError(
                f"{root} holds no {which} of TAP-Vid: benchmark.root must be the folder with "
                f"{layout.files[0]}, there or in {layout.folder}/"
            )
        self.expected = layout.expected
        self.identity: dict = {}
        self.faults = {
            folder / name: f"{folder / name} is missing, and the videos in it: copy or make it"
            for name in layout.files
            if folder / name not in paths
        }
        self._records: dict[str, tuple[Path, dict]] = {}
        for path in paths:
            self._index_file(path)
        if not self._records:
            raise ValueError(self.faults.get(paths[0], f"{paths[0]} holds no video: copy it again"))
        self.broken = tuple(self.faults.values())
        self.names = list(self._records)
        self.files = [path for path, _ in self._records.values()]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Clip:
        name = self.names[index]
        path, record = self._records[name]
        try:
            tracks, visible = _read_tracks(record)
            video = _read_video(record["video"], len(tracks))
        except ValueError as error:
            raise ValueError(f"{path}: video {name} {error}") from error
        return Clip(video, tracks, visible, torch.ones_like(visible), name=name, seed=(0, index))

    def _index_file(self, path: Path) -> None:
        """Adds the records of a file, and its fault if there is one."""
        try:
            records, complete = open_pickle(path)
        except ValueError as error:
            self.faults[path] = str(error)
            return
        if isinstance(records, list):
            records = {f"{path.stem}-{k:03d}": record for k, record in enumerate(records)}
        if not complete:
            records = {name: record for name, record in records.items() if _is_record(record)}
            self.faults[path] = (
                f"{path} is cut short, after {len(records)} of its videos: copy it again"
            )
        self._records |= {str(name): (path, record) for name, record in records.items()}


def find_files(root: Path, which: str) -> tuple[Path, list[Path]]:
    """The folder of a data set, `root` or its usual folder in it, and the set's files there."""
    for folder in (root, root / SETS[which].folder):
        paths = [folder / name for name in sorted(SETS[which].files) if (folder / name).is_file()]
        if paths:
            return folder, paths
    return root, []


def _is_record(record) -> bool:
    return isinstance(record, dict) and set(KEYS) <= record.keys()


def _read_tracks(record) -> tuple[Tensor, Tensor]:
    """Tracks T N 2 float32 in pixels of the 256x256 frame, and visible T N.

    ValueError: the end of a sentence about the video.
    """
    if not _is_record(record):
        raise ValueError("is no dict with video, points and occluded: copy or make the file again")
    points = np.asarray(load_value(record["points"]))
    occluded = np.asarray(load_value(record["occluded"]))
    _check_tracks(points, occluded)
    tracks = points.astype(np.float64) * SIZE - 0.5  # from raster coordinates to pixels
    tracks = np.ascontiguousarray(tracks.swapaxes(0, 1), np.float32)
    return torch.from_numpy(tracks), torch.from_numpy(np.ascontiguousarray(~occluded.T))


def _check_tracks(points: np.ndarray, occluded: np.ndarray) -> None:
    if points.ndim != 3 or points.shape[2] != 2 or points.dtype.kind != "f":
        raise ValueError(f"has points {points.dtype} {points.shape}, where floats N T 2 should be")
    if not points.size:
        raise ValueError("has no points: copy or make the file again")
    if occluded.shape != points.shape[:2] or occluded.dtype.kind != "b":
        raise ValueError(
            f"has occluded {occluded.dtype} {occluded.shape}, "
            f"where bool {points.shape[:2]} should be"
        )
    visible = points[~occluded]
    bad = int((~np.isfinite(visible)).any(-1).sum())
    if bad:
        raise ValueError(
            f"has {bad} visible points that are NaN or infinite: copy or make the file again"
        )
    if (np.abs(visible - 0.5) > 1.5).any():
        raise ValueError(
            "has points that are not divided by the width and height of the frame: "
            "make the file again"
        )


def _read_video(stored, frames: int) -> Tensor:
    """T 3 256 256 uint8, read frame by frame; ValueError: the end of a sentence about the video."""
    _check_video(stored, frames)
    resized = [_resize_frame(_read_frame(stored, t)) for t in range(frames)]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).contiguous()


def _check_video(stored, frames: int) -> None:
    if isinstance(stored, list):
        count = len(stored)
    elif isinstance(stored, StoredArray):
        shape = stored.shape
        jpegs = stored.dtype.kind in "SO" and len(shape) == 1
        if not jpegs and not (stored.dtype == np.uint8 and len(shape) == 4 and shape[3] == 3):
            raise ValueError(f"is {stored.dtype} {shape}, where uint8 T H W 3 or JPEGs T should be")
        count = 0 if 0 in (*shape, stored.dtype.itemsize) else shape[0]
    else:
        raise ValueError(
            "has no array and no list of JPEGs for its video: copy or make the file again"
        )
    if not count:
        raise ValueError("has no pixels: copy or make the file again")
    if count != frames:
        raise ValueError(
            f"has {count} frames, but its points are for {frames}: copy or make the file again"
        )


def _read_frame(stored: StoredArray | list, t: int) -> Image.Image:
    """Frame t as RGB."""
    value = stored.read_rows(t, t + 1)[0] if isinstance(stored, StoredArray) else stored[t]
    if isinstance(value, np.ndarray):
        return Image.fromarray(value)
    try:
        return decode_image(load_value(value)).convert("RGB")
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"has a damaged JPEG for frame {t}: copy or make the file again"
        ) from error


def _resize_frame(frame: Image.Image) -> np.ndarray:
    """H W 3 at 256x256, by the filter that TAP-Vid's own reader uses."""
    if frame.size != (SIZE, SIZE):
        frame = frame.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(frame)
