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

from cotracker.data.video.lengths import is_cut_short

# Containers only: libav would otherwise read text as ANSI art, and playlists.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,mpegts,mpeg,flv,asf,ogg,m4v,mxf,ivf,"
    "h264,hevc,mpegvideo,yuv4mpegpipe,nut,dv"
)
CAPTURES = ("mpegts", "mpeg")  # may begin in the middle of a recording
_COVER = Disposition.attached_pic | Disposition.timed_thumbnails
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
    with open_stream(path) as (container, stream):
        rows, is_cut, last, end = [], False, 0, 0
        context = stream.codec_context
        codec = context.name
        try:
            for packet in container.demux(stream):
                hidden = codec == "vp8" and packet.size and not memoryview(packet)[0] & 0x10
                if not packet.size or packet.is_discard or hidden:
                    continue
                rows.append((packet.pts, packet.dts, packet.is_keyframe))
                is_cut |= packet.is_corrupt
                last = packet.duration or 0
                end = (packet.pos or 0) + packet.size
        except av.error.FFmpegError:
            is_cut = True
        name = container.format.name
        # an avi has no times, and libav's guesses are wrong where h264 stores frames ahead
        guessed = name == "avi" and codec in ("h264", "hevc") and context.has_b_frames
        tick = stream.time_base
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        aspect = stream.sample_aspect_ratio or Fraction(1)
    is_cut = (is_cut and name not in CAPTURES) or is_cut_short(path, name)
    is_cut |= name == "yuv4mpegpipe" and end < path.stat().st_size  # part of a frame is left out
    pts = [row[0] for row in rows]
    has_times = None not in pts
    by_dts = name.startswith("mov")  # its index holds the times of decoding
    if by_dts and len(rows) > 1 and len({row[1] for row in rows}) == 1:
        raise ValueError(f"{path} is damaged, its frames all have one time: copy it again")
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
        ordered=bool(rows) and has_times and not guessed and are_times(marks),
        is_cut=is_cut,
    )


def are_times(marks: np.ndarray) -> bool:
    """Whether all differ, and order the frames as the file does but for those stored ahead."""
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
        raise not_a_video(path) from error
    with container:
        streams = [one for one in container.streams.video if not one.disposition & _COVER]
        if not streams:
            raise ValueError(
                f"{path} holds no video, only other streams such as sound: "
                "give a file with a picture track"
            )
        if streams[0].codec_context is None:
            raise ValueError(f"{path} is coded in a way that is not known here: make an mp4 of it")
        yield container, streams[0]


def not_a_video(path: Path) -> ValueError:
    """The error for a file in which nothing can be decoded."""
    return ValueError(
        f"{path} cannot be decoded as a video, it is cut short, damaged or another kind of file: "
        "give an mp4, mov, avi, mkv, webm or gif, or a folder of frames"
    )
