"""Endless collated batches of a training stream, made by worker processes."""

import atexit
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from functools import partial
from itertools import count
from pathlib import Path

import cv2
import torch
from torch.utils.data import DataLoader, Sampler

from cotracker.data.stream import TrainingStream
from cotracker.types import Clip, collate

SHARED_MEMORY = Path("/dev/shm")  # through which workers hand batches over, on Linux
PREFETCHED = 2  # batches that a worker makes ahead
LONGEST_WAIT = 3600  # seconds for a batch, after which it is lost and an error is raised


class EndlessSampler(Sampler[int]):
    """Yields k = start + rank + world * j for j = 0, 1, …, for ever.

    start: counts the examples of all processes.
    """

    def __init__(self, start: int = 0, rank: int = 0, world: int = 1):
        if start < 0 or not 0 <= rank < world:
            raise ValueError(
                f"start must be 0 or more and rank within 0..world-1, not {start=} {rank=} {world=}"
            )
        self.start = start
        self.rank = rank
        self.world = world

    def __iter__(self) -> Iterator[int]:
        return count(self.start + self.rank, self.world)


def make_loader(
    stream: TrainingStream,
    batch: int,
    workers: int = 0,
    *,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    context: str | None = None,
    pinned: bool = False,
) -> DataLoader:
    """Collated batches of `stream` for ever, the same for any number of workers.

    A batch is a Clip with B in front; of scenes, it is what their `batch` makes of them, and
    `.to(device)` renders it.  After n batches a run resumes with start + n * batch * world.

    start: the first example.
    context: fork, spawn, or None for the platform's default.
    pinned: batches lie in memory that a GPU copies from without waiting.

    The global random state is neither read nor moved.  With workers, OpenCV in this process is set
    to one thread: a worker that is forked beside OpenCV's threads hangs at its first call (in 5 of
    12 starts; with one thread, in none of 14).
    """
    if workers:
        cv2.setNumThreads(1)
        atexit.register(_end_workers)
    return DataLoader(
        stream,
        batch_size=batch,
        sampler=EndlessSampler(start, rank, world),
        num_workers=workers,
        collate_fn=partial(_collate, prepare=stream.prepare),
        worker_init_fn=_init_worker,
        persistent_workers=workers > 0,
        prefetch_factor=PREFETCHED if workers else None,
        timeout=LONGEST_WAIT if workers else 0,
        multiprocessing_context=context if workers else None,
        generator=torch.Generator(),
        pin_memory=pinned,
    )


def check_shared_memory(batch_of_one: object, batch: int, workers: int) -> None:
    """ValueError where Linux's shared memory cannot hold the batches that the workers hand over.

    Each worker makes PREFETCHED ahead of the one in use. Docker's default is 64 MB. Without room a
    worker loses a batch, for which the loader waits for ever.
    batch_of_one: what the stream makes of one example.
    """
    if not workers or not SHARED_MEMORY.is_dir():
        return
    each = batch * count_bytes(batch_of_one) * int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    needed, free = (PREFETCHED * workers + 1) * each, shutil.disk_usage(SHARED_MEMORY).free
    if needed <= free:
        return
    fitting = max(0, (free // each - 1) // PREFETCHED)
    raise ValueError(
        f"{SHARED_MEMORY} has {free / 1e6:.0f} MB free, and the batches of {workers} workers take "
        f"{needed / 1e6:.0f} MB: pass train.workers={fitting}, or make it larger (docker run "
        "--shm-size=8g)"
    )


def count_bytes(value: object) -> int:
    """The bytes of all tensors within dataclasses, dictionaries, lists and tuples."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, dict):
        value = list(value.values())
    return sum(map(count_bytes, value)) if isinstance(value, (list, tuple)) else 0


def collate_examples(examples: list):
    """A Clip with B in front, or what scenes make of their batch."""
    first = examples[0]
    return collate(examples) if isinstance(first, Clip) else first.batch(examples)


def _collate(examples: list, prepare: Callable | None):
    batch = collate_examples(examples)
    return batch if prepare is None else prepare(batch)


def _end_workers() -> None:
    """Kills the workers at the end of the process.

    After an error they ignore SIGTERM, by which Python would end them.
    """
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def _init_worker(worker: int) -> None:
    # the process that trains decides when to stop; its workers end with it
    for number in (signal.SIGTERM, getattr(signal, "SIGUSR2", None)):
        if number is not None:  # as it is on Windows
            signal.signal(number, signal.SIG_IGN)
    # A spawned worker leaves as a forked one does. Python's own exit ends the thread that hands
    # batches over inside PyTorch's C++, which aborts (8 of 15 loaders left in the middle).
    atexit.register(os._exit, 0)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
