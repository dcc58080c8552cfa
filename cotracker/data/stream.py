"""The endless training stream: example k is a function of (seed, k), whatever the workers and wherever one resumes."""

import atexit
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, Protocol, TypeVar, runtime_checkable

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from cotracker.data.synthetic.sprites import Sprites
from cotracker.data.synthetic.sprites.render_torch import Undrawn, UndrawnClips
from cotracker.data.synthetic.sprites.scene import Scene
from cotracker.types import Clip, collate

ATTEMPTS = 10
# Last numbers of the seeds of other draws, so that they stay apart from those of the clips themselves.
CHOICE, ORDER = ATTEMPTS + 1, ATTEMPTS + 2
Made = TypeVar("Made")


class Source(Protocol):
    """Whatever makes clips: `clip(rng)` is a pure function of the generator; ValueError says that this clip is bad."""

    def clip(self, rng: np.random.Generator) -> Clip: ...


@runtime_checkable
class Reader(Protocol):
    """Whatever reads a set of clips: `clip_at(position, rng)` is a pure function of both, for 0 <= position < len.

    rng: frames, crop and points are drawn from it.  ValueError says that this clip is bad, and names its file.
    """

    def __len__(self) -> int: ...

    def clip_at(self, position: int, rng: np.random.Generator) -> Clip: ...


class Mixture:
    """Several sources or readers with weights; every `block` consecutive examples come from the same one.

    Clips of one batch must have equal shapes, so `block` is a multiple of the batch size times the number of processes
    (train.py sets it, by `in_blocks`). ValueError: no source, or weights that do not fit them.
    """

    def __init__(
        self, sources: Sequence[Source | Reader], weights: Sequence[float], block: int = 1
    ):
        weights = np.asarray(list(weights), float)
        if (
            len(sources) == 0
            or len(sources) != len(weights)
            or (weights < 0).any()
            or weights.sum() <= 0
        ):
            raise ValueError(
                f"a mixture of {len(sources)} sources needs as many weights, none negative: {weights}"
            )
        if block < 1:
            raise ValueError(
                f"a mixture's block must be at least 1 (batch size times processes), not {block}"
            )
        self.sources, self.weights, self.block = list(sources), weights / weights.sum(), block
        # seed -> for blocks 0, 1, …, as far as asked: how many blocks of its source came before; and totals by source
        self._turns: dict[int, tuple[list[int], list[int]]] = {}

    def in_blocks(self, block: int) -> "Mixture":
        """The same sources and weights, drawn for every `block` consecutive examples."""
        return Mixture(self.sources, self.weights, block)

    def undrawn(self) -> "Mixture":
        """The same examples, with those of Sprites left as Scenes, which UndrawnClips draw on a device.

        ValueError: none is of Sprites.
        """
        if not any(isinstance(source, Sprites) for source in self.sources):
            kinds = ", ".join(type(source).__name__ for source in self.sources)
            raise ValueError(
                f"train.render_on_device=true is for clips of Sprites, and these data are {kinds}: leave it out"
            )
        kinds = [
            Undrawn(source) if isinstance(source, Sprites) else source for source in self.sources
        ]
        return Mixture(kinds, self.weights, self.block)

    def source_of(self, seed: int, k: int) -> Source | Reader:
        """The source of example `k`, the same for its whole block, drawn from (seed, k // block)."""
        return self.sources[self._number(seed, k // self.block)]

    def turn_of(self, seed: int, k: int) -> int:
        """How many of the examples before `k` come from its source; the first call takes 30 ms for 1,000 blocks."""
        if len(self.sources) == 1:
            return k
        block, within = divmod(k, self.block)
        turns, totals = self._turns.setdefault(seed, ([], [0] * len(self.sources)))
        for earlier in range(len(turns), block + 1):
            number = self._number(seed, earlier)
            turns.append(totals[number])
            totals[number] += 1
        return self.block * turns[block] + within

    def _number(self, seed: int, block: int) -> int:
        if len(self.sources) == 1:
            return 0
        rng = np.random.default_rng((seed, block, CHOICE))
        return int(rng.choice(len(self.sources), p=self.weights))


def attempted(
    make: Callable[[np.random.Generator, int], Made],
    numbers: tuple[int, ...],
    what: str,
    reasons: list[str] | None = None,
) -> Made:
    """make(rng, 0) with rng drawn from `numbers`; while that is bad (ValueError), make(rng, n) from (*numbers, n).

    reasons: a list to which is added what was wrong with each bad one.  ValueError after attempt 10 says `what` could
    not be made, and repeats the last reason.
    """
    reasons = [] if reasons is None else reasons
    for attempt in range(ATTEMPTS + 1):
        try:
            return make(np.random.default_rng((*numbers, attempt) if attempt else numbers), attempt)
        except ValueError as error:
            reason = error
            reasons.append(str(error))
    raise ValueError(
        f"{what} gave {ATTEMPTS + 1} bad clips in a row, the last because: {reason}"
    ) from reason


class Augmented:
    """A Reader whose clips are augmented by (Clip, rng) -> Clip: for a Mixture where drawn clips stay as they are.

    ValueError: `source` is no Reader.
    """

    def __init__(self, source: Reader, augment: Callable[[Clip, np.random.Generator], Clip]):
        if not isinstance(source, Reader):
            raise ValueError(
                f"{type(source).__name__} reads no clips: only a Reader's are augmented by themselves"
            )
        self.source, self.augment = source, augment

    def __len__(self) -> int:
        return len(self.source)

    def clip_at(self, position: int, rng: np.random.Generator) -> Clip:
        """The source's clip at `position`, augmented."""
        return augmented(self.source.clip_at(position, rng), self.augment, rng)


def augmented(
    clip: Clip,
    augment: Callable[[Clip, np.random.Generator], Clip] | None,
    rng: np.random.Generator,
) -> Clip:
    """The clip after `augment`, if there is one; ValueError, which says that it is bad so, names it."""
    if augment is None:
        return clip
    try:
        return augment(clip, rng)
    except ValueError as error:
        raise ValueError(
            f"clip {clip.name}, augmented: {error}" if clip.name else str(error)
        ) from error


class TrainingStream(Dataset):
    """`stream[k]` -> Clip with seed (seed, k): a pure function of (seed, k), for every k >= 0.

    source: a Source, a Reader or a Mixture of them.  augment: (Clip, rng) -> Clip or None.
    prepare: makes of a collated batch what `loader` gives, in its workers; None for the batch itself.
    Of a Source, example k is drawn from (seed, k). A Reader gives each of its clips once in a pass: its n-th example
    is in pass n // len, at a position from a permutation drawn from (seed, pass), with frames, points and augmentation
    drawn from (seed, pass, k). A bad clip (ValueError) is replaced, up to 10 times, by one drawn from those numbers
    and the attempt, of a Reader at a position drawn likewise; ValueError then names the example and the last reason.
    The Clip's `replaced` counts the bad ones before it, and `reason` is the last one's.
    Of an Undrawn source it gives Scenes in the place of Clips.
    """

    def __init__(
        self,
        source: Source | Reader | Mixture,
        seed: int = 0,
        augment: Callable[[Clip, np.random.Generator], Clip] | None = None,
        prepare: Callable[[Clip | UndrawnClips], Any] | None = None,
    ):
        self.mixture = source if isinstance(source, Mixture) else Mixture([source], [1.0])
        self.seed, self.augment, self.prepare = seed, augment, prepare

    def __getitem__(self, k: int) -> Clip:
        source = self.mixture.source_of(self.seed, k)
        numbers, draw = (self.seed, k), self._drawn
        if isinstance(source, Reader):
            turns, position = divmod(self.mixture.turn_of(self.seed, k), len(source))
            order = np.random.default_rng((self.seed, turns, 0, ORDER)).permutation(len(source))
            numbers, draw = (
                (self.seed, turns, k),
                partial(self._read, position=int(order[position])),
            )
        maker = source.source if isinstance(source, (Augmented, Undrawn)) else source
        what, reasons = f"example {k} of seed {self.seed}: {type(maker).__name__}", []
        clip = attempted(partial(draw, source), numbers, what, reasons)
        return replace(
            clip, seed=(self.seed, k), replaced=len(reasons), reason=reasons[-1] if reasons else ""
        )

    def batch(self, examples: list[Clip] | list[Scene]) -> Any:
        """The examples collated and prepared."""
        collated = collate_examples(examples)
        return collated if self.prepare is None else self.prepare(collated)

    def _drawn(self, source: Source, rng: np.random.Generator, attempt: int) -> Clip:
        return augmented(source.clip(rng), self.augment, rng)

    def _read(self, source: Reader, rng: np.random.Generator, attempt: int, position: int) -> Clip:
        if attempt:
            position = int(rng.integers(len(source)))
        return augmented(source.clip_at(position, rng), self.augment, rng)


class EndlessSampler(Sampler[int]):
    """Yields k = start + rank + world * j for j = 0, 1, …, for ever. `start` counts examples, over all processes."""

    def __init__(self, start: int = 0, rank: int = 0, world: int = 1):
        if start < 0 or not 0 <= rank < world:
            raise ValueError(
                f"start must be 0 or more and rank within 0..world-1, not {start=} {rank=} {world=}"
            )
        self.start, self.rank, self.world = start, rank, world

    def __iter__(self) -> Iterator[int]:
        return count(self.start + self.rank, self.world)


def loader(
    stream: TrainingStream,
    batch: int,
    workers: int = 0,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    context: str | None = None,
    pinned: bool = False,
) -> DataLoader:
    """Collated batches of `stream` for ever, from example `start` on; the same for any number of workers.

    Of Scenes, which have no pixels yet, a batch is UndrawnClips: `.to(device)` draws it, where a Clip's moves it.

    After n batches a run goes on exactly with start + n * batch * world.  context: fork, spawn or None for the
    platform's own.  pinned: batches lie in memory that a GPU copies from without waiting.  No global random state is
    read or moved.  With workers, OpenCV in this process is set to one thread: a worker forked beside OpenCV's threads
    hangs at its first call (5 starts of 12; so, 0 of 14).
    """
    if workers:
        cv2.setNumThreads(1)
        atexit.register(_end_workers)
    return DataLoader(
        stream,
        batch_size=batch,
        sampler=EndlessSampler(start, rank, world),
        num_workers=workers,
        collate_fn=stream.batch,
        worker_init_fn=_one_thread,
        persistent_workers=workers > 0,
        multiprocessing_context=context if workers else None,
        generator=torch.Generator(),
        pin_memory=pinned,
    )


def collate_examples(examples: list[Clip] | list[Scene]) -> Clip | UndrawnClips:
    """The batch of examples: a Clip with B in front, or scenes that a device renders."""
    return UndrawnClips(examples) if isinstance(examples[0], Scene) else collate(examples)


def _end_workers() -> None:
    """At the end of the process: workers that an error left running ignore the signal which would end them now."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def _one_thread(worker: int) -> None:
    for number in (
        signal.SIGTERM,
        signal.SIGUSR2,
    ):  # the process that trains decides when to stop; workers end with it
        signal.signal(number, signal.SIG_IGN)
    # a spawned worker leaves as a forked one does: Python's own way out ends the thread that hands batches over
    # inside PyTorch's C++, which aborts (8 of 15 loaders that were left in the middle)
    atexit.register(os._exit, 0)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
