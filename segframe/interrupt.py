"""Ctrl-C and SIGTERM: once, finish the step, save and leave; twice, leave now."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("segframe")


class Interrupted(KeyboardInterrupt):
    """Somebody stopped the run, and its state is saved. `signal_number` says how; exit code 128 + that."""

    def __init__(self, signal_number: int):
        self.signal_number = signal_number
        super().__init__(f"stopped by {signal.Signals(signal_number).name}; the same command continues it")


class Interrupt:
    """Whether a stop was asked for."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def requested(self) -> bool:
        return self.signal_number is not None

    def leave(self) -> None:
        """Raise Interrupted if a stop was asked for. Call it when all is saved."""
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)


@contextmanager
def catching() -> Iterator[Interrupt]:
    """Catch SIGINT and SIGTERM meanwhile; outside of the main thread, where Python cannot, nothing is."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def note(number: int, _: object) -> None:
        if interrupt.requested():
            raise KeyboardInterrupt("stopped twice: left without saving what came after the last checkpoint")
        interrupt.signal_number = number
        log.warning("Stopping after this step, then saving. Once more leaves at once.")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
