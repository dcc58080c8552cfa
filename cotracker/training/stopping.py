"""When a run stops before its last step."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

NOTICE = getattr(signal, "SIGUSR2", None)  # Slurm's; not on Windows
SIGNALS = tuple(filter(None, (signal.SIGTERM, signal.SIGINT, NOTICE)))


class Interrupted(BaseException):
    """A signal came while the run waited for data, which it need not wait for any more."""


class Stop:
    """Whether a run is to save and end: its time is over, or its process received a signal.

    `with Stop(minutes) as stop:` catches SIGTERM, the first Ctrl-C and SIGUSR2. By the last Slurm
    says that a job's time is nearly over, or that another job needs its place. submitit, which
    started the job, then requeues it; that waits until the run has saved and calls `pass_on`.
    minutes: None for no limit.
    before: seconds that earlier processes of the run took of it.
    """

    def __init__(self, minutes: float | None, before: float = 0.0):
        self.started = time.monotonic() - before
        self.seconds = None if minutes is None else 60 * minutes
        self.signal: int | None = None
        self.handlers: dict = {}
        self.waiting = False

    def __enter__(self) -> "Stop":
        self.handlers = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, _) -> None:
        self.signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.waiting:
            raise Interrupted

    @contextmanager
    def interrupts(self, wanted: bool) -> Iterator[None]:
        """A block that a signal ends by Interrupted, where wanted; else it is only noted."""
        if wanted and self.signal is not None:
            raise Interrupted
        self.waiting = wanted
        try:
            yield
        finally:
            self.waiting = False

    def is_due(self) -> bool:
        """Whether the run is to save and end now."""
        return self.signal is not None or self.elapsed > 1

    @property
    def elapsed(self) -> float:
        """The share of the time that is over, above 1 after its end; 0 where there is no limit."""
        if self.seconds is None:
            return 0.0
        elapsed = time.monotonic() - self.started
        return elapsed / self.seconds if self.seconds else float("inf")

    def pass_on(self) -> int | None:
        """The signal received, if one was; called after the block, when all is saved.

        SIGUSR2 goes to its former handler: submitit requeues the job and ends its first process.
        """
        if self.signal is not None and self.signal == NOTICE and callable(self.handlers[NOTICE]):
            signal.raise_signal(NOTICE)
            return None
        return self.signal
