"""The endless training stream: example k is a function of (seed, k).

It is the same whatever the number of workers, and wherever a run resumes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.random import Generator
from torch.utils.data import Dataset

from cotracker import checks
from cotracker.types import Clip, check_clip

ATTEMPTS = 10
# Seed suffixes for other random choices, so that they never collide with the seeds of clips.
SOURCE_SEED = ATTEMPTS + 1
ORDER_SEED = ATTEMPTS + 2
HELD_OUT_SEED = ATTEMPTS + 3

Augment = Callable[[Clip, Generator], Clip]
Example = TypeVar("Example")


class Source(Protocol):
    """Whatever makes clips: `clip(rng)` is a pure function of the generator.

    ValueError says that this clip is bad, and why.
    """

    def clip(self, rng: Generator) -> Clip: ...


@runtime_checkable
class SceneSource(Protocol):
    """A Source whose clips can be rendered later, on another device.

    `scene(rng)` is what `clip(rng)` renders, before it has pixels.  It has a Clip's seed, replaced
    and reason.  Its `batch(scenes)` collates equal scenes: `.to(device)` of that is their Clip.
    """

    def clip(self, rng: Generator) -> Clip: ...

    def scene(self, rng: Generator): ...


@runtime_checkable
class Reader(Protocol):
    """Whatever reads a set of clips: `clip_at(position, rng)`, for 0 <= position < len.

    It is a pure function of both; frames, crop and points are sampled by `rng`.
    ValueError says that this clip is bad, and names its file.
    """

    def __len__(self) -> int: ...

    def clip_at(self, position: int, rng: Generator) -> Clip: ...


class Augmented:
    """A Reader whose clips are augmented, for a Mixture whose other clips are not.

    ValueError: `source` is no Reader.
    """

    def __init__(self, source: Reader, augment: Augment):
        if not isinstance(source, Reader):
            raise ValueError(
                f"Augmented needs a reader of clips, and {type(source).__name__} makes them: "
                "use augment=… for all clips"
            )
        self.source = source
        self.augment = augment

    def __len__(self) -> int:
        return len(self.source)

    def clip_at(self, position: int, rng: Generator) -> Clip:
        """The source's clip at `position`, augmented."""
        return augment_clip(self.source.clip_at(position, rng), self.augment, rng)


class Mixture:
    """Several sources or readers with weights.

    block: this many consecutive examples come from the same source, since clips of one batch must
    have equal shapes.  train.py sets it, by `in_blocks`, to a multiple of the batch size times the
    number of processes.
    defer_rendering: whether each SceneSource gives scenes instead of clips.
    ValueError: no source, an empty one, unfit weights, or nothing whose rendering can be deferred.
    """

    def __init__(
        self,
        sources: Sequence[Source | Reader],
        weights: Sequence[float],
        block: int = 1,
        defer_rendering: bool = False,
    ):
        weights = np.asarray(list(weights), float)
        fits = len(sources) == len(weights) > 0
        if not fits or (weights < 0).any() or weights.sum() <= 0:
            raise ValueError(
                f"a mixture of {len(sources)} sources needs as many weights, none negative: "
                f"{weights}"
            )
        if defer_rendering and not any(isinstance(source, SceneSource) for source in sources):
            kinds = ", ".join(type(source).__name__ for source in sources)
            raise ValueError(
                f"only clips of Sprites can be rendered on the device, and these data are {kinds}: "
                "let the workers render them"
            )
        for source in sources:
            if not isinstance(source, Reader) and not callable(getattr(source, "clip", None)):
                raise ValueError(
                    f"{type(source).__name__} gives no clips to train on: it needs clip(rng), or "
                    "clip_at(position, rng) and a length"
                )
            if isinstance(source, Reader) and not len(source):
                raise ValueError(f"{type(source).__name__} has no clips: its length is 0")
        self.sources = list(sources)
        self.weights = weights / weights.sum()
        self.block = checks.whole("the block of a mixture", block, 1)
        self.defer_rendering = defer_rendering
        # seed -> for blocks 0, 1, … so far: how many earlier blocks have its source; and totals
        self._earlier: dict[int, tuple[list[int], list[int]]] = {}

    def in_blocks(self, block: int) -> "Mixture":
        """The same mixture with another block."""
        return Mixture(self.sources, self.weights, block, self.defer_rendering)

    def with_deferred_rendering(self) -> "Mixture":
        """The same examples, with scenes in the place of clips wherever a source can give them."""
        return Mixture(self.sources, self.weights, self.block, defer_rendering=True)

    def source_of(self, seed: int, k: int) -> Source | Reader:
        """The source of example `k`, the same for its whole block, sampled by (seed, block)."""
        return self.sources[self._source_index(seed, k // self.block)]

    def count_before(self, seed: int, k: int) -> int:
        """How many of the examples before `k` come from its source.

        The first call takes 30 ms for 1,000 blocks.
        """
        if len(self.sources) == 1:
            return k
        block, within = divmod(k, self.block)
        counts, totals = self._earlier.setdefault(seed, ([], [0] * len(self.sources)))
        for earlier in range(len(counts), block + 1):
            index = self._source_index(seed, earlier)
            counts.append(totals[index])
            totals[index] += 1
        return self.block * counts[block] + within

    def _source_index(self, seed: int, block: int) -> int:
        if len(self.sources) == 1:
            return 0
        rng = np.random.default_rng((seed, block, SOURCE_SEED))
        return int(rng.choice(len(self.sources), p=self.weights))


def augment_clip(clip: Clip, augment: Augment | None, rng: Generator) -> Clip:
    """The clip after `augment`, if there is one; a ValueError of it names the clip."""
    if augment is None:
        return clip
    try:
        return augment(clip, rng)
    except ValueError as error:
        where = f"clip {clip.name}, augmented: " if clip.name else ""
        raise ValueError(f"{where}{error}") from error


def sample_until_good(
    make: Callable[[Generator, int], Example], seeds: tuple[int, ...], name: str
) -> tuple[Example, list[str]]:
    """An example, and the reasons why the attempts before it were bad (ValueError).

    make: called as make(rng, 0) with a generator of `seeds`; after a bad attempt n - 1, as
    make(rng, n) with one of (*seeds, n).
    ValueError: ten more attempts were bad too; it names `name` and repeats the last reason.
    """
    reasons = []
    for attempt in range(ATTEMPTS + 1):
        try:
            rng = np.random.default_rng((*seeds, attempt) if attempt else seeds)
            return make(rng, attempt), reasons
        except ValueError as error:
            last = error
            reasons.append(str(error))
    raise ValueError(
        f"{name} gave {len(reasons)} bad clips in a row, the last because: {last}"
    ) from last


class TrainingStream(Dataset):
    """`stream[k]` -> Clip with seed (seed, k): a pure function of (seed, k), for every k >= 0.

    source: a Source, a Reader or a Mixture of them.
    augment: applied to every clip; None leaves clips as they are.
    prepare: makes the loader's batch of a collated one, in its workers; None leaves it as it is.

    Example k of a Source is sampled by (seed, k).  A Reader gives each of its clips once in a pass:
    its n-th example is in pass n // len, at a position of a permutation sampled by (seed, pass);
    frames, points and augmentation are sampled by (seed, pass, k).
    A bad clip (ValueError) is replaced, up to 10 times, by one sampled by those numbers and the
    attempt, of a Reader at another position; ValueError then names the example and the last reason.
    The Clip's `replaced` counts the bad ones before it, and `reason` is the last one's.
    """

    def __init__(
        self,
        source: Source | Reader | Mixture,
        seed: int = 0,
        augment: Augment | None = None,
        prepare: Callable | None = None,
    ):
        self.mixture = source if isinstance(source, Mixture) else Mixture([source], [1.0])
        self.seed = seed
        self.augment = augment
        self.prepare = prepare

    def __getitem__(self, k: int) -> Clip:
        source = self.mixture.source_of(self.seed, k)
        seeds = (self.seed, k)
        make = partial(self._sample, source)
        if isinstance(source, Reader):
            count = len(source)
            epoch, position = divmod(self.mixture.count_before(self.seed, k), count)
            order = np.random.default_rng((self.seed, epoch, 0, ORDER_SEED)).permutation(count)
            seeds = (self.seed, epoch, k)
            make = partial(self._read, source, int(order[position]))
        owner = source.source if isinstance(source, Augmented) else source
        name = f"example {k} of seed {self.seed}: {type(owner).__name__}"
        clip, reasons = sample_until_good(make, seeds, name)
        reason = reasons[-1] if reasons else ""
        return replace(clip, seed=(self.seed, k), replaced=len(reasons), reason=reason)

    def _sample(self, source: Source, rng: Generator, attempt: int) -> Clip:
        if self.mixture.defer_rendering and isinstance(source, SceneSource):
            return source.scene(rng)
        return augment_clip(check_clip(source.clip(rng), source), self.augment, rng)

    def _read(self, source: Reader, position: int, rng: Generator, attempt: int) -> Clip:
        if attempt:
            position = int(rng.integers(len(source)))
        clip = check_clip(source.clip_at(position, rng), source)
        return augment_clip(clip, self.augment, rng)
