"""Work spread over processes that neither hang, nor outlive the one that began them, nor take Ctrl-C for themselves."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, get_context, parent_process
from typing import TypeVar

import cv2
import torch

PRELOADED = ["torch", "cv2", "tqdm", "hydra", "cotracker.data.check", "cotracker.data.stream"]
Item, Done = TypeVar("Item"), TypeVar("Done")


@contextmanager
def spread(
    work: Callable[[Item], Done],
    items: Sequence[Item],
    workers: int,
    begin: Callable[[], None] | None = None,
) -> Iterator[Iterator[Done]]:
    """What `work` makes of each item, in any order, by so many processes; 0 for this one, which makes them in order.

    When the block is left, in whatever way, the items that were under way are finished and no other is begun: only then
    may one look at what there is. `work` and `begin`, which readies each process, are picklable.
    ValueError from the iterator, one sentence: a process died.
    """
    if workers == 0 or not items:
        yield map(work, items)
        return
    context = get_context("forkserver")  # a fork of a process with threads can hang
    context.set_forkserver_preload(PRELOADED)
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT}
    )  # as all that the server starts inherit: Ctrl-C
    try:  # is for this process alone, and one that comes now is heard when it may be
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    pool = ProcessPoolExecutor(min(workers, len(items)), context, _begin, (begin,))
    try:
        yield _as_done(pool, work, items)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _as_done(
    pool: ProcessPoolExecutor, work: Callable[[Item], Done], items: Sequence[Item]
) -> Iterator[Done]:
    try:
        for done in as_completed([pool.submit(work, item) for item in items]):
            yield done.result()
    except BrokenProcessPool as error:
        reason = "a worker died, perhaps for lack of memory"
        raise ValueError(f"{reason}: use fewer workers; nothing written is lost") from error


def _begin(begin: Callable[[], None] | None) -> None:
    """Readies a worker: one thread, deaf to Ctrl-C, which its parent handles, and gone when that is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where the server was started by somebody else
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if begin is not None:
        begin()


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)
