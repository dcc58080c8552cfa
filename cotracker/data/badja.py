"""BADJA: animals on DAVIS videos, 20 joints in every few frames (Biggs et al. 2018), as Clips."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cotracker import checks
from cotracker.data.video.images import PictureSequence, open_picture
from cotracker.files import parse_json
from cotracker.types import Clip

EXPECTED = ("bear", "camel", "cows", "dog", "dog-agility", "horsejump-high", "horsejump-low")
# Right and left front leg, neck, right and left hind leg, tail, jaw, nose, ears: the 20 labelled
# joints of 37.
JOINTS = (8, 9, 10, 12, 13, 14, 15, 18, 19, 20, 22, 23, 24, 25, 28, 31, 32, 33, 35, 36)
ALL_JOINTS = 37
MOST_FRAMES = 10_000  # of a sequence; DAVIS has 104 at most
LARGEST = 1e5  # pixels of a position
ROW = {"image_path": str, "segmentation_path": str, "joints": list, "visibility": list}


class BADJA:
    """A BenchmarkReader of the DAVIS sequences below `root`, in sorted order of their names.

    A Clip holds every frame from the first to the last annotated one: video T 3 H W, decoded when
    sliced; tracks T 20 2 in pixels of the picture; visible T 20; valid T 20, True where a position
    was annotated, seen or guessed; masks T H W uint8, the animal above 0.
    Sequences under extra_videos are left out, as in the published evaluations.
    most_frames: the first so many alone, 2 or more; None: all.
    ValueError: there is no sequence at all.
    """

    expected = EXPECTED

    def __init__(self, root: str | Path, most_frames: int | None = None):
        self.root = Path(root)
        if most_frames is not None:
            checks.whole("most_frames", most_frames, 2)
        self.most_frames = most_frames
        self.identity: dict = {} if most_frames is None else {"most_frames": most_frames}
        folder = self.root / "joint_annotations"
        if not folder.is_dir():
            raise ValueError(
                f"no folder {folder}: benchmark.root must be BADJA's folder, "
                "with joint_annotations in it"
            )
        self.faults: dict[Path, str] = {}
        self._rows: list[list[dict]] = []
        self.files: list[Path] = []
        for path in sorted(folder.glob("*.json"), key=lambda path: path.stem):
            self._add_sequence(path)
        self.names = [path.stem for path in self.files]
        self.broken = tuple(self.faults.values())
        if not self.names:
            nothing = f"no sequence of BADJA in {folder}: it should hold camel.json and its like"
            raise ValueError(next(iter(self.broken), nothing))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Clip:
        rows, first = self._rows[index], slice(self.most_frames)
        pictures = self._frame_paths(rows, "image_path")[first]
        segmentations = self._frame_paths(rows, "segmentation_path")[first]
        _check_files(pictures + segmentations)
        video = PictureSequence(pictures)
        video.check()
        masks = np.stack([_read_mask(path, video.shape[-2:]) for path in segmentations])
        return Clip(
            video,
            *(values[first] for values in _stack_joints(rows)),
            masks=torch.from_numpy(masks),
            name=self.names[index],
            seed=(0, index),
        )

    def _add_sequence(self, path: Path) -> None:
        try:
            rows = _read_annotations(path)
        except ValueError as error:
            self.faults[path] = str(error)
            return
        if "extra_videos" not in rows[0]["segmentation_path"]:
            self.files.append(path)
            self._rows.append(rows)

    def _frame_paths(self, rows: list[dict], key: str) -> list[Path]:
        """The file of each frame from the first to the last annotated one, named alike."""
        annotated = {_frame_number(row): self.root / row[key] for row in rows}
        first = self.root / rows[0][key]
        digits = len(first.stem)
        return [
            annotated.get(k, first.with_name(f"{k:0{digits}d}{first.suffix}"))
            for k in range(min(annotated), max(annotated) + 1)
        ]


def _read_annotations(path: Path) -> list[dict]:
    """The annotated frames of one file, in order of time; ValueError names what cannot be read."""
    try:
        rows = parse_json(path.read_bytes())
        assert rows and checks.fits(rows, [ROW]) and all(row["segmentation_path"] for row in rows)
        rows = sorted(rows, key=_frame_number)
        for row in rows:
            joints = np.asarray(row["joints"], float)
            assert joints.shape == (ALL_JOINTS, 2) and (np.abs(joints) < LARGEST).all()
            assert np.asarray(row["visibility"], float).shape == (ALL_JOINTS,)
        assert len({_frame_number(row) for row in rows}) == len(rows)
    except (OSError, ValueError, TypeError, AssertionError) as error:
        raise ValueError(
            f"{path} is not a BADJA annotation: it should list frames, each once, with image_path, "
            "segmentation_path, 37 joints [row, col] in pixels and 37 visibilities"
        ) from error
    first, last = _frame_number(rows[0]), _frame_number(rows[-1])
    if last - first >= MOST_FRAMES:
        raise ValueError(
            f"{path} has the frames {first} to {last}, more than {MOST_FRAMES}: mend the number "
            "in an image_path"
        )
    return rows


def _frame_number(row: dict) -> int:
    return int(Path(row["image_path"]).stem)


def _stack_joints(rows: list[dict]) -> tuple[Tensor, Tensor, Tensor]:
    """Tracks T 20 2 in (x, y), visible T 20 and valid T 20; zero and False without annotation."""
    first = _frame_number(rows[0])
    last = _frame_number(rows[-1])
    joints = list(JOINTS)
    tracks = np.zeros((last - first + 1, len(joints), 2), np.float32)
    visible = np.zeros(tracks.shape[:2], bool)
    for row in rows:
        t = _frame_number(row) - first
        tracks[t] = np.asarray(row["joints"], np.float32)[joints, ::-1]
        visible[t] = np.asarray(row["visibility"])[joints] > 0
    valid = visible | (tracks != 0).any(-1)  # unlabelled joints are written as [0, 0], unseen
    return torch.from_numpy(tracks), torch.from_numpy(visible), torch.from_numpy(valid)


def _check_files(paths: list[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more of this sequence" if len(missing) > 1 else ""
        raise ValueError(
            f"missing file {missing[0]}{more}: copy it in, "
            "or take the sequence's json out of the folder"
        )


def _read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """uint8 H W, the animal above 0: the first channel of the colours, nearest-resized to `size`.

    A DAVIS-2017 palette makes objects 1, 3, 5 … red and keeps them, and drops objects 2, 4 (a
    rider): the official rule.
    """
    image = open_picture(path)
    if image.mode in ("P", "PA"):
        image = image.convert("RGB")
    mask = np.asarray(image)
    if mask.ndim == 3:
        mask = mask[..., 0]
    scale = 255 if mask.dtype == bool else 1
    mask = np.clip(mask.astype(np.int64) * scale, 0, 255).astype(np.uint8)
    if mask.shape != tuple(size):
        mask = np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))
    return mask
