"""Converts MOVi-E/F TFRecords (Kubric) to clips with tracks for training, without TensorFlow.

python scripts/convert_kubric.py IN OUT [--workers 4] [--seed 0] [--size 512] [--crop]

IN: a .tfrecord file, a folder of them, or a quoted glob. Run the same command again to resume.
Exit code: 0; 1 if broken records were skipped, each named in one sentence; 2 if nothing was done.
"""

import argparse
import glob
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from cotracker import __version__
from cotracker.data.kubric.layout import describe_clip, write_clip
from cotracker.data.kubric.manifest import (
    manifest_header,
    update_manifest,
    write_manifest,
)
from cotracker.data.workers import map_in_processes
from cotracker.files import lock_folder
from cotracker.provenance import commit

try:
    from cotracker.data.kubric import movi, tfrecord
except ModuleNotFoundError as missing:
    print(f"convert_kubric.py needs {missing.name}: pip install -e '.[synth]'", file=sys.stderr)
    raise SystemExit(2) from None

POINTS = 2048
SAVE_EVERY = 100  # clips; what a killed run did not note is described from its files next time


class Job(NamedTuple):
    """One record and the clip that it becomes."""

    path: Path
    number: int
    span: tfrecord.Span
    name: str


class Result(NamedTuple):
    written: int
    there: int
    skipped: int


def main(argv: list[str] | None = None) -> int:
    """The exit code, as the module says."""
    arguments = parse(argv)
    options = {"points": POINTS} | {n: getattr(arguments, n) for n in ("crop", "size", "images")}
    try:
        if arguments.workers < 1 or (arguments.size or 8) < 8 or arguments.seed < 0:
            raise ValueError("--workers must be 1 or more, --size 8 or more, --seed 0 or more")
        result = convert(
            arguments.source, arguments.out, options, arguments.seed, arguments.workers
        )
    except ValueError as error:
        return refuse(str(error))
    except OSError as error:
        return refuse(f"{error.filename or arguments.out}: {error.strerror or error}")
    except KeyboardInterrupt:
        return refuse("stopped; run the same command again to resume", 130)
    was = f"{result.there} were there already, {result.skipped} broken records skipped"
    print(f"wrote {result.written} clips to {arguments.out} ({was})")
    return 1 if result.skipped else 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("source", metavar="IN", help="a .tfrecord file, a folder of them, or a quoted glob")
    add("out", metavar="OUT", type=Path, help="the folder of clips to make or to resume")
    workers = "processes (default 1); the clips are the same"
    add("--workers", type=int, default=1, help=workers)
    add("--seed", type=int, default=0, help="of the sampled points (default 0)")
    add("--size", type=int, help="height and width of the frames (default: as they are)")
    crop = "a random window of each clip, as published, not all of it"
    add("--crop", action="store_true", help=crop)
    add("--images", choices=("jpg", "png"), default="jpg", help="how frames are kept (default jpg)")
    return parser.parse_args(argv)


def refuse(sentence: str, code: int = 2) -> int:
    """The exit code, after the sentence on stderr."""
    print(f"convert_kubric.py: {sentence}", file=sys.stderr)
    return code


def convert(source: str, out: Path, options: dict, seed: int, workers: int) -> Result:
    """Writes a clip for each record of `source` that `out` lacks; names on stderr what it skips.

    ValueError: there is no record file, or `out` holds something else.
    """
    files = find_record_files(source)
    with lock_folder(out, wait=0):
        head = manifest_header("movi", options, seed, __version__, commit())
        manifest = update_manifest(out, head)
        there = {entry["name"] for entry in manifest["clips"]}
        jobs, problems = find_jobs(files)
        todo = [job for job in jobs if job.name not in there]
        written, skipped = 0, len(problems)
        print(*problems, sep="\n", end="\n" * bool(problems), file=sys.stderr)
        work = partial(convert_record, out=out, options=options, seed=seed)
        try:
            with (
                tqdm(
                    total=len(jobs), initial=len(jobs) - len(todo), unit="clip", disable=None
                ) as bar,
                map_in_processes(work, todo, workers if workers > 1 else 0) as done,
            ):
                for made in done:
                    bar.update()
                    if isinstance(made, str):
                        skipped += 1
                        bar.write(made, file=sys.stderr)
                    else:
                        written += 1
                        manifest["clips"].append(made)
                        if written % SAVE_EVERY == 0:
                            write_manifest(out, manifest)
        finally:
            write_manifest(out, manifest)
            update_manifest(out, head)  # with the clips that were under way when it was stopped
    return Result(written, len(jobs) - len(todo), skipped)


def find_record_files(source: str) -> list[Path]:
    """The .tfrecord files of `source` (file, folder or glob), sorted; ValueError without any."""
    path = Path(source)
    if path.is_dir():
        files = [file for file in path.rglob("*.tfrecord*") if file.is_file()]
    else:
        files = [path] if path.is_file() else map(Path, glob.glob(source, recursive=True))
    files = sorted(files)
    if not files:
        raise ValueError(
            f"{source} names no .tfrecord file: give a file, a folder of them, or a glob in quotes"
        )
    first = {}
    for file in files:
        if first.setdefault(clip_name(file, 0), file) != file:
            other = first[clip_name(file, 0)]
            raise ValueError(
                f"{other} and {file} would give clips of the same names: "
                "convert them into two folders"
            )
    return files


def clip_name(path: Path, number: int) -> str:
    """The clip's name, by its record's file and number there, the same in each conversion."""
    return f"{path.name.replace('.tfrecord', '')}-{number:04d}"


def find_jobs(files: list[Path]) -> tuple[list[Job], list[str]]:
    """All whole records of the files, and one sentence for each file that ends badly."""
    jobs, problems = [], []
    for path in tqdm(files, desc="finding records", unit="file", disable=None, leave=False):
        try:
            spans, problem = tfrecord.scan_records(path)
        except OSError as error:
            spans = []
            problem = (
                f"{path}: it cannot be read ({error.strerror}): check the disk and its permissions"
            )
        jobs += [Job(path, n, span, clip_name(path, n)) for n, span in enumerate(spans)]
        problems += [problem] if problem else []
    return jobs, problems


def convert_record(job: Job, out: Path, options: dict, seed: int) -> dict | str:
    """The manifest's entry of the clip written, or the sentence on why the record is broken."""
    if (out / job.name).exists():  # of a worker that outlived a killed run by a moment
        return describe_clip(out / job.name)
    rng = np.random.default_rng((seed, zlib.crc32(job.name.encode())))
    try:
        video, recording = movi.decode_example(tfrecord.read_record(job.path, job.span))
        clip = movi.make_clip(
            video, recording, rng, options["points"], options["crop"], options["size"]
        )
    except OSError as error:
        return (
            f"{job.path}, record {job.number}: it cannot be read ({error.strerror}): check the disk"
        )
    except ValueError as error:
        return f"{job.path}, record {job.number}: {error}"
    return write_clip(out, job.name, clip, images=options["images"])


if __name__ == "__main__":
    sys.exit(main())
