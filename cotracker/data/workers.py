"""Work spread over processes that never hang, outlive their parent or take its Ctrl-C."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_all_start_methods, get_context, parent_process
from multiprocessing.context import BaseContext
from typing import TypeVar

import cv2
import torch

PRELOADED = ["torch", "cv2", "tqdm", "hydra", "cotracker.data.check", "cotracker.data.stream"]
Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def map_in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    initializer: Callable[[], None] | None = None,
) -> Iterator[Iterator[Result]]:
    """`function` of each item, in any order, by `workers` processes; 0: here, in order.

    When the block is left, in whatever way, items under way are finished and no other is begun.
    Only then is it safe to look at the results on disk.
    initializer: called once in each process. It and `function` must be picklable.
    ValueError from the iterator, one sentence: a process died.
    """
    if workers == 0 or not items:
        yield map(function, items)
        return
    context = _make_context()
    count = min(workers, len(items))
    pool = ProcessPoolExecutor(count, context, _initialize, (initializer,))
    try:
        yield _iterate_results(pool, function, items)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _make_context() -> BaseContext:
    """How processes start: from a server, since a fork of one with threads can hang; else anew."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    from multiprocessing import forkserver  # not on Windows

    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    # The server and all that it starts inherit this mask; Ctrl-C in the meantime arrives after it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return context


def _iterate_results(
    pool: ProcessPoolExecutor, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[Result]:
    try:
        for future in as_completed([pool.submit(function, item) for item in items]):
            yield future.result()
    except BrokenProcessPool as error:
        raise ValueError(
            "a worker died, perhaps for lack of memory: use fewer workers; nothing written is lost"
        ) from error


def _initialize(initializer: Callable[[], None] | None) -> None:
    """Prepares a worker: one thread, deaf to Ctrl-C, and ending with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # if another program started the server
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if initializer is not None:
        initializer()


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)
