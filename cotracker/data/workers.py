"""Work spread over processes that neither hang, nor outlive the one that began them, nor take Ctrl-C for themselves."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

import cv2
import torch

Item, Done = TypeVar("Item"), TypeVar("Done")


def spread(work: Callable[[Item], Done], items: Sequence[Item], workers: int) -> Iterator[Done]:
    """What `work` makes of each item, in any order, by so many processes, 0 or 1 for this one; `work` is picklable.

    ValueError, one sentence: a process died.
    """
    if workers <= 1 or len(items) <= 1:
        yield from map(work, items)
        return
    context = get_context("forkserver")  # a fork of a process with threads can hang
    context.set_forkserver_preload(["cotracker.data.check"])
    pool = ProcessPoolExecutor(min(workers, len(items)), context, _begin)
    try:
        for done in as_completed([pool.submit(work, item) for item in items]):
            yield done.result()
    except BrokenProcessPool as error:
        raise ValueError("a process of the check died, perhaps for lack of memory: use fewer --workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Readies a worker: one thread, deaf to Ctrl-C, which its parent handles, and gone when that is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)
