"""All pixels of a frame, tracked in bounded memory; and the flow between two frames."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cotracker import checks
from cotracker.files import output_folder
from cotracker.trackers.views import MappedVideo
from cotracker.tracks import Tracks

AT_ONCE = 1024  # pixels tracked together
FILES = ("xy.npy", "visibility.npy", "visible.npy")  # of a folder


@dataclass(frozen=True, repr=False)
class DenseTracks:
    """Where every pixel of one frame is, in all frames; arrays, or memory maps of files.

    xy: T H W 2 float32 pixels; [t, y, x] is the place in frame t of pixel (x, y) of `frame`.
    visibility: T H W float32 in 0..1.
    visible: T H W bool, False outside the frame.
    frame: the frame whose pixels these are.
    """

    xy: np.ndarray
    visibility: np.ndarray
    visible: np.ndarray
    frame: int

    def __repr__(self) -> str:
        frames, height, width = self.visible.shape
        return f"DenseTracks({height}x{width} pixels of frame {self.frame} in {frames} frames)"


def track_pixels(
    tracker: Callable,
    video: MappedVideo,
    frame: int = 0,
    out: str | Path | None = None,
    at_once: int = AT_ONCE,
    progress: Callable[[int, int], object] | None = None,
) -> DenseTracks:
    """The DenseTracks of all pixels of `frame` of a video B = 1, in chunks of `at_once` pixels.

    The pixels of a chunk lie on a regular lattice over the picture (`pixel_chunks`), and see each
    other; chunks do not, so another `at_once` gives somewhat other tracks.
    out: a folder, made if it is missing, for xy.npy, visibility.npy and visible.npy, which are
        written as they come and appear at the end; the result is memory maps of them. None keeps
        arrays in memory, 13 bytes a pixel and frame.
    progress: called with the number of pixels done and of all.
    ValueError, one sentence, for a frame, a batch or a folder that cannot be.
    """
    batch, frames, _, height, width = video.shape
    if batch != 1:
        raise ValueError(f"all pixels are tracked in one clip, and the video holds {batch}")
    checks.whole("frame", frame, 0, frames - 1)
    checks.whole("at_once", at_once, 1)
    with _arrays(out, (frames, height, width)) as arrays:
        done = 0
        for queries, place in pixel_chunks((height, width), at_once, frame):
            tracks = _answer(tracker, video, queries)
            for array, values in zip(arrays, (tracks.xy, tracks.visibility, tracks.visible)):
                shape = (frames, *array[place].shape[1:])
                array[place] = values[0].reshape(shape).cpu().numpy()
            done += queries.shape[1]
            if progress is not None:
                progress(done, height * width)
    if out is not None:
        arrays = [np.load(Path(out) / name, mmap_mode="r") for name in FILES]
    return DenseTracks(*arrays, frame)


def flow(
    tracker: Callable, video: MappedVideo, start: int, stop: int, at_once: int = AT_ONCE
) -> tuple[Tensor, Tensor]:
    """H W 2, where each pixel of frame `start` moves until frame `stop`; H W bool, seen there.

    (x, y) in pixels. Only the frames between are read, backwards where `stop` is the earlier one.
    """
    batch, frames, _, height, width = video.shape
    for name, value in (("start", start), ("stop", stop)):
        checks.whole(name, value, 0, frames - 1)
    step = 1 if stop >= start else -1
    between = MappedVideo(video, frames=range(start, stop + step, step))
    field, seen = torch.zeros(height, width, 2), torch.zeros(height, width, dtype=torch.bool)
    for queries, place in pixel_chunks((height, width), at_once, 0):
        tracks, (_, rows, columns) = _answer(tracker, between, queries), place
        moved = (tracks.xy[0, -1] - queries[0, :, 1:]).cpu()
        field[rows, columns] = moved.reshape(field[rows, columns].shape)
        visible = tracks.visible[0, -1].cpu()
        seen[rows, columns] = visible.reshape(seen[rows, columns].shape)
    return field, seen


def pixel_chunks(
    size: tuple[int, int], at_once: int, frame: int
) -> Iterator[tuple[Tensor, tuple[slice, slice, slice]]]:
    """Queries 1 N 3 of every pixel of a frame (H, W) once, and where they are in T H W.

    Each chunk, of at most `at_once` pixels, is a lattice with the same step in x and y; so each
    sees the whole picture.
    """
    height, width = size
    step = math.ceil(math.sqrt(height * width / at_once))
    while -(-height // step) * -(-width // step) > at_once:
        step += 1
    for top in range(min(step, height)):
        for left in range(min(step, width)):
            rows, columns = slice(top, None, step), slice(left, None, step)
            y, x = torch.meshgrid(
                torch.arange(top, height, step), torch.arange(left, width, step), indexing="ij"
            )
            queries = torch.stack([torch.full_like(x, frame), x, y], dim=-1)
            yield queries.reshape(1, -1, 3).float(), (slice(None), rows, columns)


def _answer(tracker: Callable, video: MappedVideo, queries: Tensor) -> Tracks:
    with torch.no_grad():
        return tracker(video, queries)


@contextmanager
def _arrays(out: str | Path | None, shape: tuple[int, int, int]) -> Iterator[list[np.ndarray]]:
    """xy, visibility and visible, in memory, or in files of a folder that appear at the end."""
    shapes = ((*shape, 2), shape, shape)
    kinds = (np.float32, np.float32, np.bool_)
    if out is None:
        yield [np.zeros(one, kind) for one, kind in zip(shapes, kinds)]
        return
    with output_folder(Path(out), FILES) as folder:
        arrays = [
            np.lib.format.open_memmap(folder / name, mode="w+", dtype=kind, shape=one)
            for name, one, kind in zip(FILES, shapes, kinds)
        ]
        yield arrays
        for array in arrays:
            array.flush()
