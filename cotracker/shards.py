"""Bytes in several files below a given size, found again by a small index: for places that take no large ones."""

import hashlib
import json
from pathlib import Path

KIND = "cotracker shards 1"


def split(name: str, data: bytes, most: int) -> tuple[bytes, dict[str, bytes]]:
    """The index that stands at `name`, and the files beside it: name -> bytes, each of at most `most`.

    The names hold the hash of the whole, so that new files never stand where those of an older index do.
    """
    digest = hashlib.sha256(data).hexdigest()
    starts = range(0, max(len(data), 1), most)
    files = {
        f"{name}.{digest[:12]}.{i:03d}": data[start : start + most]
        for i, start in enumerate(starts)
    }
    index = {"kind": KIND, "sha256": digest, "bytes": len(data), "files": list(files)}
    return json.dumps(index, indent=1).encode(), files


def index_of(path: str | Path) -> dict | None:
    """The index at `path`, or None where that file is something else."""
    with open(path, "rb") as file:
        if file.read(1) != b"{":
            return None
        try:
            index = json.loads(b"{" + file.read())
        except ValueError:
            return None
    return index if isinstance(index, dict) and index.get("kind") == KIND else None


def joined(path: str | Path, index: dict) -> bytes:
    """The bytes that the index at `path` names; ValueError where a file is missing or not what was written."""
    folder, parts = Path(path).parent, []
    for name in index["files"]:
        if Path(name).name != name or not (folder / name).is_file():
            raise ValueError(
                f"{path} needs {folder / Path(name).name}, which is not there: copy all of {path}.*"
            )
        parts.append((folder / name).read_bytes())
    data = b"".join(parts)
    if hashlib.sha256(data).hexdigest() != index["sha256"]:
        raise ValueError(
            f"the files of {path} are not those that were written: copy all of {path}.* anew"
        )
    return data


def leftovers(path: str | Path) -> list[Path]:
    """The files beside `path` that look like its parts and that its index, if there is one, does not name."""
    path = Path(path)
    index = (index_of(path) if path.is_file() else None) or {"files": []}
    parts = [file for file in path.parent.glob(f"{path.name}.*") if _is_part(file.name, path.name)]
    return [file for file in parts if file.name not in index["files"]]


def _is_part(name: str, of: str) -> bool:
    digest, _, number = name.removeprefix(f"{of}.").partition(".")
    return (
        len(digest) == 12
        and set(digest) <= set("0123456789abcdef")
        and len(number) == 3
        and number.isdigit()
    )
