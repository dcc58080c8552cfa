"""The endless training stream: example k is a function of (seed, k), whatever the workers and wherever one resumes."""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from cotracker.types import Clip, collate

ATTEMPTS = 10


class Source(Protocol):
    """Whatever makes clips: `clip(rng)` is a pure function of the generator; ValueError says that this clip is bad."""

    def clip(self, rng: np.random.Generator) -> Clip: ...


class Mixture:
    """Several sources with weights; every `block` consecutive examples come from the same one.

    Clips of one batch must have equal shapes, so `block` is the batch size times the number of processes (and a
    run starts at a multiple of it). ValueError: no source, or weights that do not fit them.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float], block: int = 1):
        weights = np.asarray(list(weights), float)
        if len(sources) == 0 or len(sources) != len(weights) or (weights < 0).any() or weights.sum() <= 0:
            raise ValueError(f"a mixture of {len(sources)} sources needs as many weights, none negative: {weights}")
        if block < 1:
            raise ValueError(f"a mixture's block must be at least 1 (batch size times processes), not {block}")
        self.sources, self.weights, self.block = list(sources), weights / weights.sum(), block

    def source_of(self, seed: int, k: int) -> Source:
        """The source of example `k`, the same for its whole block, drawn from (seed, k // block)."""
        if len(self.sources) == 1:
            return self.sources[0]
        # The third number keeps these draws apart from those of the clips themselves.
        rng = np.random.default_rng((seed, k // self.block, ATTEMPTS + 1))
        return self.sources[rng.choice(len(self.sources), p=self.weights)]


class TrainingStream(Dataset):
    """`stream[k]` -> Clip with seed (seed, k): a pure function of (seed, k), for every k >= 0.

    source: a Source or a Mixture.  augment: (Clip, rng) -> Clip or None.  A bad clip (ValueError) is replaced by one
    drawn from (seed, k, attempt), up to 10 times; ValueError then names the example and repeats the last reason.
    """

    def __init__(
        self,
        source: Source | Mixture,
        seed: int = 0,
        augment: Callable[[Clip, np.random.Generator], Clip] | None = None,
    ):
        self.mixture = source if isinstance(source, Mixture) else Mixture([source], [1.0])
        self.seed, self.augment = seed, augment

    def __getitem__(self, k: int) -> Clip:
        source = self.mixture.source_of(self.seed, k)
        for attempt in range(ATTEMPTS + 1):
            rng = np.random.default_rng((self.seed, k, attempt) if attempt else (self.seed, k))
            try:
                clip = source.clip(rng)
                if self.augment is not None:
                    clip = self.augment(clip, rng)
                return replace(clip, seed=(self.seed, k))
            except ValueError as error:
                reason = error
        raise ValueError(
            f"example {k} of seed {self.seed}: {type(source).__name__} gave {ATTEMPTS + 1} bad clips in a row, "
            f"the last because: {reason}"
        ) from reason


class EndlessSampler(Sampler[int]):
    """Yields k = start + rank + world * j for j = 0, 1, …, for ever. `start` counts examples, over all processes."""

    def __init__(self, start: int = 0, rank: int = 0, world: int = 1):
        if start < 0 or not 0 <= rank < world:
            raise ValueError(f"start must be 0 or more and rank within 0..world-1, not {start=} {rank=} {world=}")
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
) -> DataLoader:
    """Collated batches of `stream` for ever, from example `start` on; the same for any number of workers.

    After n batches a run goes on exactly with start + n * batch * world.  context: fork, spawn or None for the
    platform's own.  No global random state is read or moved.  With workers, OpenCV in this process is set to one
    thread: a worker forked beside OpenCV's threads hangs at its first call (5 starts of 12; so, 0 of 14).
    """
    if workers:
        cv2.setNumThreads(1)
    return DataLoader(
        stream,
        batch_size=batch,
        sampler=EndlessSampler(start, rank, world),
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_one_thread,
        persistent_workers=workers > 0,
        multiprocessing_context=context if workers else None,
        generator=torch.Generator(),
    )


def _one_thread(worker: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the process that trains decides when to stop; workers end with it
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
