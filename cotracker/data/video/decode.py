"""Frames of a video file decoded from anywhere, each known by its mark; and damage surveyed."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from cotracker.data.video.packets import open_stream
from cotracker.data.video.words import count_words

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # libav's own leave the alpha out


def decode_marked(
    path: Path, start: int | None = None, threads: bool = True
) -> Generator[tuple[int | None, av.VideoFrame | None], None, None]:
    """The mark and picture of each frame from a time on, in order of time; None for a damaged one.

    A mark is the pts of a frame's packet.
    start: the time to seek to, in units of pts; None for the beginning. After a seek, packets
        before the first key frame are left out.
    threads: False is slower, and finds the same damage each time.
    """
    with open_stream(path) as (container, stream):
        context = _open_decoder(stream, threads)
        if start is not None:
            container.seek(start, stream=stream)
        waits = start is not None
        for packet in _stored_packets(container, stream):
            if waits and packet is not None and not packet.is_keyframe:
                continue
            waits = False
            try:
                frames = context.decode(packet)
            except (av.error.FFmpegError, MemoryError):
                frames = []
                if packet is not None:
                    yield packet.pts, None
            for frame in frames:
                yield frame.pts, None if frame.is_corrupt else frame


def _stored_packets(container, stream) -> Iterator[av.Packet | None]:
    """All packets with data, then None, which asks a decoder for what it holds back."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except av.error.FFmpegError:
        pass  # the file is cut, as its packets have said
    yield None


def _open_decoder(stream, threads: bool) -> av.CodecContext:
    # A decoder's thread that logs to Python waits for the lock that this thread holds while it
    # waits for the decoder to end: for ever.  Some versions of torchvision switch that log on.
    av.logging.set_level(None)
    name = stream.codec_context.name
    alpha = {key.lower(): value for key, value in stream.metadata.items()}.get("alpha_mode")
    context = stream.codec_context
    if alpha == "1" and name in _ALPHA_DECODERS and _ALPHA_DECODERS[name] in av.codecs_available:
        context = av.CodecContext.create(_ALPHA_DECODERS[name], "r")
        context.extradata = stream.codec_context.extradata
    context.options = {"err_detect": "explode"}  # what is damaged is an error, never guessed
    if threads:
        context.thread_type = "AUTO"
    else:
        context.thread_count = 1
    return context


@dataclass(frozen=True)
class Damage:
    """Which stored frames cannot be decoded, and which need these; ranks, ascending.

    wrong: of those that need them, the ones that come at wrong times, as without a key frame.
    """

    lost: np.ndarray
    needing: np.ndarray
    wrong: np.ndarray

    def describe(self, number: np.ndarray) -> str:
        """Such as "damaged near frame 30, 12 frames cannot be decoded".

        number: of each stored frame in the video.
        """
        gaps = np.flatnonzero(np.diff(self.lost) > 1)
        places = [int(number[self.lost[0]])] + [int(number[self.lost[k + 1]]) for k in gaps]
        near = f"near frame {places[0]}"
        if len(places) > 1:
            near = f"near frames {', '.join(map(str, places[:3]))}"
            near += f" and {len(places) - 3} more places" if len(places) > 3 else ""
        says = f"damaged {near}, {count_words(len(self.lost))} cannot be decoded"
        return says + (f" and {len(self.needing)} more rely on these" if len(self.needing) else "")


def survey(path: Path, marks: np.ndarray, is_key: np.ndarray) -> Damage:
    """The Damage of a file, by decoding all of it.

    marks, is_key: S, of its packets in the order of the file; pts, which order them in time.
    """
    order = np.argsort(marks, kind="stable")
    rank = np.empty(len(marks), np.int64)
    rank[order] = np.arange(len(marks))
    rank_of = dict(zip(marks.tolist(), rank.tolist()))
    decoded = decode_marked(path, threads=False)
    came = [rank_of[mark] for mark, frame in decoded if frame is not None and mark in rank_of]
    is_lost = np.ones(len(marks), bool)
    is_lost[came] = False
    earliest_later = np.minimum.accumulate(np.array(came[::-1], np.int64))[::-1]
    is_early = np.zeros(len(marks), bool)  # came before a frame of an earlier time
    is_early[came] = np.array(came) > earliest_later
    needing, wrong = [], []
    for group in np.split(rank, np.flatnonzero(is_key)):  # from a key frame to before the next
        lost = np.flatnonzero(is_lost[group])
        needs = group[lost[0] :] if len(lost) else group[:0]
        needs = needs[~is_lost[needs]]
        needing.append(needs)
        wrong.append(needs if is_early[needs].any() else needs[:0])
    found = (np.flatnonzero(is_lost), np.concatenate(needing), np.concatenate(wrong))
    return Damage(*map(np.sort, found))
