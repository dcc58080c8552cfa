"""One person's place at the page: a video, the work on it, and the files of both in one folder."""

import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock

from cotracker import checks
from cotracker.app.pictures import (
    GAP,
    draw_frame,
    enlargement,
    keep_confident,
    mark_points,
    overlay_frames,
    write_picture,
)
from cotracker.app.trackers import Trackers
from cotracker.app.work import Work
from cotracker.data.video import VideoFile, open_video, write_video
from cotracker.interchange import FORMATS, write_tracks

TRAIL = 12  # frames
PATIENCE = 2.0  # seconds that a click waits for the one before
SHOWN = 4  # pictures kept of those shown
CLOSED = "this page was closed: load it again"
_HEARING = Lock()  # warnings belong to the process
Progress = Callable[[int, int], object]


class Desk:
    """What one person does; every file of it is in one folder, whose name nobody can guess.

    One action at a time changes something; pictures may be asked for meanwhile.
    ValueError, one sentence, where something cannot be done.
    root: where the folder is made.
    damaged: "refuse" damaged videos, or "repeat" the last good frame.
    """

    def __init__(self, root: Path, trackers: Trackers, damaged: str = "refuse"):
        self.folder, self.trackers = root / secrets.token_hex(16), trackers
        self.damaged = damaged
        self.folder.mkdir()
        self._work: Work | None = None
        self._changing, self._reading = Lock(), Lock()
        self._stop, self._closed = Event(), False
        self._progress: Progress | None = None
        self._shown: list[Path] = []

    @property
    def work(self) -> Work:
        """The work on the video; ValueError before there is one."""
        if self._work is None:
            raise ValueError("there is no video yet: open one")
        return self._work

    def open(self, upload: Path) -> str:
        """Takes an uploaded video, in the place of the one before; a sentence about it."""
        with self._change():
            path = self.take(upload)
            try:
                video, notes = _open_video(path, self.damaged)
            except ValueError:
                shutil.rmtree(path.parent)
                raise
            self._remove_files(path.parent)
            self._work = Work(video, self.trackers, self._tell)
        height, width = video.shape[-2:]
        size = f"{len(video)} frames of {width}x{height}, {float(video.fps):g} a second"
        return ". ".join([f"{path.name}: {size}", *notes]) + "."

    def take(self, upload: Path) -> Path:
        """The path of an uploaded file, moved into a folder of its own."""
        place = self._new_folder() / upload.name
        try:
            os.replace(upload, place)
        except FileNotFoundError:
            raise ValueError(f"{upload.name} is gone: choose it again") from None
        with suppress(OSError):
            upload.parent.rmdir()  # what gradio made for it
        return place

    def do(self, action: Callable[[Work], str], progress: Progress | None = None) -> str:
        """What an action on the work says.

        progress: called with the frames done and all of them, while it tracks.
        """
        with self._change(progress):
            return action(self.work)

    def cancel(self) -> str:
        """Stops what is being tracked or written; what is tracked stays."""
        if not self._changing.locked():
            return "Nothing is running."
        self._stop.set()
        return "Stopping."

    def picture(self, t: int, least: float = 0.0) -> Path:
        """A jpeg file of frame t with its points; it stays until SHOWN others are made."""
        work = self.work
        checks.whole("the frame", t, 0, self.last_frame)
        tracks = work.tracks(least) if work.points else None
        with self._reading:
            frame = work.video[:, t : t + 1][0]
            times = self.enlargement
            picture = draw_frame(frame, t, tracks, TRAIL, times)
            waiting = [*work.asked, *([work.corner] if work.corner else [])]
            places = [(one.x, one.y) for one in waiting if one.t == t]
            mark_points(picture, places, False, times)
            if work.chosen is not None and tracks is not None:
                place = tracks.xy[0, t, work.session.ids.index(work.chosen)]
                mark_points(picture, [tuple(place.tolist())], True, times)
            return self._write_shown(picture, t)

    @property
    def last_frame(self) -> int:
        """The number of the video's last frame."""
        return len(self.work.video) - 1

    @property
    def enlargement(self) -> int:
        """Of the pictures: pixels of theirs a pixel of the frame."""
        return enlargement(self.work.video.shape[-1])

    def canvas(self, t: int) -> Path:
        """A jpeg file of frame t to paint on; it stays as a picture does."""
        with self._reading:
            return self._write_shown(draw_frame(self.work.video[:, t : t + 1][0], t), t)

    def overlay(self, least: float = 0.0, progress: Progress | None = None) -> Path:
        """An mp4 file of the video with its tracks; those of the other checkpoint on the right."""
        with self._change(progress):
            work = self.work
            tracks, other = work.tracks(least), work.other
            other = None if other is None else keep_confident(other, least)
            video = work.video.cut(0, len(work.video))  # decodes for itself
            height, width = video.shape[-2:]
            size = (height, width if other is None else 2 * width + GAP)
            frames = self._watched(overlay_frames(video, tracks, other, TRAIL), len(video))
            path = self._new_folder() / f"{video.name}_overlay.mp4"
            write_video(path, frames, video.fps, size, video.aspect)
        return path

    def export(self, kind: str, least: float = 0.0) -> Path:
        """A file of the tracks in one of the FORMATS of cotracker.interchange."""
        suffix = FORMATS[checks.choice("format", kind, tuple(FORMATS))].suffix
        with self._change():
            tracks = self.work.tracks(least)
            return write_tracks(
                self._new_folder() / f"{self.work.video.name}{suffix}", tracks, kind
            )

    def close(self) -> None:
        """Ends what is running, and removes all files."""
        self._closed = True
        self._stop.set()
        with self._changing, self._reading:
            shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def _change(self, progress: Progress | None = None) -> Iterator[None]:
        """A block that alone changes something; ValueError where another one is running."""
        if not self._changing.acquire(timeout=PATIENCE):
            raise ValueError("something is running: wait for it, or press Cancel")
        try:
            if self._closed:
                raise ValueError(CLOSED)
            self._stop.clear()
            self._progress = progress
            yield
        finally:
            self._progress = None
            self._changing.release()

    def _tell(self, done: int, total: int) -> bool:
        """Whether to go on."""
        if self._progress is not None:
            self._progress(done, total)
        return not (self._stop.is_set() or self._closed)

    def _watched(self, frames: Iterable, total: int) -> Iterator:
        for done, frame in enumerate(frames):
            if not self._tell(done, total):
                raise ValueError("stopped: no video was written")
            yield frame

    def _write_shown(self, picture, t: int) -> Path:
        if self._closed:
            raise ValueError(CLOSED)
        path = self.folder / f"{t}_{secrets.token_hex(8)}.jpg"
        self._shown.append(write_picture(path, picture))
        while len(self._shown) > SHOWN:
            self._shown.pop(0).unlink(missing_ok=True)
        return path

    def _new_folder(self) -> Path:
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir()
        return folder

    def _remove_files(self, kept: Path) -> None:
        """Removes the folders of earlier files, but this one."""
        for folder in self.folder.iterdir():
            if folder.is_dir() and folder != kept:
                shutil.rmtree(folder)


def _open_video(path: Path, damaged: str) -> tuple[VideoFile, list[str]]:
    """The video of a file, and what is odd about it; ValueError where it cannot be tracked."""
    with _HEARING, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        video = open_video(path, damaged)
        video[:, :1]  # refuses what cannot be decoded
    if len(video) < 2:
        raise ValueError(f"{path.name} has one frame: there is nothing to track in it")
    return video, [str(one.message).replace(f"{path.parent}{os.sep}", "") for one in heard]
