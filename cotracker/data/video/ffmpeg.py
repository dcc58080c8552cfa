"""Video files through the ffmpeg that imageio-ffmpeg brings: count once, decode from any frame, encode.

Why not cv2.VideoCapture: its frame count is the container's claim, its seeking can be off by frames at variable rates,
and it prints its errors. Why not imageio: it fixes the frame rate and so repeats or drops frames. Here one pass
at opening decodes everything (0.3 s for 50 frames of 1296x720) and notes every frame's time and checksum; T is exact
whatever the container says, a seek goes to a known time, and the checksum proves that it arrived at that very frame.
"""

import re
import subprocess
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from subprocess import DEVNULL, PIPE

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe

# Containers only: ffmpeg would otherwise take text for ANSI art, and playlists that open other files.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts,mpeg,flv,asf,ogg,m4v,mxf,ivf,h264,hevc"
)
_CUT_SHORT = re.compile(r"partial file|ended prematurely|Packet corrupt|moov atom not found")
_RATES = [Fraction(n) for n in range(1, 241)] + [
    Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120, 240)
]


@dataclass(frozen=True)
class Index:
    """What one decoding pass learnt of a file: size (H, W), each frame's time (seconds) and Adler-32, and the rate."""

    path: Path
    size: tuple[int, int]
    times: list[Fraction]
    checksums: list[int]
    fps: float


def index_video(path: Path) -> Index:
    """The Index of a video file, by decoding it once; nothing is kept but times and checksums.

    Frames are turned upright as the file's rotation says. ValueError names the file when there is no video in it.
    """
    command = [*_reading(path, level="warning"), *_RAW, "-f", "framecrc", "-"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=DEVNULL)
    lines = done.stdout.splitlines()
    rows = [line.split(",") for line in lines if line and not line.startswith("#")]
    if done.returncode or not rows or _CUT_SHORT.search(done.stderr):
        raise ValueError(_complaint(path, done.stderr, len(rows)))
    heads = dict(line[1:].split(" 0: ") for line in lines if " 0: " in line)
    width, height = (int(side) for side in heads["dimensions"].split("x"))
    tick = Fraction(heads["tb"])
    times = [int(row[2]) * tick for row in rows]
    checksums = [int(row[5], 16) for row in rows]
    return Index(
        path, (height, width), times, checksums, float(_rate(times, int(rows[-1][3]) * tick, tick))
    )


def decode(index: Index, start: int = 0) -> Generator[np.ndarray, None, None]:
    """Frames H W 3 uint8 RGB of an indexed file from frame `start` on; the generator ends its ffmpeg when closed."""
    frames = _pipe(index, start, seek=start > 0)
    first = next(frames, None)
    if start and (first is None or zlib.adler32(first, 0) != index.checksums[start]):
        frames.close()  # the container cannot be entered there: come from the beginning
        frames = _pipe(index, start, seek=False)
        first = next(frames, None)
    with closing(frames):
        for number in range(start, len(index.times)):
            if first is None or zlib.adler32(first, 0) != index.checksums[number]:
                raise ValueError(
                    f"{index.path} changed while it was read: frame {number} is another one now"
                )
            yield first
            first = next(frames, None)


def encode(path: Path, frames: Iterable[np.ndarray], fps: float, size: tuple[int, int]) -> int:
    """How many frames were written as h264 mp4 to `path`: each frame H W 3 uint8 RGB once, exactly `size` (H, W).

    Even sizes are yuv420p, which every player shows; odd ones cannot be halved and are yuv444p (VLC, mpv, Chrome).
    """
    height, width = size
    command = [
        get_ffmpeg_exe(),
        "-y",
        "-v",
        "error",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{width}x{height}",
    ]
    command += [
        "-r",
        str(Fraction(fps).limit_denominator(1001)),
        "-i",
        "-",
        "-an",
        "-c:v",
        "libx264",
        "-crf",
        "18",
    ]
    command += ["-preset", "fast", "-pix_fmt", "yuv444p" if height % 2 or width % 2 else "yuv420p"]
    command += [
        "-vf",
        "scale=out_color_matrix=bt709",
        "-colorspace",
        "bt709",
        "-color_primaries",
        "bt709",
    ]
    command += ["-color_trc", "bt709", "-movflags", "+faststart", "-f", "mp4", f"file:{path}"]
    count = 0
    with _process(command, PIPE, DEVNULL, PIPE) as process:
        try:
            for frame in frames:
                if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
                    raise ValueError(
                        f"frame {count} is {frame.shape} {frame.dtype}, not {(height, width, 3)} uint8"
                    )
                process.stdin.write(np.ascontiguousarray(frame).data)
                count += 1
            process.stdin.close()
        except BrokenPipeError:
            pass  # the reason is on its stderr
        complaint = process.stderr.read().decode(errors="replace").strip()
        if process.wait():
            raise OSError(
                f"{path} could not be written: {complaint.splitlines()[-1] if complaint else 'ffmpeg failed'}"
            )
    return count


# Passthrough: each decoded frame once, never repeated or dropped to keep a rate. 0:V leaves out cover pictures.
_RAW = [
    "-map",
    "0:V:0",
    "-fps_mode",
    "passthrough",
    "-enc_time_base",
    "demux",
    "-pix_fmt",
    "rgb24",
    "-c:v",
    "rawvideo",
]


def _reading(path: Path, level: str, seek: str | None = None) -> list[str]:
    head = [
        get_ffmpeg_exe(),
        "-nostdin",
        "-hide_banner",
        "-nostats",
        "-v",
        level,
        "-format_whitelist",
        _CONTAINERS,
    ]
    return head + (["-ss", seek] if seek else []) + ["-i", f"file:{path.absolute()}"]


def _pipe(index: Index, start: int, seek: bool) -> Generator[np.ndarray, None, None]:
    """Decoded frames from `start` on: entered at its time, or by decoding from the beginning and throwing away."""
    height, width = index.size
    length = height * width * 3
    entry = None
    if seek:  # halfway from the frame before, so that rounding to microseconds cannot matter
        entry = f"{float((index.times[start - 1] + index.times[start]) / 2):.6f}"
    command = [*_reading(index.path, "quiet", entry), *_RAW, "-f", "rawvideo", "-"]
    skip = 0 if seek else start
    with _process(command, DEVNULL, PIPE, DEVNULL) as process:
        while len(data := process.stdout.read(length)) == length:
            if skip:
                skip -= 1
            else:
                yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


@contextmanager
def _process(
    command: list[str], stdin: int, stdout: int, stderr: int
) -> Iterator[subprocess.Popen]:
    """A child that never outlives the block; in its own session, so that Ctrl-C reaches us alone and we tidy up."""
    process = subprocess.Popen(
        command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass  # what was buffered for a dead child
        process.wait()


def _rate(times: list[Fraction], last: Fraction, tick: Fraction) -> Fraction:
    """Frames per second: the standard rate that explains the times to within rounding, else the average."""
    span, steps = times[-1] - times[0], len(times) - 1
    if span <= 0:
        span, steps = (last, 1) if last > 0 else (Fraction(1, 25), 1)
    near = min(_RATES, key=lambda rate: abs(steps / rate - span))
    return near if abs(steps / near - span) <= tick else steps / span


def _complaint(path: Path, stderr: str, decoded: int) -> str:
    if "matches no streams" in stderr:
        return f"{path} holds no video, only other streams such as sound: give a file with a picture track"
    if _CUT_SHORT.search(stderr) and decoded:
        return f"{path} is cut short or damaged ({decoded} frames could be decoded): copy it again or re-encode it"
    return (
        f"{path} cannot be decoded as a video, it is cut short, damaged or another kind of file: "
        "give an mp4, mov, avi, mkv, webm or gif, or a folder of frames"
    )
