"""A signal ends a run after its step, or at once while it waits for data."""

import os
import signal
import threading
import time

import pytest

from cotracker.training.stopping import Interrupted, Stop


def test_a_signal_is_noted_within_a_step_and_ends_a_wait_for_data():
    before = signal.getsignal(signal.SIGTERM)
    with Stop(minutes=None) as stop:
        assert not stop.is_due()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_due() and stop.signal == signal.SIGTERM
        with pytest.raises(Interrupted):  # it came before the wait
            with stop.interrupts(True):
                raise AssertionError
    assert signal.getsignal(signal.SIGTERM) == before and stop.pass_on() == signal.SIGTERM


@pytest.mark.parametrize("wanted", [True, False], ids=["alone", "among ranks"])
def test_only_a_run_of_one_process_leaves_a_wait(wanted):
    """Others would wait for this rank: it goes on to the step's end."""
    with Stop(minutes=None) as stop:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        began, left = time.monotonic(), False
        try:
            with stop.interrupts(wanted):
                time.sleep(0.6)
        except Interrupted:
            left = True
    assert left == wanted and (time.monotonic() - began < 0.5) == wanted
    assert stop.signal == signal.SIGINT and not stop.waiting
