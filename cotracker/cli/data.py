"""`cotracker data check DIR [--repair]`: its arguments and what it prints."""

import argparse
import os
import sys
import time
from pathlib import Path

from tqdm import tqdm

from cotracker.cli.arguments import count_words, parse_whole
from cotracker.data.check import Report, check
from cotracker.data.check.clip import Finding
from cotracker.data.check.folders import TITLES, CheckedBenchmark
from cotracker.data.check.repair import RepairReport, repair
from cotracker.data.check.video_file import check_video_file
from cotracker.files import write_json


def add_to(commands) -> None:
    """Adds `data check` to the subparsers of the command line."""
    data = commands.add_parser("data", help="check folders of clips to train on, and benchmarks")
    kinds = data.add_subparsers(
        dest="data", required=True, metavar="COMMAND", parser_class=type(data)
    )
    command = kinds.add_parser(
        "check",
        help="find what is wrong in a folder of clips, a benchmark or a video, and name each file",
    )
    command.set_defaults(run=check_data)
    add = command.add_argument
    points = "fewest points visible in a clip's first or middle frame (default: 256)"
    folder = "clips in Kubric's layout, a benchmark, a folder of several of these, or a video file"
    fix = (
        "put right what can be: invert visibility, cut tracks, move broken clips to DIR/.broken, "
        "write a new manifest; nothing is deleted"
    )
    add("folder", type=Path, metavar="DIR", help=folder)
    add("--repair", action="store_true", help=fix)
    add("--points", type=parse_whole, default=256, metavar="N", help=points)
    add(
        "--workers",
        type=parse_whole,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes (default: one a core)",
    )
    add("--json", type=Path, metavar="FILE", help="write all findings there too")


def check_data(arguments: argparse.Namespace) -> int:
    """Exit code 1 where faults remain, 130 after Ctrl-C in a repair, else 0; prints the faults."""
    if arguments.json is not None and not arguments.json.absolute().parent.is_dir():
        raise ValueError(
            f"the folder of --json {arguments.json} does not exist: make it, or choose another"
        )
    if arguments.folder.exists() and not arguments.folder.is_dir():
        return _check_video(arguments)
    began = time.perf_counter()
    with tqdm(desc="checking", unit="clip", dynamic_ncols=True) as bar:

        def seen(total: int) -> None:
            bar.total = total
            bar.update()

        report = check(arguments.folder, arguments.points, arguments.workers, seen)
    seconds = time.perf_counter() - began
    print("".join(f"{finding}\n" for finding in report.findings), end="")
    print(summary(arguments.folder, report, seconds))
    print("".join(f"{of_benchmark(one)}\n" for one in report.benchmarks), end="")
    repaired = RepairReport((), report.findings)
    if arguments.repair:
        try:
            repaired = repair(report, arguments.points)
        except KeyboardInterrupt:
            print(
                "cotracker: interrupted, the same command goes on with the repair", file=sys.stderr
            )
            return 130
        print("".join(f"repaired {sentence}\n" for sentence in repaired.done), end="")
        print(_ending(repaired))
    if arguments.json is not None:
        _write_json(arguments.json, arguments.folder, report, repaired)
    return 1 if repaired.remaining else 0


def _check_video(arguments: argparse.Namespace) -> int:
    """Exit code 1 where a video file has a fault, else 0; prints it."""
    file = arguments.folder
    if arguments.repair:
        raise ValueError(f"{file} is a file, and --repair is for folders: leave it out")
    count, findings = check_video_file(file)
    print("".join(f"{finding}\n" for finding in findings), end="")
    found = count_words(len(findings), "finding") if findings else "nothing wrong"
    print(f"{file} with {count_words(count, 'frame')}: {found}")
    if arguments.json is not None:
        listed = list(map(_as_json, findings))
        write_json(arguments.json, {"file": str(file), "frames": count, "findings": listed})
    return 1 if findings else 0


def summary(folder: Path, report: Report, seconds: float) -> str:
    """One line: how many clips, what is wrong with them, and the rate."""
    bad = {finding.clip for finding in report.findings if finding.clip is not None}
    wrong = (
        f"{count_words(len(report.findings), 'finding')}, {count_words(len(bad), 'clip')} affected"
    )
    blind = sum(clip.followed is None and not clip.findings for clip in report.clips)
    unseen = (
        f"; {count_words(blind, 'clip')} too plain to hold the tracks to the image" if blind else ""
    )
    looked = [*report.clips, *(video for one in report.benchmarks for video in one.videos)]
    frames = count_words(sum(clip.frames for clip in looked), "frame")
    rate = f"{len(looked) / max(seconds, 1e-9):.1f} clips/s"
    clips = count_words(len(looked), "clip")
    wrong = wrong if report.findings else "nothing wrong"
    return f"{clips} with {frames} in {folder}: {wrong}{unseen} ({rate})"


def of_benchmark(one: CheckedBenchmark) -> str:
    """One line: which benchmark, where, and how many of its videos can be measured on."""
    good = sum(video.frames > 0 for video in one.videos)
    videos = f"{good} of {one.expected} videos" if one.expected else count_words(good, "video")
    return f"{TITLES[one.location.kind]} in {one.location.folder}: {videos} can be read"


def _ending(repaired: RepairReport) -> str:
    remain = (
        f"{count_words(len(repaired.remaining), 'finding')} left alone:"
        if repaired.remaining
        else "nothing remains"
    )
    return "\n".join(
        [f"{count_words(len(repaired.done), 'repair')}, {remain}", *map(str, repaired.remaining)]
    )


def _write_json(file: Path, folder: Path, report: Report, repaired: RepairReport) -> None:
    data = {
        "folder": str(folder),
        "sets": list(map(str, report.sets)),
        "clips": [
            {"clip": str(c.folder), "frames": c.frames, "followed": c.followed}
            for c in report.clips
        ],
        "benchmarks": list(map(_benchmark_as_json, report.benchmarks)),
        "findings": list(map(_as_json, report.findings)),
        "repaired": list(repaired.done),
        "remaining": list(map(_as_json, repaired.remaining)),
    }
    write_json(file, data)


def _benchmark_as_json(one: CheckedBenchmark) -> dict:
    where = {
        "benchmark": TITLES[one.location.kind],
        "folder": str(one.location.folder),
        "expected": one.expected or None,
    }
    return where | {
        "videos": [{"clip": video.name, "frames": video.frames} for video in one.videos]
    }


def _as_json(finding: Finding) -> dict:
    clip = None if finding.clip is None else str(finding.clip)
    return {"file": str(finding.file), "clip": clip, "kind": finding.kind, "says": finding.message}
