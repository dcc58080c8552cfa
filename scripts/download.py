"""Downloads the benchmarks that have a public address.

python scripts/download.py davis rgb_stacking robotap --out datasets
python scripts/download.py davis --url MIRROR --sha256 HASH

docs/datasets.md explains how to get kinetics, badja and fastcapture, which have no download.
Run the same command again to resume after an interruption. OUT/downloads.txt is the registry: the
sha256 of each zip, which a later download must have. Exit code: 0 all are there, 2 error.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import pooch
import requests
from tqdm import tqdm

from cotracker.data.tapvid import SETS, find_files
from cotracker.files import PARTIAL_FOLDER, write_text

REGISTRY = "downloads.txt"  # lines "NAME.zip SHA256 URL", as pooch reads them
CHUNK = 2**20  # bytes; what a broken connection loses at most
ATTEMPTS = 5
TIMEOUT = 30  # seconds

# From memory of TAP-Vid's README. Nobody here has downloaded these files, so no hash is known.
URLS = {
    "davis": "https://storage.googleapis.com/dm-tapnet/tapvid_davis.zip",
    "rgb_stacking": "https://storage.googleapis.com/dm-tapnet/tapvid_rgb_stacking.zip",
    "robotap": "https://storage.googleapis.com/dm-tapnet/robotap/robotap.zip",
}


def main(argv: list[str] | None = None) -> int:
    """The exit code; 2 after a sentence on what is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", metavar="NAME", choices=URLS, help=" ".join(URLS))
    parser.add_argument("--out", type=Path, default=Path("datasets"), metavar="DIR")
    parser.add_argument("--sha256", metavar="HASH", help="what the zip must have; for one NAME")
    parser.add_argument("--url", help="another address of the zip; for one NAME")
    arguments = parser.parse_args(argv)
    if (arguments.url or arguments.sha256) and len(arguments.names) > 1:
        parser.error("--url and --sha256 are for one zip: give one NAME")
    if arguments.sha256 and not re.fullmatch("[0-9a-fA-F]{64}", arguments.sha256):
        parser.error(f"--sha256 {arguments.sha256} is not 64 hexadecimal digits")
    try:
        for name in arguments.names:
            fetch(name, arguments.out, arguments.url or URLS[name], arguments.sha256)
    except KeyboardInterrupt:
        print("download: interrupted, run the same command again to resume", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"download: {error}", file=sys.stderr)
        return 2
    return 0


def fetch(name: str, out: Path, url: str, sha256: str | None = None) -> None:
    """Puts the files of a benchmark into `out` and its zip's hash into the registry.

    Does nothing if all files are there.
    sha256: what the zip must have; None is what the registry has, if anything.
    ValueError, OSError: it cannot be had.
    """
    folder, paths = find_files(out, name)
    if len(paths) == len(SETS[name].files):
        print(f"{name}: already in {folder}")
        return
    out.mkdir(parents=True, exist_ok=True)
    zips = pooch.create(path=out, base_url="", registry={})
    if (out / REGISTRY).is_file():
        zips.load_registry(out / REGISTRY)
    file = f"{name}.zip"
    zips.registry[file] = (sha256 or "").lower() or zips.registry.get(file)
    zips.urls[file] = url
    path = Path(zips.fetch(file, downloader=download))
    zips.registry[file] = pooch.file_hash(str(path))
    _unpack(path, out)
    folder, paths = find_files(out, name)
    if not paths:
        raise ValueError(f"{url} held no {SETS[name].files[0]}: is it the right address?")
    lines = [f"{key} {value} {zips.urls[key]}\n" for key, value in sorted(zips.registry.items())]
    write_text(out / REGISTRY, "".join(lines))
    path.unlink()
    print(f"{name}: {len(paths)} of {len(SETS[name].files)} files in {folder}")
    print(f"check them with: cotracker data check {folder}")


def download(url: str, output_file: str, pooch: pooch.Pooch | None) -> None:
    """Downloads to `output_file`, as pooch calls it, and resumes what an earlier run left.

    OSError: it cannot be had.
    """
    for attempt in range(ATTEMPTS):
        try:
            part = _download_part(url, Path(output_file).parent)
            shutil.move(part, output_file)
            return
        except requests.RequestException as error:
            status = error.response.status_code if error.response is not None else 0
            if 400 <= status < 500:
                raise OSError(f"{url} answers {status}: it may have moved") from error
            if attempt == ATTEMPTS - 1:
                raise OSError(f"{url} cannot be reached ({error}): run again to resume") from error
            time.sleep(2**attempt)


def _download_part(url: str, folder: Path) -> Path:
    """The complete file, from the bytes of the same version (by its ETag) that are there."""
    with requests.head(url, allow_redirects=True, timeout=TIMEOUT) as answer:
        answer.raise_for_status()
        size = int(answer.headers.get("Content-Length", 0))
        version = re.sub(r"\W", "", answer.headers.get("ETag", ""))
    part = folder / f".{version or 'unknown'}.part"
    begin = part.stat().st_size if version and part.is_file() else 0
    if begin == size > 0:
        return part
    headers = {"Range": f"bytes={begin}-"} if 0 < begin < size else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        answer.raise_for_status()
        begin = begin if answer.status_code == requests.codes.partial_content else 0
        with (
            open(part, "ab" if begin else "wb") as file,
            tqdm(desc=url, total=size, initial=begin, unit="B", unit_scale=True) as bar,
        ):
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if size and part.stat().st_size != size:
        raise requests.ConnectionError(f"{part.stat().st_size} of {size} bytes came")
    return part


def _unpack(file: Path, out: Path) -> None:
    """Moves all files of a zip into `out`, each in one step; ValueError if it is damaged.

    zipfile takes ".." and leading slashes out of names, and writes links as plain files.
    """
    try:
        with (
            tempfile.TemporaryDirectory(prefix=PARTIAL_FOLDER, dir=out) as temporary,
            zipfile.ZipFile(file) as archive,
        ):
            archive.extractall(temporary)
            for path in sorted(path for path in Path(temporary).rglob("*") if path.is_file()):
                target = out / path.relative_to(temporary)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        file.unlink()
        raise ValueError(
            f"what was downloaded is no whole zip ({error}): run again to download it anew"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
