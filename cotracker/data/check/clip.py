"""The check of one clip in Kubric's layout: frames are decoded, and tracks compared with them."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cotracker.data.check.track_image import Judgement, judge, to_grey
from cotracker.data.kubric.layout import describe_clip, open_frames, read_tracks, tracks_file
from cotracker.data.pickles.arrays import read_npy_header
from cotracker.data.video import VideoFile
from cotracker.data.video.images import is_picture, read_picture

MAX_JUDGED = 120  # frames from the start that are compared with the tracks; bounds the memory


@dataclass(frozen=True)
class Finding:
    """One fault: the file or folder, its kind, and in one sentence what is wrong.

    Kinds of a clip: folder, frames, size, tracks, count, points, by-product, visibility, time,
    place, outside, follow, changed. Of a set: manifest, leftover. Of a benchmark also: file, video,
    mask.
    clip: the clip's folder, or what identifies a video of a benchmark.
    """

    file: Path
    kind: str
    message: str
    clip: Path | None = None

    def __str__(self) -> str:
        if str(self.file) in self.message:
            return self.message
        return f"{self.file}: {self.message}"


@dataclass(frozen=True)
class CheckedClip:
    """A clip that was checked: its findings, and its manifest's entry, None if it is not whole.

    frames: how many were decoded.
    followed: the share of patches that follow their track (see track_image.Judgement).
    """

    folder: Path
    findings: tuple[Finding, ...]
    entry: dict | None
    frames: int
    followed: float | None


@dataclass(frozen=True)
class CheckedFrames:
    """The frames of a clip: their number, the grey ones H W to judge by, and their findings.

    gapless: whether their numbers have no gap.
    """

    count: int
    grey: list[np.ndarray]
    gapless: bool
    findings: list[Finding]


def check_clip(folder: Path, points: int) -> CheckedClip:
    """The clip in a folder with all its faults; `points`: visible ones that training takes."""
    if not holds_clip(folder):
        message = (
            f"holds neither frames nor {folder.name}.npy, so it is no clip: "
            "take it away or make it again"
        )
        return CheckedClip(folder, (Finding(folder, "folder", message, folder),), None, 0, None)
    file = tracks_file(folder)
    findings = []
    truth = None
    try:
        truth = read_tracks(folder)
    except ValueError as error:
        findings.append(Finding(file, "tracks", str(error), folder))
    frames = read_frames(folder, None if truth is None else len(truth[0]))
    total = frames.count if truth is None else len(truth[0])
    findings += frames.findings + _check_by_products(folder, total)
    if truth is None or frames.findings:
        return CheckedClip(folder, tuple(findings), None, frames.count, None)
    if total != frames.count:
        message = (
            f"has tracks for {total} frames, but there are {frames.count}: "
            "copy or make the clip again"
        )
        findings.append(Finding(file, "count", message, folder))
        return CheckedClip(folder, tuple(findings), None, frames.count, None)
    broken = bool(findings)  # a by-product
    verdict = judge_frames(frames, truth)
    if verdict.kind:
        findings.append(Finding(file, verdict.kind, verdict.message, folder))
    else:
        findings += _check_points(file, truth[1] & truth[2], points)
    entry = None if broken else describe_clip(folder)
    return CheckedClip(folder, tuple(findings), entry, frames.count, verdict.followed)


def holds_clip(folder: Path) -> bool:
    """Whether there is anything of a clip in the folder: frames, an mp4 or tracks."""
    names = ("frames", "frames.mp4", f"{folder.name}.mp4", f"{folder.name}.npy")
    return any((folder / name).exists() for name in names)


def read_frames(folder: Path, expected: int | None) -> CheckedFrames:
    """All frames of a clip, decoded; `expected` by its tracks, None if these cannot be read."""
    if (folder / "frames").is_dir():
        return _read_pictures(folder)
    try:
        video = open_frames(folder, expected or 0)
        grey = [_grey_frame(video, t) for t in range(expected)]
    except ValueError as error:
        known = expected is not None or "holds no frames" in str(error)
        findings = [Finding(folder, "frames", str(error), folder)] if known else []
        return CheckedFrames(0, [], False, findings)
    return CheckedFrames(expected, grey[:MAX_JUDGED], True, [])


def judge_frames(
    frames: CheckedFrames, truth: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> Judgement:
    """The Judgement of tracks T N 2, visible and valid T N by the frames, as far as both go."""
    count = len(frames.grey)
    return judge(np.stack(frames.grey), *(array[:count] for array in truth))


def _grey_frame(video: VideoFile, t: int) -> np.ndarray:
    frame = video[:, t : t + 1][0, 0].permute(1, 2, 0)
    return to_grey(np.ascontiguousarray(frame.numpy()))


def _read_pictures(folder: Path) -> CheckedFrames:
    files = sorted(filter(is_picture, (folder / "frames").iterdir()))
    if not files:
        message = "holds no frame: it needs jpg or png pictures named 000, 001 and so on"
        return CheckedFrames(0, [], False, [Finding(folder / "frames", "frames", message, folder)])
    findings = _check_numbers(folder, files)
    gapless = not findings
    sizes = {}
    grey = []
    for file in sorted(files, key=lambda file: (_number(file) or 0, file.name)):
        try:
            picture = read_picture(file)
        except ValueError:
            message = "cannot be decoded, it is cut short or damaged: copy or make this clip again"
            findings.append(Finding(file, "frames", message, folder))
            continue
        sizes[file] = picture.shape[:2]
        if len(grey) < MAX_JUDGED:
            grey.append(to_grey(picture))
    return CheckedFrames(len(files), grey, gapless, findings + _check_sizes(folder, sizes))


def _number(file: Path) -> int | None:
    return int(file.stem) if file.stem.isdecimal() else None


def _check_numbers(folder: Path, files: list[Path]) -> list[Finding]:
    """Findings for numbers that are missing between the first and the last, or there twice."""
    by_number = {}
    for file in files:
        by_number.setdefault(_number(file), []).append(file)
    if None in by_number:
        return []  # not numbered alone: the count must do
    findings = []
    for number, same in by_number.items():
        if len(same) > 1:
            message = f"and {same[1].name} are both frame {number}: take the wrong one away"
            findings.append(Finding(same[0], "frames", message, folder))
    last = max(by_number)
    for number in sorted(set(range(min(by_number), last)) - by_number.keys()):
        missing = files[0].with_name(f"{number:0{len(files[0].stem)}d}{files[0].suffix}")
        message = f"is missing, though there are frames up to {last}: copy or make this clip again"
        findings.append(Finding(missing, "frames", message, folder))
    return findings


def _check_sizes(folder: Path, sizes: dict[Path, tuple[int, int]]) -> list[Finding]:
    """Findings for the frames that are not of the size that most of them have."""
    if not sizes:
        return []
    (height, width), _ = Counter(sizes.values()).most_common(1)[0]
    return [
        Finding(
            file,
            "size",
            f"is {size[1]}x{size[0]}, where the other frames are {width}x{height}: make it again",
            folder,
        )
        for file, size in sizes.items()
        if size != (height, width)
    ]


def _check_points(file: Path, seen: np.ndarray, points: int) -> list[Finding]:
    usable = int((seen[0] | seen[len(seen) // 2]).sum())
    if usable >= points:
        return []
    message = (
        f"has {seen.shape[1]} points, of which {usable} are visible and valid in the first or the "
        f"middle frame, where {points} are wanted (--points)"
    )
    return [Finding(file, "points", message, file.parent)]


def _check_by_products(folder: Path, frames: int) -> list[Finding]:
    """Findings for further arrays that are cut short, or have another number of pictures."""
    findings = []
    for file in sorted(folder.glob("*.npy")):
        if file.stem != folder.name and not _is_complete(file):
            message = "is cut short or no npy file: copy or make this clip again"
            findings.append(Finding(file, "by-product", message, folder))
    for path in sorted(one for one in folder.iterdir() if one.is_dir() and one.name != "frames"):
        count = sum(map(is_picture, path.iterdir()))
        if count and frames and count != frames:
            message = f"holds {count} pictures for {frames} frames: copy or make this clip again"
            findings.append(Finding(path, "by-product", message, folder))
    return findings


def _is_complete(file: Path) -> bool:
    """Whether an npy file has as many bytes as its header states.

    True of a pickled array, which is not read.
    """
    try:
        with open(file, "rb") as opened:
            shape, dtype = read_npy_header(opened)
            size = opened.tell() + int(np.prod(shape)) * dtype.itemsize
    except (OSError, ValueError):
        return False
    return dtype.hasobject or os.path.getsize(file) == size
