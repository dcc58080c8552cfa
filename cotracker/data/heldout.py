"""Drawn clips that no training run sees: benchmarks that need no download."""

import hashlib
import json
import os
import tempfile
import zipfile
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from cotracker.data.stream import ORDER, Source, attempted
from cotracker.data.synthetic.textures import Textures
from cotracker.types import Clip

HELD_OUT = ORDER + 1  # the last number of these clips' seeds: no stream of a seed below 2^32 draws a clip from such
PACKAGES = ("numpy", "opencv-python-headless", "mujoco")


class HeldOut:
    """`count` clips of a generator, by index; clip k is drawn from (seed, k, HELD_OUT), which no training example is.

    generator: a Source, a dataclass whose fields say all about it.  cache: a folder where clips once drawn are kept
    and found again, bit for bit (about 5 MB each at 24 x 256 x 320); None draws them anew each time.
    version: of what the generator draws; raise it where a change of the code changes the clips on purpose.
    made: what the clips depend on: generator, version, count, seed, settings and photographs.
    The same made gives the same clips on one machine. On another, or with another OpenCV, pixels may differ by a grey
    level; 3-D scenes by more, as OpenGL decides which points are seen: there, carry the cache along.
    """

    broken: tuple[str, ...] = ()  # as readers of files say what they could not read

    def __init__(
        self,
        generator: Source,
        count: int = 20,
        seed: int = 0,
        cache: str | None = None,
        version: int = 1,
    ):
        if type(seed) is not int or seed < 0:
            raise ValueError(f"benchmark.clips.seed must be a whole number, 0 or more, not {seed}")
        if type(version) is not int or version < 1:
            raise ValueError(f"benchmark.clips.version must be a whole number, 1 or more, not {version}")
        self.generator, self.seed = generator, seed
        self.names = self.expected = [f"{k:03d}" for k in range(count)]
        settings = json.loads(json.dumps(asdict(generator)))  # as read back: tuples are lists
        self._drawn_from = {
            "generator": type(generator).__name__,
            "version": version,
            "seed": seed,
            "settings": settings,
            "photographs": _photographs(settings.get("textures")),
        }
        self.made = {"count": count} | self._drawn_from
        self.folder = None if cache is None else Path(cache).expanduser() / self._key()

    def __len__(self) -> int:
        return len(self.expected)

    def __getitem__(self, k: int) -> Clip:
        name = self.expected[k]
        file = None if self.folder is None else self.folder / f"{name}.npz"
        arrays = _read(file)
        if arrays is None:
            arrays = self._draw(k)
            _write(file, arrays)
        return Clip(*map(torch.from_numpy, arrays), name=name, seed=(self.seed, k))

    def _draw(self, k: int) -> list[np.ndarray]:
        what = f"clip {k} of the benchmark: {type(self.generator).__name__}"
        clip = attempted(lambda rng, attempt: self.generator.clip(rng), (self.seed, k, HELD_OUT), what)
        return [value.numpy() for value in (clip.video, clip.tracks, clip.visible, clip.valid)]

    def _key(self) -> str:
        """A folder's name, another one whenever other clips may be drawn."""
        versions = [_version(package) for package in PACKAGES]
        return f"{type(self.generator).__name__.lower()}-{_hash(json.dumps([self._drawn_from, versions]).encode())}"


def _read(file: Path | None) -> list[np.ndarray] | None:
    """The arrays of a clip, or None where they are not there or damaged."""
    if file is None or not file.is_file():
        return None
    try:
        with open(file, "rb") as opened, np.load(opened) as held:
            return [held[name] for name in ("video", "tracks", "visible", "valid")]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write(file: Path | None, arrays: list[np.ndarray]) -> None:
    """Writes a clip's arrays, whole or not at all; nothing where there is no file to write."""
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside, path = tempfile.mkstemp(dir=file.parent, prefix=".partial-")
    except OSError as error:
        raise ValueError(
            f"benchmark.clips.cache={file.parent.parent} cannot be written to ({error.strerror}): give another folder"
        ) from error
    try:
        with os.fdopen(beside, "wb") as opened:
            np.savez_compressed(opened, **dict(zip(("video", "tracks", "visible", "valid"), arrays)))
        os.chmod(path, 0o644)  # as any other file: a cache may be shared
        os.replace(path, file)
    finally:
        Path(path).unlink(missing_ok=True)


def _photographs(textures: str | list[str] | None) -> str | None:
    """A hash of the names and sizes of the photographs in folders, None without folders."""
    if textures is None:
        return None
    files = [Path(file) for file in Textures(textures).files]
    return _hash("\n".join(f"{file.name} {file.stat().st_size}" for file in files).encode())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
