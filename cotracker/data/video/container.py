"""A video file as a source of frames: opened by its packets, entered at key frames, checked.

Stored frames have ranks, in the order of their times. Frames of the video have numbers: one that an
avi dropped, or that is damaged, is a number too, and shows the stored frame before it.
"""

import warnings
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import av
import numpy as np

from cotracker.data.video.decode import Damage, decode_marked, survey
from cotracker.data.video.packets import CAPTURES, Packets, not_a_video, read_packets
from cotracker.data.video.pixels import ToRGB, look_at
from cotracker.data.video.rate import frame_rate, mend_times
from cotracker.data.video.words import count_words, list_numbers

_SPLIT = ("h264", "hevc", "mpegvideo", "m4v", *CAPTURES)  # fields may be packets of their own
_MOST_DROPPED = 10  # times the stored frames: more is another use of an avi's empty chunks
_REPAIR = "copy it again or re-encode it"
_GO_ON = 'or pass damaged="repeat" (--damaged repeat)'
_REPEATED = "the last good frame is shown instead"


class FileSource:
    """The frames of a video file, decoded on demand.

    count, size (H, W), fps, seconds (T, from the first frame on) and aspect (width to height of a
    pixel) describe it.
    repeats: damaged frames are not refused: each shows the last good one.
    ValueError, one sentence naming the file: nothing can be read, or it is damaged at the start.
    """

    def __init__(self, path: Path, repeats: bool = False):
        self.path = path
        self.repeats = repeats
        self._stamp = _stamp(path)
        self._damage: Damage | None = None
        self._threads = self._seeks = True
        self._has_said_size = False
        packets = read_packets(path)
        self._check_cut(packets)
        first = _first_frame(path)
        is_split = first.interlaced_frame and packets.container in _SPLIT
        self._is_counted = is_split or not packets.ordered
        if self._is_counted:
            self._count(packets)
        else:
            self._order(packets)
        self.count = len(self.seconds)
        self.aspect, self._look = packets.aspect, look_at(first)
        self.size = self._look.size
        if self._look.is_turned:
            self.aspect = 1 / self.aspect
        if first.interlaced_frame:
            _warn(f"{path} is interlaced, so moving edges are combed: deinterlace it first")
        if next(self._enter(int(self._shown[0])), (-1, None))[0] != self._shown[0]:
            self._examine()

    def frames(self, start: int) -> Generator[np.ndarray, None, None]:
        """Pictures H W 3 uint8 RGB of frame number `start` and all after it.

        ValueError: the file is damaged there, or it changed since it was opened.
        """
        if _stamp(self.path) != self._stamp:
            raise ValueError(f"{self.path} changed since it was opened: open it again")
        number = start
        while number < self.count:
            for picture in self._run(number):
                yield picture
                number += 1
            if number < self.count:  # a frame is missing: find out why, and go on from there
                self._examine()

    def _run(self, start: int) -> Generator[np.ndarray, None, None]:
        """Pictures from a number on, up to the first that is missing."""
        shown = self._shown[start:].tolist()
        convert = ToRGB(self._look)
        rank, picture = -1, None
        with closing(self._enter(shown[0])) as stored:
            for number, wanted in enumerate(shown, start):
                if rank < wanted:
                    later = (one for one in stored if one[0] >= wanted)
                    rank, frame = next(later, (-1, None))
                    if rank != wanted:
                        return
                    self._say_size(number, frame)
                    picture = convert(frame)
                yield picture

    def _say_size(self, number: int, frame: av.VideoFrame) -> None:
        if not self._has_said_size and (frame.height, frame.width) != self._look.stored:
            self._has_said_size = True
            what = f"changes its size to {frame.width}x{frame.height} at frame {number}"
            _warn(f"{self.path} {what}: from there on frames are scaled to the size of the first")

    def _enter(self, wanted: int) -> Generator[tuple[int, av.VideoFrame], None, None]:
        """Ranks and frames, ascending, from rank `wanted` on, or from the first after it."""
        for start in self._entries(wanted):
            with closing(self._ranked(start)) as stored:
                first = next((one for one in stored if one[0] >= wanted), None)
                if first is not None and (first[0] == wanted or start is None):
                    yield first
                    yield from stored
                    return

    def _entries(self, wanted: int) -> Iterator[int | None]:
        """Times to seek to, the nearest first; at last None, the beginning."""
        if self._seeks and not self._is_counted:
            nearest = int(np.searchsorted(self._keys, wanted, side="right")) - 1
            for back in (0, 1, 4, 16):
                if nearest - back > 0:
                    yield int(self._starts[nearest - back])
        yield None

    def _ranked(self, start: int | None) -> Generator[tuple[int, av.VideoFrame], None, None]:
        """Ranks and frames from a seek on; what is no frame of the video is left out."""
        last = -1
        with closing(decode_marked(self.path, start, self._threads)) as marked:
            for mark, frame in marked:
                rank = last + 1 if self._is_counted else self._rank(mark)
                if frame is not None and rank > last:
                    last = rank
                    yield rank, frame

    def _rank(self, mark: int | None) -> int:
        """The rank of a mark that is shown; -1 for every other."""
        rank = -1 if mark is None else int(np.searchsorted(self._marks, mark))
        is_known = 0 <= rank < len(self._marks) and self._marks[rank] == mark
        return rank if is_known and self._is_shown[rank] else -1

    def _order(self, packets: Packets) -> None:
        """Takes ranks, times and key frames from packets that tell them."""
        marks, is_key, starts = packets.marks, packets.is_key, packets.starts
        if packets.container in CAPTURES and is_key.any():
            kept = marks >= marks[is_key.argmax()]
            _warn_of_beginning(self.path, int((~kept).sum()))
            marks, is_key, starts = marks[kept], is_key[kept], starts[kept]
        self._stored_order = (marks, is_key)
        order = np.argsort(marks, kind="stable")
        self._marks = marks[order]
        self._keys = np.flatnonzero(is_key[order])
        self._starts = starts[order][self._keys]
        self._is_shown = np.ones(len(order), bool)
        since = self._marks - self._marks[0]
        total = int(since[-1]) + 1
        if packets.container == "avi" and len(since) < total < _MOST_DROPPED * len(since):
            self._shown = np.searchsorted(since, np.arange(total), side="right") - 1
            missing = np.setdiff1d(np.arange(total), since)
            self._set_times(np.arange(total) * float(packets.tick), packets)
            which = f"{count_words(len(missing))}, {list_numbers(missing)}"
            _warn(f"{self.path} has dropped {which}: the frame before is shown instead")
        else:
            self._shown = np.arange(len(since))
            self._set_times(since * float(packets.tick), packets)

    def _count(self, packets: Packets) -> None:
        """Takes ranks and times from decoding it all, where packets do not tell them."""
        self._threads = False
        with closing(decode_marked(self.path, threads=False)) as marked:
            found = [(mark, frame is not None) for mark, frame in marked]
        first = next(k for k, (_, is_good) in enumerate(found) if is_good)
        if packets.container in CAPTURES:
            _warn_of_beginning(self.path, first)
            found = found[first:]
        is_good = np.array([good for _, good in found])
        self._shown = np.maximum(np.cumsum(is_good) - 1, 0)
        self._set_times(mend_times([mark for mark, _ in found], packets), packets)
        lost = np.flatnonzero(~is_good)
        self._damage = Damage(lost, lost[:0], lost[:0])
        if len(lost):
            self._refuse_or_warn(self._damage.describe(np.arange(len(found))))

    def _examine(self) -> None:
        """Finds out why a frame was missing.

        ValueError where it is damaged and not to be repeated.
        """
        if self._damage is None:
            self._threads = False
            self._damage = survey(self.path, *self._stored_order)
            if len(self._damage.lost):
                self._say_damage()
                self._stand_in(np.concatenate([self._damage.lost, self._damage.wrong]))
        elif len(self._damage.lost) and not self.repeats:
            self._say_damage()
        elif self._seeks:
            self._seeks = False  # only decoding from the beginning gives what the survey found
        else:
            raise ValueError(f"{self.path} cannot be decoded twice alike: {_REPAIR}")

    def _say_damage(self) -> None:
        number = np.searchsorted(self._shown, np.arange(len(self._marks)))
        self._refuse_or_warn(self._damage.describe(number))

    def _stand_in(self, bad: np.ndarray) -> None:
        """Lets the last good stored frame, or the first, stand in for the bad ranks."""
        good = np.setdiff1d(np.arange(len(self._marks)), bad)
        if not len(good):
            raise ValueError(f"no frame of {self.path} can be decoded: {_REPAIR}")
        before = np.searchsorted(good, self._shown, side="right") - 1
        self._shown = good[np.maximum(before, 0)]
        self._is_shown[bad] = False

    def _set_times(self, seconds: np.ndarray, packets: Packets) -> None:
        self.seconds = seconds
        self.fps, varies = frame_rate(seconds, float(packets.tick), packets.last)
        if varies:
            _warn(
                f"{self.path} has a variable frame rate, {self.fps:.4g} frames a second in the "
                "median: the times of its frames are kept in seconds"
            )

    def _check_cut(self, packets: Packets) -> None:
        if not len(packets.marks):
            raise ValueError(f"{self.path} holds no frame, it is cut short or damaged: {_REPAIR}")
        if packets.is_cut:
            whole = count_words(len(packets.marks))
            self._refuse_or_warn(f"cut short or damaged ({whole} found)")

    def _refuse_or_warn(self, what: str) -> None:
        if not self.repeats:
            raise ValueError(f"{self.path} is {what}: {_REPAIR}, {_GO_ON}")
        _warn(f"{self.path} is {what}: {_REPEATED}")


def _first_frame(path: Path) -> av.VideoFrame:
    with closing(decode_marked(path)) as marked:
        first = next((frame for _, frame in marked if frame is not None), None)
    if first is None:
        raise not_a_video(path)
    return first


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _warn_of_beginning(path: Path, count: int) -> None:
    if count:
        what = f"{count_words(count)} before the first key frame cannot be decoded"
        _warn(f"{path} begins inside a recording: {what}, and numbers begin after these")


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=4)
