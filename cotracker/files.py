"""Files and folders that appear whole or not at all, and JSON read with clear errors."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PARTIAL = ".partial"  # ends the names of files that are being written
PARTIAL_FOLDER = ".cotracker-partial-"  # begins the names of folders that are being written


@contextmanager
def replace_file(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file that replaces `path` when the block ends well; otherwise it is removed.

    The folder of `path` is made if it is missing. A reader sees the old file or the new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=path.name, suffix=PARTIAL, delete=False
    ) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes `data` at `path` atomically."""
    with replace_file(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> Path:
    """The path of the UTF-8 text file just written, atomically."""
    write_bytes(path, text.encode())
    return Path(path)


def write_json(path: str | Path, value: dict | list) -> Path:
    """The path of the JSON file just written, atomically; ValueError for NaN or infinity."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> dict:
    """The dictionary in a JSON file; ValueError, one sentence, where there is none."""
    try:
        value = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as JSON: it is missing or damaged, remove it"
        ) from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not what evaluate.py wrote: it should hold a JSON object")
    return value


@contextmanager
def output_folder(path: Path, names: Iterable[str]) -> Iterator[Path]:
    """A temporary folder whose files move into `path` when the block ends well, or are removed.

    names: the files that the block makes.
    `path` may exist; its other files are kept. It is made only at the end. Each file moves in one
    step, one after the other: a kill in between can leave some new and some old.
    ValueError, with nothing moved, where `path` cannot be a folder or a name there is a folder.
    """
    absolute = path.absolute()
    nearest = next(parent for parent in [absolute, *absolute.parents] if parent.exists())
    if not nearest.is_dir():
        raise ValueError(
            f"{nearest} is a file, so nothing can be written into {path}: choose another --out"
        )
    _refuse_folders(path, names)
    try:  # within `path` when it exists: the same file system, so that moving is one step
        temporary = Path(tempfile.mkdtemp(prefix=PARTIAL_FOLDER, dir=nearest))
    except PermissionError:
        raise ValueError(f"{nearest} cannot be written to: choose another --out") from None
    try:
        yield temporary
        path.mkdir(parents=True, exist_ok=True)
        files = sorted(temporary.iterdir())
        _refuse_folders(path, [file.name for file in files])  # again: it may have taken hours
        for file in files:
            os.replace(file, path / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_overwriting(path: Path, names: Iterable[str], inputs: Iterable[Path]) -> None:
    """ValueError where one of the inputs is one of the files to be written into `path`."""
    for one in inputs:
        for file in (path / name for name in names):
            if file.exists() and one.exists() and file.samefile(one):
                raise ValueError(
                    f"{one} would be overwritten by {file}, one of the results: "
                    "choose another --out"
                )


def _refuse_folders(path: Path, names: Iterable[str]) -> None:
    for name in names:
        if (path / name).is_dir():
            raise ValueError(
                f"{path / name} is a folder, where a file is to be written: choose another --out"
            )
