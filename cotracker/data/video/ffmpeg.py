"""Video files through the ffmpeg that imageio-ffmpeg brings: index, decode, encode.

Why not cv2.VideoCapture: its frame count is the container's claim, its seeking can be off by frames
at variable rates, and it prints its errors. Why not imageio: it fixes the frame rate and so repeats
or drops frames. Here one pass at opening decodes everything (0.3 s for 50 frames of 1296x720) and
notes each frame's time and checksum. T is exact whatever the container says. A seek goes to a known
time, and the checksum proves that it arrived at that very frame.
"""

import re
import subprocess
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from subprocess import DEVNULL, PIPE

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe

# Containers only: ffmpeg would otherwise read text as ANSI art, and playlists.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts,mpeg,flv,asf,ogg,m4v,mxf,ivf,h264,hevc"
)
# Passthrough: each decoded frame once, never repeated or dropped to keep a rate. 0:V leaves out
# cover pictures.
_RAW = "-map 0:V:0 -fps_mode passthrough -enc_time_base demux -pix_fmt rgb24 -c:v rawvideo".split()
_H264 = "-an -c:v libx264 -crf 18 -preset fast".split()
_BT709 = (
    "-vf scale=out_color_matrix=bt709 -colorspace bt709 -color_primaries bt709 -color_trc bt709"
).split()
_CUT_SHORT = re.compile(r"partial file|ended prematurely|Packet corrupt|moov atom not found")
_RATES = [Fraction(n) for n in range(1, 241)] + [
    Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120, 240)
]


@dataclass(frozen=True)
class Index:
    """A video's size (H, W), each frame's time (s) and Adler-32, and the rate."""

    path: Path
    size: tuple[int, int]
    times: list[Fraction]
    checksums: list[int]
    fps: float


def index_video(path: Path) -> Index:
    """The Index of a video file, by decoding it once.

    Frames are turned upright as the file's rotation says.
    ValueError naming the file: there is no video in it.
    """
    command = [*_input_options(path, level="warning"), *_RAW, "-f", "framecrc", "-"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=DEVNULL)
    lines = done.stdout.splitlines()
    rows = [line.split(",") for line in lines if line and not line.startswith("#")]
    if done.returncode or not rows or _CUT_SHORT.search(done.stderr):
        raise ValueError(_describe_failure(path, done.stderr, len(rows)))
    header = dict(line[1:].split(" 0: ") for line in lines if " 0: " in line)
    width, height = (int(side) for side in header["dimensions"].split("x"))
    tick = Fraction(header["tb"])
    times = [int(row[2]) * tick for row in rows]
    checksums = [int(row[5], 16) for row in rows]
    rate = _frame_rate(times, int(rows[-1][3]) * tick, tick)
    return Index(path, (height, width), times, checksums, float(rate))


def decode(index: Index, start: int = 0) -> Generator[np.ndarray, None, None]:
    """Frames H W 3 uint8 RGB of an indexed file from `start` on; closing it ends its ffmpeg."""
    frames = _read_frames(index, start, seek=start > 0)
    frame = next(frames, None)
    if start and not _is_frame(index, start, frame):
        frames.close()  # the container cannot be entered there: decode from the beginning
        frames = _read_frames(index, start, seek=False)
        frame = next(frames, None)
    with closing(frames):
        for number in range(start, len(index.times)):
            if not _is_frame(index, number, frame):
                raise ValueError(
                    f"{index.path} changed while it was read: frame {number} is another one now"
                )
            yield frame
            frame = next(frames, None)


def encode(path: Path, frames: Iterable[np.ndarray], fps: float, size: tuple[int, int]) -> int:
    """How many frames H W 3 uint8 RGB were written as h264 mp4 to `path`, each once.

    Even sizes are yuv420p, which every player shows. Odd sizes cannot be halved and are yuv444p
    (VLC, mpv, Chrome).
    """
    height, width = size
    count = 0
    with _child(_encode_command(path, fps, size), PIPE, DEVNULL, PIPE) as process:
        try:
            for frame in frames:
                if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
                    raise ValueError(
                        f"frame {count} is {frame.shape} {frame.dtype}, "
                        f"not {(height, width, 3)} uint8"
                    )
                process.stdin.write(np.ascontiguousarray(frame).data)
                count += 1
            process.stdin.close()
        except BrokenPipeError:
            pass  # the reason is on its stderr
        stderr = process.stderr.read().decode(errors="replace").strip()
        if process.wait():
            reason = stderr.splitlines()[-1] if stderr else "ffmpeg failed"
            raise OSError(f"{path} could not be written: {reason}")
    return count


def _encode_command(path: Path, fps: float, size: tuple[int, int]) -> list[str]:
    height, width = size
    rate = str(Fraction(fps).limit_denominator(1001))
    pixels = "yuv444p" if height % 2 or width % 2 else "yuv420p"
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate, "-i", "-"]
    output = ["-movflags", "+faststart", "-f", "mp4", f"file:{path}"]
    head = [get_ffmpeg_exe(), "-y", "-v", "error"]
    return [*head, *raw, *_H264, "-pix_fmt", pixels, *_BT709, *output]


def _is_frame(index: Index, number: int, frame: np.ndarray | None) -> bool:
    """Whether a decoded frame is the one that the index has under this number."""
    return frame is not None and zlib.adler32(frame, 0) == index.checksums[number]


def _input_options(path: Path, level: str, seek: str | None = None) -> list[str]:
    head = [get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-nostats", "-v", level]
    entry = ["-ss", seek] if seek else []
    return [*head, "-format_whitelist", _CONTAINERS, *entry, "-i", f"file:{path.absolute()}"]


def _read_frames(index: Index, start: int, seek: bool) -> Generator[np.ndarray, None, None]:
    """Decoded frames from `start` on, after a seek to its time or by skipping all before it."""
    height, width = index.size
    length = height * width * 3
    entry = None
    if seek:  # halfway from the frame before, so that rounding to microseconds cannot matter
        entry = f"{float((index.times[start - 1] + index.times[start]) / 2):.6f}"
    command = [*_input_options(index.path, "quiet", entry), *_RAW, "-f", "rawvideo", "-"]
    skip = 0 if seek else start
    with _child(command, DEVNULL, PIPE, DEVNULL) as process:
        while len(data := process.stdout.read(length)) == length:
            if skip:
                skip -= 1
            else:
                yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


@contextmanager
def _child(command: list[str], stdin: int, stdout: int, stderr: int) -> Iterator[subprocess.Popen]:
    """A child that never outlives the block, in its own session so that Ctrl-C reaches us alone."""
    process = subprocess.Popen(
        command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        for stream in filter(None, (process.stdin, process.stdout, process.stderr)):
            with suppress(BrokenPipeError):  # what was buffered for a dead child
                stream.close()
        process.wait()


def _frame_rate(times: list[Fraction], duration: Fraction, tick: Fraction) -> Fraction:
    """Frames per second: the standard rate that explains the times up to rounding, or the average.

    duration: of the last frame.
    """
    span = times[-1] - times[0]
    steps = len(times) - 1
    if span <= 0:
        span = duration if duration > 0 else Fraction(1, 25)
        steps = 1
    nearest = min(_RATES, key=lambda rate: abs(steps / rate - span))
    return nearest if abs(steps / nearest - span) <= tick else steps / span


def _describe_failure(path: Path, stderr: str, decoded: int) -> str:
    if "matches no streams" in stderr:
        return (
            f"{path} holds no video, only other streams such as sound: "
            "give a file with a picture track"
        )
    if _CUT_SHORT.search(stderr) and decoded:
        return (
            f"{path} is cut short or damaged ({decoded} frames could be decoded): "
            "copy it again or re-encode it"
        )
    return (
        f"{path} cannot be decoded as a video, it is cut short, damaged or another kind of file: "
        "give an mp4, mov, avi, mkv, webm or gif, or a folder of frames"
    )
