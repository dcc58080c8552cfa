"""Fetches the benchmarks that have a public address, and says how the others are come by.

python scripts/download.py davis rgb_stacking robotap --out datasets     into datasets/tapvid_davis and so on
python scripts/download.py badja                                         how to get it: also fastcapture and kinetics
python scripts/download.py davis --sha256 HASH --url MIRROR              from elsewhere, and only if it is that file

Stopped in any way, the same command goes on where it was. What was fetched is written down in OUT/downloads.json with
its sha256; a later download of another content is refused. Exit code: 0 all there, 1 some must be asked for, 2 error.
"""

import argparse
import errno
import hashlib
import http.client
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from cotracker.data.tapvid import SETS, found

CHUNK = 1 << 20
TRIES = 5  # without a single byte more
RECORD = "downloads.json"


@dataclass(frozen=True)
class Source:
    """Where a set is: the address of a zip, and its sha256, None where nobody here has downloaded it yet."""

    url: str
    sha256: str | None = None


# As TAP-Vid's README gave them, from memory: they were not tried where this was written, so no hash is known.
SOURCES = {
    "davis": Source("https://storage.googleapis.com/dm-tapnet/tapvid_davis.zip"),
    "rgb_stacking": Source("https://storage.googleapis.com/dm-tapnet/tapvid_rgb_stacking.zip"),
    "robotap": Source("https://storage.googleapis.com/dm-tapnet/robotap/robotap.zip"),
}
ASKED = {
    "kinetics": """TAP-Vid-Kinetics has no download: its videos are YouTube's, and each user makes the ten shards.
  1. Get the Kinetics-700-2020 validation videos, cut to the clips of its list (1144 of them could be had in 2024).
  2. Get the annotations, https://storage.googleapis.com/dm-tapnet/tapvid_kinetics.zip, and TAP-Vid's generate_tapvid.py
     (github.com/google-deepmind/tapnet), which makes 0000_of_0010.pkl to 0009_of_0010.pkl of the two.
  3. Put them into DIR/tapvid_kinetics/.""",
    "badja": """BADJA is annotations on videos of DAVIS, and the two come from two places.
  1. Annotations: the folder joint_annotations of github.com/benjiebob/BADJA, into DIR/joint_annotations/.
  2. DAVIS 2017 trainval at full resolution, from davischallenge.org, so that DIR/DAVIS/JPEGImages/Full-Resolution/ and
     DIR/DAVIS/Annotations/Full-Resolution/ are there. Seven sequences are used: bear, camel, cows, dog, dog-agility,
     horsejump-high and horsejump-low. The videos outside DAVIS (extra_videos) are not.""",
    "fastcapture": """FastCapture is renders of ZJU-MoCap, which is given to researchers on request
  (github.com/zju3dv/neuralbody says how); CoTracker's authors do not hand out the renders and advise other benchmarks.
  The layout is DIR/renders_local_rm/NAME/*.png and DIR/zju_tracking/NAME.pth.""",
}


def main(argv: list[str] | None = None) -> int:
    """The exit code; 2 after a sentence on what is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = [*SOURCES, *ASKED]
    parser.add_argument("names", nargs="+", metavar="NAME", choices=every, help=" ".join(every))
    parser.add_argument("--out", type=Path, default=Path("datasets"), metavar="DIR")
    parser.add_argument("--sha256", metavar="HASH", help="what the zip must be; of one NAME")
    parser.add_argument("--url", help="another address of the zip; of one NAME")
    arguments = parser.parse_args(argv)
    try:
        return fetch_all(arguments.names, arguments.out, arguments.url, arguments.sha256)
    except KeyboardInterrupt:
        print("download: interrupted, the same command goes on", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"download: {error}", file=sys.stderr)
        return 2


def fetch_all(names: list[str], out: Path, url: str | None, sha256: str | None) -> int:
    """0 when all are there, 1 when some must be asked for, which is printed. ValueError, OSError: one can't be had."""
    if (url or sha256) and (len(names) != 1 or names[0] not in SOURCES):
        raise ValueError(
            f"--url and --sha256 are of one zip: give one NAME of {', '.join(SOURCES)}"
        )
    if sha256 and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"--sha256 {sha256} is not 64 hexadecimal digits")
    asked = 0
    for name in names:
        if name in ASKED:
            print(ASKED[name])
            asked = 1
        else:
            source = SOURCES[name]
            fetch(
                name,
                Source(url or source.url, (sha256 or source.sha256 or "").lower() or None),
                out,
            )
    return asked


def fetch(name: str, source: Source, out: Path, pause: float = 1.0) -> None:
    """Puts a set into `out`, and its hash into downloads.json; nothing where it is there. ValueError: it can't be had.

    pause: seconds before a broken connection is tried again, doubled each time.
    """
    folder, paths = found(out, name)
    if len(paths) == len(SETS[name].files):
        print(f"{name}: already in {folder}")
        return
    out.mkdir(parents=True, exist_ok=True)
    part, record = out / f".{name}.zip.part", written_down(out)
    download(source.url, part, pause)
    digest = sha256_of(part)
    known = source.sha256 or record.get(name, {}).get("sha256")
    if known not in (None, digest):
        forget(part)
        where = "known" if source.sha256 else f"in {out / RECORD} from an earlier download"
        raise ValueError(
            f"{source.url} has sha256 {digest}, but {known} is {where}: do not use it, and find out why"
        )
    unpack(part, out)
    folder, paths = found(out, name)
    if not paths:
        raise ValueError(f"{source.url} held no {SETS[name].files[0]}: is it the right address?")
    entry = {"url": source.url, "sha256": digest, "bytes": part.stat().st_size}
    write_down(out, record | {name: entry})
    forget(part)
    checked = "as it should be" if known else "which is not pinned: nobody here knew it"
    print(
        f"{name}: {len(paths)} of {len(SETS[name].files)} files in {folder} (sha256 {digest}, {checked})"
    )
    print(f"written down in {out / RECORD}; look at it with: cotracker data check {folder}")


def download(url: str, part: Path, pause: float) -> None:
    """Makes `part` the whole of what is at an address, from what is in it already. ValueError: it can't be had."""
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url} is no address of the web: it should begin with https://")
    idle = 0
    while idle < TRIES:
        before = size_of(part)
        try:
            go_on(url, part)
            return
        except urllib.error.HTTPError as error:
            if error.code not in (408, 429, 500, 502, 503, 504):
                raise ValueError(
                    f"{url} answers {error.code} {error.reason}: it may have moved"
                ) from error
            reason = f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in (
                errno.ENOSPC,
                errno.EDQUOT,
                errno.EACCES,
                errno.EROFS,
            ):
                raise ValueError(
                    f"{part} cannot be written ({error.strerror}): make room, then run again"
                ) from error
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        idle = 0 if size_of(part) > before else idle + 1
        if idle < TRIES:
            time.sleep(pause * 2**idle)
    raise ValueError(
        f"{url} cannot be reached ({reason}): run again later, {size_of(part)} bytes are here already"
    )


def go_on(url: str, part: Path) -> None:
    """Appends what is missing, or begins anew where the file there is another by now. OSError: the connection broke."""
    have, stamp = size_of(part), part.with_name(part.name + ".version")
    version = stamp.read_text() if stamp.is_file() and have else ""
    headers = {"Range": f"bytes={have}-", "If-Range": version} if version else {}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # it has no bytes beyond ours: ours are all, or of another file
            if error.headers.get("Content-Range", "") == f"bytes */{have}":
                return
            forget(part)
            raise OSError("the file there became another one") from error
        raise
    with answer:
        begin = begins_at(answer)
        if begin not in (0, have):
            raise OSError(f"it sent bytes from {begin} on, not from {have}")
        length = answer.headers.get("Content-Length")
        total = None if length is None else begin + int(length)
        stamp.write_text(answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")
        with open(part, "ab" if begin else "wb") as file:
            bar = tqdm(
                desc=part.name,
                total=total,
                initial=begin,
                unit="B",
                unit_scale=True,
                dynamic_ncols=True,
            )
            with bar:
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
    if total is not None and size_of(part) != total:
        raise OSError(f"the connection ended after {size_of(part)} of {total} bytes")


def begins_at(answer: http.client.HTTPResponse) -> int:
    """The place in the file of an answer's first byte."""
    said = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(said[1]) if answer.status == 206 and said else 0


def unpack(file: Path, out: Path) -> None:
    """Moves all files of a zip into `out`, each in one step. ValueError: it is damaged, or would write elsewhere."""
    work = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=out))
    try:
        with zipfile.ZipFile(file) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            refuse_unsafe(members, file)
            needed, free = sum(one.file_size for one in members), shutil.disk_usage(out).free
            if needed > free:
                raise ValueError(
                    f"{out} has {free >> 20} MB free, {needed >> 20} MB are needed: make room, run again"
                )
            for member in members:
                archive.extract(member, work)
        for path in sorted(one for one in work.rglob("*") if one.is_file()):
            target = out / path.relative_to(work)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        forget(file)
        raise ValueError(
            f"what was downloaded is no whole zip ({error}): run again to fetch it anew"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def refuse_unsafe(members: list[zipfile.ZipInfo], file: Path) -> None:
    """Nothing; ValueError where a member would lie outside the folder, or is a link."""
    for member in members:
        name = PurePosixPath(member.filename)
        outside = (
            name.is_absolute()
            or ".." in name.parts
            or "\\" in member.filename
            or ":" in member.filename
        )
        if outside or stat.S_ISLNK(member.external_attr >> 16):
            forget(file)
            raise ValueError(
                f"the zip wants to write {member.filename}, outside its folder: do not use it"
            )


def written_down(out: Path) -> dict:
    """What downloads.json says, {} where there is none."""
    path = out / RECORD
    try:
        held = json.loads(path.read_text()) if path.exists() else {}
        return {name: dict(entry) for name, entry in held.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is not what this wrote: move it away") from error


def write_down(out: Path, record: dict) -> None:
    beside = out / f".{RECORD}.{os.getpid()}"
    beside.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    os.replace(beside, out / RECORD)


def forget(part: Path) -> None:
    for path in (part, part.with_name(part.name + ".version")):
        path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
