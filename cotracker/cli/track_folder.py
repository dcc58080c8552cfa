"""`cotracker track-folder`: all videos of a folder, tracked one after the other; it resumes."""

import argparse
import json
import time
from pathlib import Path

from cotracker.checks import fits
from cotracker.cli import arguments as kinds
from cotracker.cli import track
from cotracker.cli.making import add_tracker, load
from cotracker.data.video.images import is_picture
from cotracker.files import read_json, write_json
from cotracker.trackers.tracker import Tracker

VIDEOS = ".mp4 .mov .avi .mkv .webm .m4v .mpg .mpeg .ts .gif .y4m".split()
FORMAT = 2  # of the report
REPORT = {"settings": dict, "videos": {str: {"status": str}}}  # what is read of an earlier one


def add_to(commands) -> None:
    """Adds `track-folder` to the subparsers of the command line."""
    text = "track points through all videos of a folder; the same command resumes"
    command = commands.add_parser("track-folder", help=text)
    command.set_defaults(run=track_folder)
    add = command.add_argument
    points = "a file of points for all videos, or a folder with NAME.csv for each"
    shard = "only the i-th of n parts of the videos, i from 1 to n: one machine each"
    add("folder", type=Path, metavar="DIR", help="video files, and folders of pictures")
    add("--out", type=Path, required=True, metavar="DIR", help="DIR/NAME gets the files of NAME")
    add("--shard", type=parse_shard, default=(1, 1), metavar="i/n", help=shard)
    track.add_queries(command, points)
    add_tracker(command)


def track_folder(arguments: argparse.Namespace) -> int:
    """Exit code 1 where a video could not be tracked, else 0; all others are tracked."""
    found = find_videos(arguments.folder)
    if arguments.out.exists() and arguments.out.samefile(arguments.folder):
        raise ValueError(f"--out {arguments.out} is the folder of the videos: choose another")
    part, parts = arguments.shard
    mine = list(found.items())[part - 1 :: parts]
    report = Report(arguments, [name for name, _ in mine])
    tracker = None
    for name, path in mine:
        if report.is_done(name):
            print(f"{name}: done before")
            continue
        tracker = load(arguments) if tracker is None else tracker
        report.add(name, track_one(arguments, tracker, path, arguments.out / name))
    return report.conclude()


def track_one(arguments: argparse.Namespace, tracker: Tracker, path: Path, out: Path) -> dict:
    """A row of the report: {status, seconds} and, of a broken video, {reason}."""
    one = argparse.Namespace(**vars(arguments))
    one.video, one.out = path, out
    if one.points is not None and one.points.is_dir():
        one.points = one.points / f"{path.stem}.csv"
    began = time.perf_counter()
    try:
        track.track_into(one, tracker)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"{path}: {reason}")
        return {"status": "broken", "reason": reason}
    return {"status": "done", "seconds": round(time.perf_counter() - began, 2)}


class Report:
    """What became of each video, in DIR/report.json; of a part, in DIR/report_1of4.json.

    ValueError, one sentence: the folder holds tracks that were made with other settings.
    """

    def __init__(self, arguments: argparse.Namespace, names: list[str]):
        part, parts = arguments.shard
        suffix = "" if parts == 1 else f"_{part}of{parts}"
        self.out, self.names = arguments.out, names
        self.path = arguments.out / f"report{suffix}.json"
        left_out = ("run", "command", "folder", "out", "shard", "device", "memory")
        settings = {k: v for k, v in vars(arguments).items() if k not in left_out}
        settings = json.loads(json.dumps(settings, default=str))  # as read back: paths are texts
        self.record = {"format": FORMAT, "settings": settings, "videos": {}}
        for path in sorted(arguments.out.glob("report*.json")):
            self._continue(path, settings)

    def _continue(self, path: Path, settings: dict) -> None:
        """Takes the videos that are done from an earlier report."""
        before = read_json(path)
        if before.get("format") != FORMAT or not fits(before, REPORT):
            raise ValueError(
                f"{path} is no report of this version, or was changed: choose another --out"
            )
        if before.get("settings") != settings:
            raise ValueError(
                f"{path.parent} holds tracks that were made with other settings: choose another "
                f"--out, or repeat those of {path}"
            )
        done = {name: row for name, row in before["videos"].items() if row["status"] == "done"}
        self.record["videos"] |= {name: row for name, row in done.items() if name in self.names}

    def is_done(self, name: str) -> bool:
        """Whether the video's files are all there, and the report says so."""
        files = (self.out / name / file for file in track.OUTPUTS)
        return name in self.record["videos"] and all(file.is_file() for file in files)

    def add(self, name: str, row: dict) -> None:
        """Records what became of a video, at once."""
        self.record["videos"][name] = row
        write_json(self.path, self.record)

    def conclude(self) -> int:
        """The exit code: 1 where a video is broken; says the counts and the reasons."""
        write_json(self.path, self.record)
        rows = self.record["videos"]
        broken = {name: row["reason"] for name, row in rows.items() if row["status"] == "broken"}
        done = kinds.count_words(len(rows) - len(broken), "video")
        print(f"{done} tracked, {len(broken)} broken: {self.path}")
        for name, reason in broken.items():
            print(f"  {name}: {reason}")
        return 1 if broken else 0


def find_videos(folder: Path) -> dict[str, Path]:
    """The videos of a folder by name, in order: files, and folders that hold pictures.

    The name is the file's without its ending, or with it where two videos would have one name.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give one with videos in it")
    paths = sorted(path for path in folder.iterdir() if _is_video(path))
    if not paths:
        raise ValueError(
            f"{folder} holds no video: put mp4, mov, avi, mkv, webm or gif files there"
        )
    stems = [path.stem for path in paths]
    return {path.stem if stems.count(path.stem) == 1 else path.name: path for path in paths}


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) of a text such as 2/4."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts) < 10**6):
        raise argparse.ArgumentTypeError(
            f"{text} is not a part such as 2/4: 1/4 is the first of four, 4/4 the last"
        )
    return int(part), int(parts)


def _is_video(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return any(is_picture(one) for one in path.iterdir())
    return path.suffix.lower() in VIDEOS
