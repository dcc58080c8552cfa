"""Files and folders that appear whole or not at all, and JSON read with clear errors."""

import json
import math
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil
from filelock import FileLock, Timeout

PARTIAL = ".partial"  # ends the names of files that are being written
PARTIAL_FOLDER = ".cotracker-partial-"  # begins the names of folders that are being written
LOCK = ".lock"  # the file by which a process keeps a folder to itself
DEEPEST = 50  # containers within containers of a JSON text; ours have six
LONGEST_NUMBER = 20  # characters of a whole number in a JSON text


@contextmanager
def replace_file(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file that replaces `path` when the block ends well; otherwise it is removed.

    The folder of `path` is made if it is missing. A reader sees the old file or the new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        opened = tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=path.name, suffix=PARTIAL, delete=False
        )
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with opened as file:  # which writes what is left when it closes, and may fail anew
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o644)
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise _named(error, opened.name, path) from error


def _named(error: OSError, hidden: str, path: Path) -> OSError:
    """The error, naming what was to be written instead of the hidden file or folder on the way."""
    name = str(error.filename or hidden)
    if not error.errno or not name.startswith(hidden):
        return error
    return OSError(error.errno, error.strerror, f"{path}{name.removeprefix(hidden)}")


def public_name(name: str) -> str:
    """What a file that is being written will be called: the name without our temporary parts."""
    name = re.sub(rf"{re.escape(PARTIAL_FOLDER)}[^/\\]*[/\\]", "", name)
    return re.sub(rf".{{8}}{re.escape(PARTIAL)}$", "", name)


def refuse_special(path: str | Path) -> None:
    """ValueError where the path is a pipe, a device or a folder: a pipe may have no end."""
    mode = Path(path).stat().st_mode if Path(path).exists() else stat.S_IFREG
    if stat.S_ISDIR(mode):
        raise ValueError(f"{path} is a folder: give a file")
    if not stat.S_ISREG(mode):
        raise ValueError(
            f"{path} is a pipe or a device, which cannot be read twice: save it as a file first"
        )


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


def parse_json(text: str | bytes) -> object:
    """The value of a JSON text; ValueError where it is none, or holds what no file of ours does.

    That is NaN, infinity, numbers of more than 64 bits, and nesting deeper than DEEPEST.
    """
    try:
        value = json.loads(
            text, parse_constant=_refuse_number, parse_float=_finite, parse_int=_short
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    todo = [(value, 0)]
    while todo:
        value_within, depth = todo.pop()
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")
        if isinstance(value_within, dict):
            todo += [(one, depth + 1) for one in value_within.values()]
        elif isinstance(value_within, list):
            todo += [(one, depth + 1) for one in value_within]
    return value


def _refuse_number(text: str) -> float:
    raise ValueError(f"it holds the number {text[:20]}")


def _finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _refuse_number(text)


def _short(text: str) -> int:
    return int(text) if len(text) <= LONGEST_NUMBER else _refuse_number(text)


def read_json(path: str | Path) -> dict:
    """The dictionary in a JSON file; ValueError, one sentence, where there is none."""
    refuse_special(path)
    try:
        value = parse_json(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as JSON: it is missing or damaged, remove it"
        ) from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not what evaluate.py wrote: it should hold a JSON object")
    return value


@contextmanager
def lock_folder(folder: Path, wait: float = 10.0) -> Iterator[None]:
    """Makes the folder where it is missing, and keeps other processes from writing there.

    A folder that was made here and in which nothing was written is removed.
    wait: seconds for another process to end; the workers of one that was killed end a little later.
    ValueError: it is a file, cannot be written to, or another process is writing there.
    """
    lock = FileLock(folder / LOCK)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait)
    except Timeout:
        raise ValueError(
            f"another process is writing into {folder}: wait for it or choose another folder"
        ) from None
    except OSError as error:
        raise ValueError(
            f"cannot write into {folder} ({error.strerror}): choose another folder"
        ) from error
    try:
        yield
    finally:
        if made and [path.name for path in folder.iterdir()] == [LOCK]:
            with suppress(OSError):
                (folder / LOCK).unlink()
                for path in made:
                    path.rmdir()
        lock.release()


def remove_partial(folder: Path, names: Iterable[str]) -> None:
    """Removes what a killed process left of its unfinished files of these names, and nothing else.

    Called while no other process writes into the folder.
    """
    for name in names:
        own = re.compile(rf"{re.escape(name)}\w{{8}}{re.escape(PARTIAL)}")  # as tempfile names it
        for path in folder.glob(f"{name}*{PARTIAL}"):
            if own.fullmatch(path.name):
                path.unlink(missing_ok=True)


@contextmanager
def output_folder(path: Path, names: Iterable[str]) -> Iterator[Path]:
    """A temporary folder whose files move into `path` when the block ends well, or are removed.

    names: the files that the block makes.
    `path` may exist; its other files are kept. It is made only at the end. Each file moves in one
    step, one after the other: a kill in between can leave some new and some old.
    ValueError, with nothing moved, where `path` cannot be a folder or a name there is a folder.
    """
    absolute = path.absolute()
    for parent in [absolute, *absolute.parents]:
        if parent.is_symlink() and not parent.exists():
            raise ValueError(f"{parent} is a link to {os.readlink(parent)}, which does not exist")
    nearest = next(parent for parent in [absolute, *absolute.parents] if parent.exists())
    if not nearest.is_dir():
        raise ValueError(
            f"{nearest} is a file, so nothing can be written into {path}: choose another --out"
        )
    _refuse_folders(path, names)
    # within `path` when it exists: the same file system, so that moving is one step
    with temporary_folder(nearest) as temporary:
        try:
            yield temporary
            path.mkdir(parents=True, exist_ok=True)
            files = sorted(temporary.iterdir())
            _refuse_folders(path, [file.name for file in files])  # again: it may have taken hours
            for file in files:
                os.replace(file, path / file.name)
        except OSError as error:
            raise _named(error, str(temporary), path) from error


@contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder that is removed at the end; those of killed processes are removed first.

    parent: where it is made; None for the system's place for such.
    ValueError where it cannot be made.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    _remove_orphans(parent)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{_own_prefix()}{os.getpid()}-", dir=parent))
    except OSError as error:
        reason = f"cannot be written to ({error.strerror})"
        raise ValueError(f"{parent} {reason}: choose another folder") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _own_prefix() -> str:
    """How the names of this machine's unfinished folders begin; then comes the process."""
    return f"{PARTIAL_FOLDER}{socket.gethostname()}-"


def _remove_orphans(folder: Path) -> None:
    """Removes the unfinished folders of this machine's processes that were killed."""
    for path in folder.glob(f"{PARTIAL_FOLDER}*"):
        number = path.name.removeprefix(_own_prefix()).partition("-")[0]
        if path.name.startswith(_own_prefix()) and number.isdecimal():
            if not psutil.pid_exists(int(number)):
                shutil.rmtree(path, ignore_errors=True)


def _refuse_folders(path: Path, names: Iterable[str]) -> None:
    for name in names:
        if (path / name).is_dir():
            raise ValueError(
                f"{path / name} is a folder, where a file is to be written: choose another --out"
            )
