"""The doctor of benchmark folders: TAP-Vid's sets, BADJA and FastCapture read to the end, each fault a Finding."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from cotracker.data import fastcapture
from cotracker.data.badja import BADJA
from cotracker.data.check.clip import JUDGED, Finding
from cotracker.data.check.track_image import OUTSIDE, grey, judge
from cotracker.data.fastcapture import FastCapture
from cotracker.data.tapvid import SETS, TapVid
from cotracker.geometry import inside_frame
from cotracker.types import Clip

TITLES = {
    "davis": "TAP-Vid-DAVIS",
    "kinetics": "TAP-Vid-Kinetics",
    "rgb_stacking": "TAP-Vid-RGB-Stacking",
    "robotap": "RoboTAP",
    "badja": "BADJA",
    "fastcapture": "FastCapture",
}


@dataclass(frozen=True)
class Place:
    """A benchmark that was found: which of TITLES, and the folder."""

    which: str
    folder: Path


@dataclass(frozen=True)
class Video:
    """A video that was looked at: its benchmark, number and name there, frames, 0 if it can't be read, and findings."""

    place: Place
    number: int
    name: str
    frames: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class CheckedBenchmark:
    """A benchmark that was looked at: its videos, all findings, theirs included, and how many should be there or 0."""

    place: Place
    videos: tuple[Video, ...]
    findings: tuple[Finding, ...]
    expected: int


def benchmarks_below(root: Path) -> list[Place]:
    """The benchmarks whose files lie in the folder itself or in a folder of it."""
    _reader.cache_clear()  # the files may have been changed since
    folders = [
        root,
        *sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")),
    ]
    return [
        Place(which, folder) for folder in folders for which in TITLES if _is_here(which, folder)
    ]


def videos_of(place: Place) -> list[tuple[Place, int]]:
    """What `check_video` is to be given, for every video of a benchmark; none where it cannot be opened."""
    try:
        return [(place, k) for k in range(len(_reader(place)))]
    except ValueError:
        return []


def check_video(item: tuple[Place, int]) -> Video:
    """A video of a benchmark decoded to its end, and its truth held to the image where it is known in every frame."""
    place, number = item
    reader = _reader(place)
    name, file = reader.names[number], reader.files[number]
    clip = file / name  # no path, as a file holds many, but a name that no other has
    try:
        read = reader[number]
    except ValueError as error:
        return Video(place, number, name, 0, (Finding(file, "video", str(error), clip),))
    faults = _of_joints(read) if place.which == "badja" else _of_tracks(read)
    found = [Finding(file, kind, f"video {name}: {says}", clip) for kind, says in faults]
    return Video(place, number, name, len(read.tracks), tuple(found))


def checked(place: Place, videos: list[Video]) -> CheckedBenchmark:
    """A benchmark with its videos, in any order, and what is wrong beside them: files missing, damaged or refused."""
    try:
        reader = _reader(place)
    except ValueError as error:
        return CheckedBenchmark(place, (), (Finding(place.folder, "file", str(error)),), 0)
    videos = sorted(videos, key=lambda video: video.number)
    found = [Finding(path, "file", says) for path, says in reader.faults.items()]
    found += [finding for video in videos for finding in video.findings]
    return CheckedBenchmark(place, tuple(videos), tuple(found), len(reader.expected))


def _is_here(which: str, folder: Path) -> bool:
    if which in SETS:
        return any((folder / name).is_file() for name in SETS[which].files)
    names = {
        "badja": ("joint_annotations",),
        "fastcapture": (fastcapture.VIDEOS, fastcapture.TRACKS),
    }[which]
    return any((folder / name).is_dir() for name in names)


@lru_cache(8)
def _reader(place: Place) -> TapVid | BADJA | FastCapture:
    if place.which in SETS:
        return TapVid(place.folder, place.which)
    return {"badja": BADJA, "fastcapture": FastCapture}[place.which](place.folder)


def _of_tracks(clip: Clip) -> list[tuple[str, str]]:
    """Kind and words of what the image says of tracks that are known in every frame."""
    count = min(len(clip.tracks), JUDGED)
    pictures = np.stack(
        [grey(clip.video[t : t + 1][0].permute(1, 2, 0).contiguous().numpy()) for t in range(count)]
    )
    known = clip.valid & clip.tracks.isfinite().all(-1)
    tracks = clip.tracks.nan_to_num()
    verdict = judge(pictures, *(value[:count].numpy() for value in (tracks, clip.visible, known)))
    return [(verdict.kind, verdict.says)] if verdict.kind else []


def _of_joints(clip: Clip) -> list[tuple[str, str]]:
    """Kind and words of joints outside the pictures, and of frames where they are to be measured against no animal."""
    height, width = clip.video.shape[-2:]
    found, shown = [], clip.visible & clip.valid
    lost = (
        (~inside_frame(clip.tracks, (height, width)))[shown].float().mean().item()
        if shown.any()
        else 0.0
    )
    if lost > OUTSIDE:
        says = (
            f"{lost:.0%} of the joints it calls visible lie outside the {width}x{height} pictures"
        )
        found.append(
            (
                "outside",
                f"{says}: scale the annotations to the size of the pictures, or take those they are of",
            )
        )
    empty = (shown.any(1) & ~(clip.masks > 0).flatten(1).any(1)).nonzero()[:, 0].tolist()
    if empty:
        says = f"the mask of frame {empty[0]} of the clip{' and of others' if len(empty) > 1 else ''} shows no animal"
        found.append(
            (
                "mask",
                f"{says}, though joints are visible: its first channel, once coloured, must be above 0",
            )
        )
    return found
