"""What a video file holds by its packets, without decoding: times, key frames, cuts.

A decoded frame carries the pts of its packet, its mark. Marks tell which frame one is, wherever
decoding began, and whether one is missing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

# Containers only: libav would otherwise read text as ANSI art, and playlists.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,mpegts,mpeg,flv,asf,ogg,m4v,mxf,ivf,"
    "h264,hevc,mpegvideo,yuv4mpegpipe,nut,dv"
)
CAPTURES = ("mpegts", "mpeg")  # may begin in the middle of a recording
_COVER = Disposition.attached_pic | Disposition.timed_thumbnails
_CUT_SHORT = ("partial file", "ended prematurely")
_MOST_REORDERED = 64  # packets between a frame's place in the file and its place in time


@dataclass(frozen=True)
class Packets:
    """The packets of a file's video that hold a frame, in the order of the file.

    marks: S int64, the pts of each.
    starts: S int64, what to seek to in order to arrive at or before it.
    is_key: S bool.
    tick: seconds of a unit of pts.
    rate: frames a second, as the container says.
    aspect: width to height of a pixel.
    last: seconds that the last packet lasts; 0 where it does not say.
    container: the format's names.
    ordered: whether pts are there, all different, and near to the order of the file.
    is_cut: whether the file ends inside.
    """

    marks: np.ndarray
    starts: np.ndarray
    is_key: np.ndarray
    tick: Fraction
    rate: float
    aspect: Fraction
    last: float
    container: str
    ordered: bool
    is_cut: bool


def read_packets(path: Path) -> Packets:
    """The Packets of a file; ValueError naming the file: there is no video in it."""
    with _listen() as said, open_stream(path) as (container, stream):
        rows, is_cut, last = [], False, 0
        is_vp8 = stream.codec_context.name in ("vp8", "libvpx")
        try:
            for packet in container.demux(stream):
                hidden = is_vp8 and packet.size and not memoryview(packet)[0] & 0x10
                if not packet.size or packet.is_discard or hidden:
                    continue
                rows.append((packet.pts, packet.dts, packet.is_keyframe))
                is_cut |= packet.is_corrupt
                last = packet.duration or 0
        except av.error.FFmpegError:
            is_cut = True
        name = container.format.name
        tick = stream.time_base
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        aspect = stream.sample_aspect_ratio or Fraction(1)
    is_cut = (is_cut and name not in CAPTURES) or any(
        phrase in line[2] for line in said for phrase in _CUT_SHORT
    )
    is_cut |= name == "gif" and not _ends_as_gif(path)
    pts = [row[0] for row in rows]
    has_times = None not in pts
    by_dts = name.startswith("mov")  # its index holds the times of decoding
    starts = [dts if by_dts and dts is not None else pts for pts, dts, _ in rows]
    marks = np.array(pts if has_times else range(len(rows)), np.int64)
    return Packets(
        marks=marks,
        starts=np.array([start or 0 for start in starts], np.int64),
        is_key=np.array([row[2] for row in rows], bool),
        tick=tick,
        rate=rate,
        aspect=aspect,
        last=float(last * tick),
        container=name,
        ordered=bool(rows) and has_times and _are_times(marks),
        is_cut=is_cut,
    )


def _ends_as_gif(path: Path) -> bool:
    """Whether the file's last byte but for padding is a gif's trailer."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return file.read().rstrip(b"\0\r\n ").endswith(b";")


def _are_times(marks: np.ndarray) -> bool:
    """Whether all are different, and in the order of the file but for frames stored ahead."""
    order = np.argsort(marks, kind="stable")
    moved = np.abs(order - np.arange(len(marks))).max()
    return moved <= _MOST_REORDERED and bool((np.diff(marks[order]) > 0).all())


@contextmanager
def open_stream(path: Path) -> Iterator[tuple]:
    """The container and its video stream, cover pictures left out; closed after the block.

    ValueError naming the file: it cannot be opened, or holds no video.
    """
    try:
        container = av.open(
            f"file:{path.absolute()}",
            options={"format_whitelist": CONTAINERS},
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be decoded as a video, it is cut short, damaged or another kind of "
            "file: give an mp4, mov, avi, mkv, webm or gif, or a folder of frames"
        ) from error
    with container:
        streams = [one for one in container.streams.video if not one.disposition & _COVER]
        if not streams:
            raise ValueError(
                f"{path} holds no video, only other streams such as sound: "
                "give a file with a picture track"
            )
        yield container, streams[0]


@contextmanager
def _listen() -> Iterator[list]:
    """The errors that libav logs in this thread; that alone tells of some cuts."""
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(True) as said:
            yield said
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips)
