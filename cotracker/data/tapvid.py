"""TAP-Vid's sets (Doersch et al. 2022; RoboTAP: Vecerik et al. 2023) as Clips of 256x256 frames, as its protocol asks.

Files are pickles of records {video, points, occluded}; what they hold is gone through once, and stays in the file until
a clip is asked for.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cotracker.data.pickles import open_pickle
from cotracker.data.pickles.arrays import Stored, StoredArray, loaded
from cotracker.data.video.images import decoded
from cotracker.types import Clip

SIZE = 256  # height and width of the protocol's frames
KEYS = ("video", "points", "occluded")
DAVIS = (
    "bike-packing blackswan bmx-trees breakdance camel car-roundabout car-shadow cows dance-twirl dog dogs-jump "
    "drift-chicane drift-straight goat gold-fish horsejump-high india judo kite-surf lab-coat libby loading "
    "mbike-trick motocross-jump paragliding-launch parkour pigs scooter-black shooting soapbox"
).split()


@dataclass(frozen=True)
class Layout:
    """Where a set lies: its files, the folder below the root where they usually are, all its names where known."""

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
    """Clips of one of TAP-Vid's SETS below `root`, in the order of its files, which are sorted, and of their records.

    A Clip holds the video T 3 256 256, resized by Pillow's LANCZOS a frame as the protocol says, tracks T N 2 in its
    pixels, visible T N, valid T N (all), no masks. Records without a name are FILE-number.
    `files`: of each clip, its pickle.  `faults`: missing and damaged files, each with its sentence; `broken`: these.
    ValueError, one sentence: there is nothing at all; `clips[i]`: what is wrong with that video, naming its file.
    """

    def __init__(self, root: str | Path, which: str = "davis"):
        if which not in SETS:
            raise ValueError(f"benchmark.clips.which must be one of {', '.join(SETS)}, not {which}")
        self.expected = SETS[which].expected
        folder, paths = found(Path(root), which)
        if not paths:
            here = f"{SETS[which].files[0]}, there or in {SETS[which].folder}/"
            raise ValueError(
                f"{root} holds no {which} of TAP-Vid: benchmark.root must be the folder with {here}"
            )
        missing = [folder / name for name in SETS[which].files if not (folder / name).is_file()]
        self.faults = {
            path: f"{path} is missing, and the videos in it: copy it in, or make it"
            for path in missing
        }
        self._records: dict[str, tuple[Path, dict]] = {}
        for path in paths:
            self._index(path)
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
            tracks, visible = _truth(record)
            video = _video(record["video"], len(tracks))
        except ValueError as error:
            raise ValueError(f"{path}: video {name} {error}") from error
        return Clip(video, tracks, visible, torch.ones_like(visible), name=name, seed=(0, index))

    def _index(self, path: Path) -> None:
        try:
            held, whole = open_pickle(path)
        except ValueError as error:
            self.faults[path] = str(error)
            return
        named = isinstance(held, dict)
        records = (
            held if named else {f"{path.stem}-{k:03d}": record for k, record in enumerate(held)}
        )
        whole_records = {
            str(name): (path, record)
            for name, record in records.items()
            if whole or _is_record(record)
        }
        self._records |= whole_records
        if not whole:
            self.faults[path] = (
                f"{path} is cut short, after {len(whole_records)} of its videos: copy it again"
            )


def found(root: Path, which: str) -> tuple[Path, list[Path]]:
    """The folder with files of a set, which is the root or its usual folder within, and these files, sorted."""
    for folder in (root, root / SETS[which].folder):
        paths = [folder / name for name in sorted(SETS[which].files) if (folder / name).is_file()]
        if paths:
            return folder, paths
    return root, []


def _is_record(record) -> bool:
    return isinstance(record, dict) and set(KEYS) <= record.keys()


def _truth(record) -> tuple[Tensor, Tensor]:
    """Tracks T N 2 float32 in pixels of the 256x256 frame, and visible T N; ValueError ends a sentence on the video."""
    if not _is_record(record):
        raise ValueError("is no dict with video, points and occluded: copy or make the file again")
    points, occluded = (np.asarray(loaded(record[key])) for key in ("points", "occluded"))
    if points.ndim != 3 or points.shape[2] != 2 or points.dtype.kind != "f":
        raise ValueError(f"has points {points.dtype} {points.shape}, where floats N T 2 should be")
    if occluded.shape != points.shape[:2] or occluded.dtype.kind != "b":
        raise ValueError(
            f"has occluded {occluded.dtype} {occluded.shape}, where bool {points.shape[:2]} should be"
        )
    shown = points[~occluded]
    if not np.isfinite(shown).all():
        count = int((~np.isfinite(shown)).any(-1).sum())
        raise ValueError(
            f"has {count} visible points that are NaN or infinite: copy or make the file again"
        )
    if (np.abs(shown - 0.5) > 1.5).any():
        raise ValueError(
            "has points that are not divided by the width and height of the frame: make the file again"
        )
    tracks = (
        points.astype(np.float64) * SIZE - 0.5
    )  # the outer corner of the frame was 0, the first pixel's centre is
    tracks = np.ascontiguousarray(tracks.swapaxes(0, 1), np.float32)
    return torch.from_numpy(tracks), torch.from_numpy(np.ascontiguousarray(~occluded.T))


def _video(stored, frames: int) -> Tensor:
    """T 3 256 256 uint8, read a frame at a time; ValueError ends a sentence on the video."""
    _check_video(stored, frames)
    video = np.empty((frames, SIZE, SIZE, 3), np.uint8)
    for t in range(frames):
        video[t] = _resized(_frame(stored, t))
    return torch.from_numpy(video).permute(0, 3, 1, 2).contiguous()


def _check_video(stored, frames: int) -> None:
    shape = (
        stored.shape
        if isinstance(stored, StoredArray)
        else (len(stored),)
        if isinstance(stored, list)
        else None
    )
    if shape is None:
        raise ValueError(
            "has no array and no list of JPEGs for its video: copy or make the file again"
        )
    kind = stored.dtype.kind if isinstance(stored, StoredArray) else "O"
    if not (kind in "SO" and len(shape) == 1) and not (
        stored.dtype == np.uint8 and len(shape) == 4 and shape[3] == 3
    ):
        raise ValueError(f"is {stored.dtype} {shape}, where uint8 T H W 3 or JPEGs T should be")
    if 0 in shape:
        raise ValueError("has no pixels: copy or make the file again")
    if shape[0] != frames:
        raise ValueError(
            f"has {shape[0]} frames, but its points are for {frames}: copy or make the file again"
        )


def _frame(stored: StoredArray | list, t: int) -> Image.Image:
    """Frame t as RGB."""
    value = stored.rows(t, t + 1)[0] if isinstance(stored, StoredArray) else stored[t]
    if isinstance(value, np.ndarray):
        return Image.fromarray(value)
    value = loaded(value) if isinstance(value, Stored) else value
    try:
        return decoded(value).convert("RGB")
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"has a damaged JPEG for frame {t}: copy or make the file again"
        ) from error


def _resized(frame: Image.Image) -> Image.Image:
    """256x256, by the filter that TAP-Vid's own reader uses."""
    return (
        frame
        if frame.size == (SIZE, SIZE)
        else frame.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    )
