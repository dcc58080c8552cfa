"""One clip in Kubric's layout looked at from every side: its frames decoded, its tracks read and held to the image."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cotracker.data.check.track_image import Judgement, grey, judge
from cotracker.data.kubric.layout import describe, open_frames, read_tracks
from cotracker.data.video import read_picture

JUDGED = 120  # frames from the start that are held against the tracks, which bounds the memory
PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


@dataclass(frozen=True)
class Finding:
    """One fault: the file or folder, what kind of fault, and in one sentence what is wrong; the clip's folder if any.

    Kinds of a clip: folder, frames, size, tracks, count, points, by-product, visibility, time, place, outside, follow,
    changed; of a set: manifest, leftover.
    """

    file: Path
    kind: str
    says: str
    clip: Path | None = None

    def __str__(self) -> str:
        return self.says if str(self.file) in self.says else f"{self.file}: {self.says}"


@dataclass(frozen=True)
class Checked:
    """A clip that was looked at: its folder, its findings and its manifest's entry, None where it is not whole.

    frames: how many were decoded.  followed: the share of patches that follow their track (photometric.Judgement).
    """

    folder: Path
    findings: tuple[Finding, ...]
    entry: dict | None
    frames: int
    followed: float | None


@dataclass(frozen=True)
class Pictures:
    """The frames of a clip: how many, the grey ones T H W to judge by, whether numbered without a gap; faults found."""

    count: int
    grey: list[np.ndarray]
    gapless: bool
    findings: list[Finding]


def check_clip(folder: Path, points: int) -> Checked:
    """What is wrong with the clip in a folder, every fault named; `points`: visible ones that training takes."""
    if not holds_clip(folder):
        says = f"holds neither frames nor {folder.name}.npy, so it is no clip: take it away or make it again"
        return Checked(folder, (Finding(folder, "folder", says, folder),), None, 0, None)
    file, found, truth = folder / f"{folder.name}.npy", [], None
    try:
        truth = read_tracks(folder)
    except ValueError as error:
        found.append(Finding(file, "tracks", str(error), folder))
    pictures = look_at_frames(folder, None if truth is None else len(truth[0]))
    found += pictures.findings + _by_products(
        folder, pictures.count if truth is None else len(truth[0])
    )
    if truth is None or pictures.findings:
        return Checked(folder, tuple(found), None, pictures.count, None)
    if len(truth[0]) != pictures.count:
        says = f"has tracks for {len(truth[0])} frames, but there are {pictures.count}: copy or make the clip again"
        found.append(Finding(file, "count", says, folder))
        return Checked(folder, tuple(found), None, pictures.count, None)
    verdict = judge_clip(pictures, truth)
    if verdict.kind:
        found.append(Finding(file, verdict.kind, verdict.says, folder))
    else:
        found += _too_few(file, truth[1] & truth[2], points)
    broken = any(finding.kind == "by-product" for finding in found)
    return Checked(
        folder, tuple(found), None if broken else describe(folder), pictures.count, verdict.followed
    )


def holds_clip(folder: Path) -> bool:
    """Whether there is anything of a clip in the folder: frames, an mp4 or tracks."""
    names = ("frames", "frames.mp4", f"{folder.name}.mp4", f"{folder.name}.npy")
    return any((folder / name).exists() for name in names)


def look_at_frames(folder: Path, expected: int | None) -> Pictures:
    """All frames of a clip, decoded; `expected` by its tracks, None where these cannot be read."""
    if (folder / "frames").is_dir():
        return _look_at_pictures(folder)
    try:
        video = open_frames(folder, expected or 0)
        kept = [
            grey(np.ascontiguousarray(video[:, t : t + 1][0, 0].permute(1, 2, 0).numpy()))
            for t in range(expected)
        ]
    except ValueError as error:
        known = expected is not None or "holds no frames" in str(error)
        findings = [Finding(folder, "frames", str(error), folder)] if known else []
        return Pictures(0, [], False, findings)
    return Pictures(expected, kept[:JUDGED], True, [])


def judge_clip(pictures: Pictures, truth: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Judgement:
    """What the frames say of tracks T N 2, visible and valid T N, as far as both go."""
    frames = len(pictures.grey)
    return judge(np.stack(pictures.grey), *(array[:frames] for array in truth))


def _look_at_pictures(folder: Path) -> Pictures:
    files = [file for file in sorted((folder / "frames").iterdir()) if _is_picture(file)]
    if not files:
        says = "holds no frame: it needs jpg or png pictures named 000, 001 and so on"
        return Pictures(0, [], False, [Finding(folder / "frames", "frames", says, folder)])
    found, sizes, kept = _gaps(folder, files), {}, []
    gapless = not found
    for file in sorted(files, key=lambda one: (_number(one) or 0, one.name)):
        try:
            picture = read_picture(file)
        except ValueError:
            says = "cannot be decoded, it is cut short or damaged: copy or make this clip again"
            found.append(Finding(file, "frames", says, folder))
            continue
        sizes[file] = picture.shape[:2]
        if len(kept) < JUDGED:
            kept.append(grey(picture))
    return Pictures(len(files), kept, gapless, found + _unlike(folder, sizes))


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in PICTURES and not file.name.startswith(".")


def _number(file: Path) -> int | None:
    return int(file.stem) if file.stem.isdecimal() else None


def _gaps(folder: Path, files: list[Path]) -> list[Finding]:
    """Findings for numbers that are missing between the first and the last, or there twice."""
    by_number = {}
    for file in files:
        by_number.setdefault(_number(file), []).append(file)
    if None in by_number:
        return []  # not numbered alone: the count must do
    found = []
    for number, same in by_number.items():
        if len(same) > 1:
            says = f"and {same[1].name} are both frame {number}: take the wrong one away"
            found.append(Finding(same[0], "frames", says, folder))
    for number in sorted(set(range(min(by_number), max(by_number))) - by_number.keys()):
        missing = files[0].with_name(f"{number:0{len(files[0].stem)}d}{files[0].suffix}")
        says = f"is missing, though there are frames up to {max(by_number)}: copy or make this clip again"
        found.append(Finding(missing, "frames", says, folder))
    return found


def _unlike(folder: Path, sizes: dict[Path, tuple[int, int]]) -> list[Finding]:
    """Findings for the frames that are not of the size that most of them have."""
    usual = Counter(sizes.values()).most_common(1)
    return [
        Finding(
            file,
            "size",
            f"is {size[1]}x{size[0]}, where the other frames are {w}x{h}: make it again",
            folder,
        )
        for file, size in sizes.items()
        for (h, w), _ in usual
        if size != (h, w)
    ]


def _too_few(file: Path, seen: np.ndarray, points: int) -> list[Finding]:
    usable = int((seen[0] | seen[len(seen) // 2]).sum())
    if usable >= points:
        return []
    says = f"has {seen.shape[1]} points, of which {usable} are visible and valid in the first or the middle frame"
    return [Finding(file, "points", f"{says}, where {points} are wanted (--points)", file.parent)]


def _by_products(folder: Path, frames: int) -> list[Finding]:
    """Findings for further arrays of the clip that are cut short, or folders with another number of pictures."""
    found = []
    for file in sorted(folder.glob("*.npy")):
        if file.stem != folder.name and not _is_whole(file):
            says = "is cut short or no npy file: copy or make this clip again"
            found.append(Finding(file, "by-product", says, folder))
    for path in sorted(one for one in folder.iterdir() if one.is_dir() and one.name != "frames"):
        count = sum(map(_is_picture, path.iterdir()))
        if count and frames and count != frames:
            says = f"holds {count} pictures for {frames} frames: copy or make this clip again"
            found.append(Finding(path, "by-product", says, folder))
    return found


def _is_whole(file: Path) -> bool:
    """Whether an npy file has as many bytes as its header says; a pickled one's cannot be told, and is not read."""
    try:
        with open(file, "rb") as opened:
            version = np.lib.format.read_magic(opened)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(opened)
            wanted = opened.tell() + int(np.prod(shape)) * dtype.itemsize
    except (OSError, ValueError):
        return False
    return dtype.hasobject or os.path.getsize(file) == wanted
