"""segframe.interrupt: the first signal is noted, the second leaves, and Python's handlers come back."""

import logging
import os
import signal
import threading

import pytest

from segframe.interrupt import Interrupted, catching

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_left_with_when_all_is_saved(number, caplog):
    with catching() as interrupt:
        interrupt.leave()  # nobody asked: nothing happens
        assert not interrupt.requested()
        os.kill(os.getpid(), number)
        assert interrupt.requested() and interrupt.signal_number == number
        with pytest.raises(Interrupted, match=f"stopped by {number.name}; the same command continues"):
            interrupt.leave()
    assert "Once more leaves at once" in caplog.text and len(caplog.records) == 1


@pytest.mark.parametrize("second", SIGNALS)
@pytest.mark.parametrize("first", SIGNALS)
def test_the_second_signal_leaves_at_once(first, second):
    with pytest.raises(KeyboardInterrupt, match="left without saving") as left, catching():
        os.kill(os.getpid(), first)
        os.kill(os.getpid(), second)
        pytest.fail("went on after the second signal")
    assert not isinstance(left.value, Interrupted)  # the state is not saved, and nobody says it is


@pytest.mark.parametrize("error", [None, ValueError, Interrupted(signal.SIGTERM)])
def test_the_handlers_of_before_are_restored_however_it_ends(error):
    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        with catching():
            assert signal.getsignal(signal.SIGTERM) not in before
            if error is not None:
                raise error
    except (ValueError, Interrupted):
        assert error is not None
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_in_a_thread_nothing_is_caught_and_nothing_breaks():
    before = [signal.getsignal(number) for number in SIGNALS]
    seen = []

    def work():
        with catching() as interrupt:
            seen.append((interrupt.requested(), [signal.getsignal(number) for number in SIGNALS]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_an_interrupted_run_is_no_ordinary_exception():
    """So that no `except Exception` on the way takes a stop for a failure."""
    assert not isinstance(Interrupted(signal.SIGTERM), Exception)
    assert Interrupted(signal.SIGTERM).signal_number == 15


@pytest.fixture(autouse=True)
def _heard(caplog):
    caplog.set_level(logging.INFO, "segframe")
