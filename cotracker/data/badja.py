"""BADJA: animals with 20 joints annotated every few frames, on DAVIS videos (Biggs et al. 2018), as Clips."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cotracker.data.video.images import Frames, open_picture
from cotracker.types import Clip

EXPECTED = ("bear", "camel", "cows", "dog", "dog-agility", "horsejump-high", "horsejump-low")
# Right and left front leg, neck, right and left hind leg, tail, jaw, nose, ears: the 20 labelled joints of 37.
JOINTS = (8, 9, 10, 12, 13, 14, 15, 18, 19, 20, 22, 23, 24, 25, 28, 31, 32, 33, 35, 36)
ALL_JOINTS = 37


class BADJA:
    """Clips of the DAVIS sequences below `root`, in sorted order of their names.

    A Clip holds every frame from the first to the last annotated one: video T 3 H W, decoded when sliced; tracks
    T 20 2 in pixels of the image; visible T 20; valid T 20, where a position was annotated, seen or guessed;
    masks T H W uint8, the animal above 0. Sequences under extra_videos are left out, as everyone does.
    `files`: of each clip, its annotation.  `faults`: annotations that cannot be read, with a sentence; `broken`: these.
    ValueError, one sentence: there is nothing at all; `clips[i]`: which picture is missing, damaged or of another size.
    """

    expected = EXPECTED

    def __init__(self, root: str | Path):
        self.root = Path(root)
        folder = self.root / "joint_annotations"
        if not folder.is_dir():
            raise ValueError(
                f"no folder {folder}: benchmark.root must be BADJA's folder, with joint_annotations in it"
            )
        kept, self.faults = {}, {}
        for path in sorted(folder.glob("*.json")):
            try:
                rows = _read_annotations(path)
            except ValueError as error:
                self.faults[path] = str(error)
                continue
            if "extra_videos" not in rows[0]["segmentation_path"]:
                kept[path.stem] = rows
        if not kept:
            nothing = f"no sequence of BADJA in {folder}: it should hold camel.json and its like"
            raise ValueError(next(iter(self.faults.values()), nothing))
        self.broken = tuple(self.faults.values())
        self.names = sorted(kept)
        self.files = [folder / f"{name}.json" for name in self.names]
        self._rows = [kept[name] for name in self.names]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Clip:
        rows = self._rows[index]
        _check_files(self._paths(rows, "image_path") + self._paths(rows, "segmentation_path"))
        video = Frames(self._paths(rows, "image_path")).verified()
        size = video.shape[-2:]
        masks = np.stack(
            [_read_mask(path, size) for path in self._paths(rows, "segmentation_path")]
        )
        tracks, visible, valid = _joints(rows)
        return Clip(
            video, tracks, visible, valid, torch.from_numpy(masks), self.names[index], (0, index)
        )

    def _paths(self, rows: list[dict], key: str) -> list[Path]:
        """The file of every frame from the first to the last annotated one, named as the annotated ones are."""
        named = {_frame(row): self.root / row[key] for row in rows}
        first = self.root / rows[0][key]
        digits = len(first.stem)
        between = range(_frame(rows[0]), _frame(rows[-1]) + 1)
        return [named.get(k, first.with_name(f"{k:0{digits}d}{first.suffix}")) for k in between]


def _read_annotations(path: Path) -> list[dict]:
    """The annotated frames of one file, in order of time; ValueError names what cannot be read."""
    try:
        rows = json.loads(path.read_text())
        rows = sorted(rows, key=_frame)
        shapes = {(np.shape(row["joints"]), np.shape(row["visibility"])) for row in rows}
        assert shapes == {((ALL_JOINTS, 2), (ALL_JOINTS,))} and all(
            row["segmentation_path"] for row in rows
        )
        assert len({_frame(row) for row in rows}) == len(rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(
            f"{path} is not a BADJA annotation: it should list frames, each once, with image_path, segmentation_path, "
            f"37 joints [row, col] and 37 visibilities"
        ) from error
    return rows


def _frame(row: dict) -> int:
    return int(Path(row["image_path"]).stem)


def _joints(rows: list[dict]) -> tuple[Tensor, Tensor, Tensor]:
    """Tracks T 20 2 in (x, y), visible T 20 and valid T 20; zero and False in frames without annotation."""
    first, last = _frame(rows[0]), _frame(rows[-1])
    tracks = np.zeros((last - first + 1, len(JOINTS), 2), np.float32)
    visible = np.zeros(tracks.shape[:2], bool)
    for row in rows:
        tracks[_frame(row) - first] = np.asarray(row["joints"], np.float32)[list(JOINTS), ::-1]
        visible[_frame(row) - first] = np.asarray(row["visibility"])[list(JOINTS)] > 0
    valid = visible | (tracks != 0).any(-1)  # unlabelled joints are written as [0, 0], unseen
    return torch.from_numpy(tracks), torch.from_numpy(visible), torch.from_numpy(valid)


def _check_files(paths: list[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more of this sequence" if len(missing) > 1 else ""
        raise ValueError(
            f"missing file {missing[0]}{more}: copy it in, or take the sequence's json out of the folder"
        )


def _read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """uint8 H W, the animal above 0: the first channel once colours are looked up, nearest-resized to `size`.

    A DAVIS-2017 palette makes objects 1, 3, 5 … red and so kept, objects 2, 4 (a rider) not: the official rule.
    """
    image = open_picture(path)
    if image.mode in ("P", "PA"):
        image = image.convert("RGB")
    mask = np.asarray(image)
    mask = mask[..., 0] if mask.ndim == 3 else mask
    mask = np.clip(mask.astype(np.int64) * (255 if mask.dtype == bool else 1), 0, 255).astype(
        np.uint8
    )
    if mask.shape != tuple(size):
        mask = np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))
    return mask
