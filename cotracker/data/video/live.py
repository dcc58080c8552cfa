"""Frames from what has no end yet: cameras, network streams, pipes, growing folders."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from cotracker.data.video import open_video
from cotracker.data.video.folder import FOLDER_FPS, order_naturally
from cotracker.data.video.images import is_picture, read_picture

POLL = 0.02  # seconds between two looks at a folder
SETTLED = 0.15  # seconds after which a picture that does not grow is whole


def read_live(
    source: str, size: tuple[int, int] | None, pipe: BinaryIO, idle: float
) -> tuple[Iterator[np.ndarray], float]:
    """Frames H W 3 uint8 RGB as they come, and frames a second where the source knows them.

    source: a video file; a folder, whose pictures may still be written; the number of a camera; a
        network address with "://"; or "-", raw frames on `pipe`.
    size: (H, W) of raw frames.
    idle: seconds without a new picture after which a folder is finished.
    ValueError, one sentence, where nothing can be read.
    """
    if source == "-":
        if size is None:
            raise ValueError("raw frames need a size: pass --size HEIGHTxWIDTH")
        return _read_raw(pipe, size), FOLDER_FPS
    if source.isdecimal() or "://" in source:
        return _read_capture(source)
    if Path(source).is_dir():
        return _read_folder(Path(source), idle), FOLDER_FPS
    video = open_video(source)
    return _read_file(video), video.fps


def _read_file(video) -> Iterator[np.ndarray]:
    for number in range(video.shape[1]):
        yield video[:, number : number + 1][0, 0].permute(1, 2, 0).numpy()


def _read_raw(pipe: BinaryIO, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Frames of RGB bytes; what is left of a frame at the end is dropped."""
    count = size[0] * size[1] * 3
    while len(data := pipe.read(count)) == count:
        yield np.frombuffer(data, np.uint8).reshape(*size, 3)


def _read_capture(source: str) -> tuple[Iterator[np.ndarray], float]:
    """The frames of a camera or a network stream, by OpenCV."""
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not capture.isOpened():
        kind = f"camera {source}" if source.isdecimal() else source
        raise ValueError(f"{kind} cannot be opened: check that it is there and not in use")

    def frames() -> Iterator[np.ndarray]:
        try:
            while (read := capture.read())[0]:
                yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
        finally:
            capture.release()

    return frames(), capture.get(cv2.CAP_PROP_FPS) or FOLDER_FPS


def _read_folder(folder: Path, idle: float) -> Iterator[np.ndarray]:
    """Pictures in the order of their names, each once it has been written to its end.

    A picture is taken when a later one is there, or when it has not grown for SETTLED seconds; one
    that cannot be read is waited for.
    """
    done: set[str] = set()
    last, grown = time.monotonic(), ("", 0, 0.0)  # of the newest file: name, bytes, since when
    while time.monotonic() - last < idle:
        found = order_naturally(list(filter(is_picture, folder.iterdir())))
        for file in [file for file in found if file.name not in done]:
            now, length = time.monotonic(), file.stat().st_size
            if (file.name, length) != grown[:2]:
                grown = (file.name, length, now)
            settled = file is not found[-1] or now - grown[2] >= SETTLED
            picture = _try_to_read(file) if settled else None
            if picture is None:
                break
            yield picture
            done.add(file.name)
            last = time.monotonic()
        time.sleep(POLL)
    if not done:
        raise ValueError(f"{folder} held no picture for {idle:g} seconds: put jpg or png in it")


def _try_to_read(file: Path) -> np.ndarray | None:
    try:
        return read_picture(file)
    except ValueError:  # not whole yet
        return None
