"""Synthetic clips that no training run sees: benchmarks that need no download."""

import hashlib
import json
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from cotracker import checks
from cotracker.data.stream import HELD_OUT_SEED, Source, sample_until_good
from cotracker.data.synthetic.textures import Textures
from cotracker.files import replace_file
from cotracker.stored import read_npz
from cotracker.types import Clip

ARRAYS = ("video", "tracks", "visible", "valid")  # of a Clip
PACKAGES = ("numpy", "opencv-python-headless", "mujoco")


class HeldOut:
    """`count` clips of a generator, by index.

    Clip k is sampled by (seed, k, HELD_OUT_SEED), which no training example is: no stream of a seed
    below 2^32 samples a clip by such a seed.

    generator: a Source, a dataclass whose fields say all about it.
    cache: a folder where clips are kept, bit for bit (about 5 MB each at 24 x 256 x 320); None
    renders them each time.
    version: of what the generator gives; raise it where a change of the code changes the clips on
    purpose.
    identity: what the clips depend on: generator, version, count, seed, settings and photographs.

    The same identity gives the same clips on one machine.  On another, or with another OpenCV,
    pixels may differ by a grey level, and 3-D scenes by more, since OpenGL decides which points are
    seen: there, copy the cache.
    """

    broken: tuple[str, ...] = ()  # as of a BenchmarkReader of files
    faults: dict[Path, str] = {}
    files: list[Path] = []

    def __init__(
        self,
        generator: Source,
        count: int = 20,
        seed: int = 0,
        cache: str | None = None,
        version: int = 1,
    ):
        self.generator = generator
        self.seed = checks.whole("benchmark.clips.seed", seed, 0)
        self.names = self.expected = [f"{k:03d}" for k in range(count)]
        settings = json.loads(json.dumps(asdict(generator)))  # as read back: tuples are lists
        self._sampled_by = {
            "generator": type(generator).__name__,
            "version": checks.whole("benchmark.clips.version", version, 1),
            "seed": seed,
            "settings": settings,
            "photographs": _hash_photographs(settings.get("textures")),
        }
        self.identity = {"count": count} | self._sampled_by
        self.folder = None if cache is None else Path(cache).expanduser() / self._key()

    def __len__(self) -> int:
        return len(self.expected)

    def __getitem__(self, k: int) -> Clip:
        name = self.expected[k]
        arrays = self._sample(k) if self.folder is None else self._cached(k, f"{name}.npz")
        return Clip(*map(torch.from_numpy, arrays), name=name, seed=(self.seed, k))

    def _cached(self, k: int, name: str) -> list[np.ndarray]:
        arrays = _read(self.folder / name)
        if arrays is None:
            arrays = self._sample(k)
            _write(self.folder / name, arrays)
        return arrays

    def _sample(self, k: int) -> list[np.ndarray]:
        name = f"clip {k} of the benchmark: {type(self.generator).__name__}"
        seeds = (self.seed, k, HELD_OUT_SEED)
        clip, _ = sample_until_good(lambda rng, attempt: self.generator.clip(rng), seeds, name)
        return [getattr(clip, array).numpy() for array in ARRAYS]

    def _key(self) -> str:
        """A folder's name, which changes whenever the clips may."""
        versions = [_version(package) for package in PACKAGES]
        digest = _hash(json.dumps([self._sampled_by, versions]).encode())
        return f"{type(self.generator).__name__.lower()}-{digest}"


def _read(file: Path) -> list[np.ndarray] | None:
    """The arrays of a clip, or None where they are missing or damaged."""
    try:
        stored = read_npz(file)
        return [stored[name] for name in ARRAYS]
    except (FileNotFoundError, KeyError, ValueError):
        return None


def _write(file: Path, arrays: list[np.ndarray]) -> None:
    try:
        with replace_file(file) as opened:
            np.savez_compressed(opened, **dict(zip(ARRAYS, arrays)))
    except OSError as error:
        raise ValueError(
            f"benchmark.clips.cache={file.parent.parent} cannot be written to ({error.strerror}): "
            "give another folder"
        ) from error


def _hash_photographs(textures: str | list[str] | None) -> str | None:
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
