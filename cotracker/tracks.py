"""Tracks, what every tracker answers: positions, visibility, whose they are; and its file."""

import operator
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cotracker import checks
from cotracker.files import replace_file
from cotracker.geometry import inside_frame
from cotracker.stored import read_npz

FORMAT = 3  # of the file
KINDS = {
    "visible": "b",
    "point_mask": "b",
    "ids": "iu",
}  # numpy's, of fields; the others are numbers
PER_FRAME = ("xy", "visibility", "visible", "confidence")  # the fields B T N


class Moves:
    """Mixin: `.to(device)` and `.pin_memory()` of every field that is a tensor."""

    def to(self, device, non_blocking: bool = False):
        """The same on a device; ValueError where it cannot be used on this machine."""
        try:
            return self._changed(lambda value: value.to(device, non_blocking=non_blocking))
        except (RuntimeError, AssertionError):
            usable_device(device)  # else the error is another one
            raise

    def pin_memory(self):
        return self._changed(Tensor.pin_memory)

    def _changed(self, change: Callable[[Tensor], Tensor]):
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self,
            **{name: change(value) for name, value in values.items() if isinstance(value, Tensor)},
        )


@dataclass(frozen=True, repr=False)
class Tracks(Moves):
    """Where the queried points are, in every frame and for every query.

    xy: B T N 2 float32 pixels of the video handed over.
    visibility: B T N float in 0..1.
    visible: B T N bool, the tracker's own rule; a call of a tracker makes it False outside the
        frame.
    confidence: B T N float in 0..1, the probability that the error is below the tracker's number
        of pixels; None where a tracker has none.
    Before its query a forward-only tracker repeats the query, unseen.

    The call of a tracker adds what it was asked; a tracker's `forward` leaves these None:
    queries: B N 3 (t, x, y).
    point_mask: B N bool, False for padded points, where clips have different numbers of points.
    ids: B N int64, the object of each point: its label in the mask, 0 for none.
    names: N texts, of each point.
    individuals: N texts, of each point: the name of the animal or object it belongs to.
    fps: frames a second.
    seconds: T float64, the times of the frames.
    size: (H, W) of the frames.

    len(tracks) is B, tracks[b] the Tracks of clip b with B = 1, without its padded points.
    """

    xy: Tensor
    visibility: Tensor
    visible: Tensor
    confidence: Tensor | None = None
    queries: Tensor | None = None
    point_mask: Tensor | None = None
    ids: Tensor | None = None
    names: tuple[str, ...] | None = None
    individuals: tuple[str, ...] | None = None
    fps: float | None = None
    seconds: Tensor | None = None
    size: tuple[int, int] | None = None

    @property
    def in_frame(self) -> Tensor:
        """B T N bool: the position is within the frame; ValueError where its size is unknown."""
        if self.size is None:
            raise ValueError("these tracks hold no size of the frames: set size to (height, width)")
        return inside_frame(self.xy, self.size)

    def numpy(self) -> dict[str, np.ndarray]:
        """The fields that are not None, as arrays by name; shapes as above."""
        arrays = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                value = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
                arrays[field.name] = np.asarray(value)
        return arrays

    def save(self, path: str | Path) -> Path:
        """The path of the npz file just written, atomically: the arrays of `numpy()` by name.

        `format` is beside them. One clip alone is written without its B: xy T N 2, queries N 3.
        """
        path = _check_npz(path)
        arrays = self.numpy()
        if len(self) == 1:
            kept = ("names", "individuals", "fps", "seconds", "size")
            arrays = {name: a if name in kept else a[0] for name, a in arrays.items()}
        with replace_file(path) as file:
            np.savez_compressed(file, format=np.int64(FORMAT), **arrays)
        return path

    @staticmethod
    def load(path: str | Path) -> "Tracks":
        """The Tracks of a file that `save` wrote; no code of the file is run.

        ValueError, one sentence naming the file: it is missing, damaged or something else.
        """
        arrays = _read_arrays(_check_npz(path))
        try:
            return _from_arrays(arrays)
        except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
            raise ValueError(
                f"{path} does not hold tracks ({error}): it needs xy T N 2, visibility T N and "
                "visible T N, as Tracks.save writes them"
            ) from error

    def __len__(self) -> int:
        return self.xy.shape[0]

    def __getitem__(self, index: int) -> "Tracks":
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        index %= len(self)
        one = self._changed(lambda v: v[index : index + 1] if len(v) == len(self) else v)
        one = replace(one, seconds=self.seconds)
        if one.point_mask is None:
            return one
        kept = one.point_mask[0]
        cut = map_tracks(lambda values: values[:, :, kept], one)
        values = {name: getattr(cut, name) for name in PER_FRAME}
        for name in ("queries", "ids"):
            value = getattr(one, name)
            values[name] = None if value is None else value[:, kept]
        return replace(one, point_mask=None, **values)

    def __repr__(self) -> str:
        clips, frames, points = self.visible.shape
        size = "" if self.size is None else f" of {self.size[0]}x{self.size[1]}"
        return (
            f"Tracks({_count(points, 'point')} in {_count(frames, 'frame')}{size}"
            f"{'' if clips == 1 else f', {clips} clips'})"
        )


def usable_device(name: str | int | torch.device) -> torch.device:
    """The device of that name; ValueError where it cannot be used on this machine."""
    try:
        zero = torch.zeros(1, device=name)
        zero.item()  # "meta" has no numbers
        return zero.device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"device {name} cannot be used on this machine: use auto or cpu"
        ) from error


def map_tracks(change: Callable[..., Tensor], *tracks: Tracks) -> Tracks:
    """Tracks whose fields B T N are `change` of those of all `tracks`; None in one is None."""
    values = {}
    for name in PER_FRAME:
        parts = [getattr(one, name) for one in tracks]
        missing = any(part is None for part in parts)
        values[name] = None if missing else change(*parts)
    return Tracks(**values)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _check_npz(path: str | Path) -> Path:
    if Path(path).suffix != ".npz":
        raise ValueError(f"{path} must end in .npz, the one format that holds all of Tracks")
    return Path(path)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_npz(path)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: give a file that Tracks.save wrote") from None
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as npz ({error}): write it again") from error


def _from_arrays(arrays: dict[str, np.ndarray]) -> Tracks:
    """Tracks of the arrays of a file; KeyError, ValueError and their like where they are none."""
    if int(arrays.get("format", FORMAT)) > FORMAT:
        raise ValueError(f"its format is {arrays['format']}, later than {FORMAT}")
    values = {
        name: _tensor(name, arrays[name])
        for name in (*PER_FRAME, "queries", "point_mask", "ids")
        if name in arrays or name in PER_FRAME[:3]
    }
    if arrays["xy"].ndim == 3:
        values = {name: value[None] for name, value in values.items()}
    tracks = Tracks(**values)
    batch, frames, points, two = tracks.xy.shape
    shapes = {name: (batch, frames, points) for name in PER_FRAME[1:]}
    shapes |= {"queries": (batch, points, 3), "point_mask": (batch, points), "ids": (batch, points)}
    wrong = [name for name in values if name != "xy" and values[name].shape != shapes[name]]
    if two != 2 or wrong:
        raise ValueError(f"{', '.join(wrong) or 'xy'} has the wrong shape")
    if "seconds" in arrays:
        seconds = torch.from_numpy(arrays["seconds"]).reshape(frames)
        if not seconds.isfinite().all():
            raise ValueError("seconds are not finite")
        tracks = replace(tracks, seconds=seconds)
    for name in ("names", "individuals"):
        if name in arrays:
            texts = tuple(map(str, arrays[name].reshape(points)))
            tracks = replace(tracks, **{name: texts})
    if "fps" in arrays:
        fps = checks.number("fps", float(arrays["fps"]), 0)
        tracks = replace(tracks, fps=fps)
    if "size" in arrays:
        height, width = (checks.whole("size", int(side), 1) for side in arrays["size"])
        tracks = replace(tracks, size=(height, width))
    return tracks


def _tensor(name: str, values: np.ndarray) -> Tensor:
    """The values of a field; ValueError where they are of another kind or beyond its range."""
    if values.dtype.kind not in KINDS.get(name, "fiu"):
        raise ValueError(f"{name} is {values.dtype}")
    if name in ("visibility", "confidence") and not np.isfinite(values).all():
        raise ValueError(f"{name} is NaN or infinite")
    if name not in KINDS and values.dtype.kind != "f":
        values = values.astype(np.float32)
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=False))
