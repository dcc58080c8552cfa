"""The check of benchmark folders: every video is read to its end, and each fault is a Finding."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from cotracker.data import fastcapture
from cotracker.data.badja import BADJA
from cotracker.data.benchmark_reader import BenchmarkReader
from cotracker.data.check.clip import MAX_JUDGED, Finding
from cotracker.data.check.track_image import MAX_OUTSIDE, judge, to_grey
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
FOLDERS = {
    "badja": ("joint_annotations",),
    "fastcapture": (fastcapture.VIDEOS, fastcapture.TRACKS),
}


@dataclass(frozen=True)
class Location:
    """A benchmark that was found: which of TITLES, and its folder."""

    kind: str
    folder: Path


@dataclass(frozen=True)
class CheckedVideo:
    """A video that was checked: its number and name in its benchmark, and its findings.

    frames: how many were read; 0 if it cannot be read.
    """

    location: Location
    number: int
    name: str
    frames: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class CheckedBenchmark:
    """A benchmark that was checked: its videos, and all findings with theirs.

    expected: the number of videos of the complete benchmark; 0 if unknown.
    """

    location: Location
    videos: tuple[CheckedVideo, ...]
    findings: tuple[Finding, ...]
    expected: int


def find_benchmarks(root: Path) -> list[Location]:
    """The benchmarks whose files lie in the folder itself or in a folder of it."""
    _open_reader.cache_clear()  # the files may have been changed since
    inner = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return [
        Location(kind, folder)
        for folder in [root, *sorted(inner)]
        for kind in TITLES
        if _is_at(kind, folder)
    ]


def list_videos(location: Location) -> list[tuple[Location, int]]:
    """An argument for `check_video` of each video; none if the benchmark cannot be opened."""
    try:
        return [(location, number) for number in range(len(_open_reader(location)))]
    except ValueError:
        return []


def check_video(item: tuple[Location, int]) -> CheckedVideo:
    """A video of a benchmark, decoded to its end, with its tracks compared with the image.

    Tracks are compared if they are known in every frame.
    """
    location, number = item
    reader = _open_reader(location)
    name = reader.names[number]
    file = reader.files[number]
    identity = file / name  # no path, as a file holds many videos, but unique
    try:
        clip = reader[number]
    except ValueError as error:
        finding = Finding(file, "video", str(error), identity)
        return CheckedVideo(location, number, name, 0, (finding,))
    faults = _check_joints(clip) if location.kind == "badja" else _check_tracks(clip)
    findings = [
        Finding(file, kind, f"video {name}: {message}", identity) for kind, message in faults
    ]
    return CheckedVideo(location, number, name, len(clip.tracks), tuple(findings))


def collect_benchmark(location: Location, videos: list[CheckedVideo]) -> CheckedBenchmark:
    """A benchmark with its checked videos, in any order, and the faults of whole files."""
    try:
        reader = _open_reader(location)
    except ValueError as error:
        finding = Finding(location.folder, "file", str(error))
        return CheckedBenchmark(location, (), (finding,), 0)
    videos = sorted(videos, key=lambda video: video.number)
    findings = [Finding(path, "file", message) for path, message in reader.faults.items()]
    findings += [finding for video in videos for finding in video.findings]
    return CheckedBenchmark(location, tuple(videos), tuple(findings), len(reader.expected))


def _is_at(kind: str, folder: Path) -> bool:
    if kind in SETS:
        return any((folder / name).is_file() for name in SETS[kind].files)
    return any((folder / name).is_dir() for name in FOLDERS[kind])


@lru_cache(8)
def _open_reader(location: Location) -> BenchmarkReader:
    if location.kind in SETS:
        return TapVid(location.folder, location.kind)
    return {"badja": BADJA, "fastcapture": FastCapture}[location.kind](location.folder)


def _check_tracks(clip: Clip) -> list[tuple[str, str]]:
    """Kind and message of what the image contradicts in tracks that are known in every frame."""
    count = min(len(clip.tracks), MAX_JUDGED)
    frames = [clip.video[t : t + 1][0].permute(1, 2, 0).contiguous() for t in range(count)]
    valid = clip.valid & clip.tracks.isfinite().all(-1)
    truth = (clip.tracks.nan_to_num(), clip.visible, valid)
    verdict = judge(
        np.stack([to_grey(frame.numpy()) for frame in frames]),
        *(value[:count].numpy() for value in truth),
    )
    return [(verdict.kind, verdict.message)] if verdict.kind else []


def _check_joints(clip: Clip) -> list[tuple[str, str]]:
    """Kind and message of joints outside the pictures, and of frames whose mask has no animal."""
    height, width = clip.video.shape[-2:]
    seen = clip.visible & clip.valid
    outside = ~inside_frame(clip.tracks, (height, width))
    share = outside[seen].float().mean().item() if seen.any() else 0.0
    faults = []
    if share > MAX_OUTSIDE:
        message = (
            f"{share:.0%} of the joints it calls visible lie outside the {width}x{height} pictures:"
            " scale the annotations to the size of the pictures, or take those they are of"
        )
        faults.append(("outside", message))
    has_animal = (clip.masks > 0).flatten(1).any(1)
    empty = (seen.any(1) & ~has_animal).nonzero()[:, 0].tolist()
    if empty:
        others = " and of others" if len(empty) > 1 else ""
        message = (
            f"the mask of frame {empty[0]} of the clip{others} shows no animal, though joints are "
            "visible: its first channel, once coloured, must be above 0"
        )
        faults.append(("mask", message))
    return faults
