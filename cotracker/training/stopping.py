"""When a run stops before its last step."""

import signal
import time

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


class Stop:
    """True once the time is spent or the process was asked to end (SIGTERM, Ctrl-C once): then save and leave.

    SIGUSR2 asks too: by it Slurm says that a job's time is nearly up, or that another job needs the place. submitit,
    which started the job, then queues it again; that waits until the run has saved and calls `hand_on`.
    before: seconds of the time that earlier processes of the run used.
    """

    def __init__(self, minutes: float | None, before: float = 0.0):
        self.began, self.seconds = (
            time.monotonic() - before,
            None if minutes is None else 60 * minutes,
        )
        self.asked: int | None = None
        self.handlers = {number: signal.signal(number, self._ask) for number in SIGNALS}

    def _ask(self, number: int, _) -> None:
        self.asked = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __bool__(self) -> bool:
        return self.asked is not None or self.spent > 1

    @property
    def spent(self) -> float:
        """The share of the time that is gone, above 1 once it is over; 0 where there is no limit."""
        if self.seconds is None:
            return 0.0
        return (time.monotonic() - self.began) / self.seconds if self.seconds else float("inf")

    def hand_on(self) -> int | None:
        """Gives the signals back, once all is saved; returns that by which the process was asked to end, if it was.

        SIGUSR2 goes to whoever waited for it before: submitit queues the job again, and ends its first process.
        """
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        if self.asked == signal.SIGUSR2 and callable(self.handlers[signal.SIGUSR2]):
            signal.raise_signal(signal.SIGUSR2)
            return None
        return self.asked
