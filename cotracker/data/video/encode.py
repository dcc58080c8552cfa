"""Frames encoded as an h264 mp4 by libav."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace

_H264 = {"crf": "18", "preset": "fast"}
_BT709 = 1  # code of ITU-T H.273


def write_frames(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: float,
    size: tuple[int, int],
    aspect: Fraction = Fraction(1),
    options: Mapping[str, str] = _H264,
) -> int:
    """How many frames H W 3 uint8 RGB were written as h264 mp4 to `path`, each once.

    Even sizes are yuv420p, which every player shows. Odd sizes cannot be halved and are yuv444p
    (VLC, mpv, Chrome).
    options: libx264's.
    ValueError: a frame is of another size.
    """
    height, width = size
    count = 0
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1001), options=dict(options)
        )
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
        context = stream.codec_context
        context.sample_aspect_ratio = aspect
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        for frame in frames:
            if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
                raise ValueError(
                    f"frame {count} is {frame.shape} {frame.dtype}, not {(height, width, 3)} uint8"
                )
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = picture.reformat(
                format=stream.pix_fmt, interpolation="BICUBIC", dst_colorspace=Colorspace.ITU709
            )
            picture.pts = count
            container.mux(stream.encode(picture))
            count += 1
        container.mux(stream.encode())
    return count
