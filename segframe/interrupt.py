"""Why a run leaves before its end: Ctrl-C and SIGTERM (once, finish the step, save and leave; twice, leave
now), or a sweeper that has seen enough of it."""

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


class Pruned(KeyboardInterrupt):
    """A sweeper ended the run since others are better by far; its state is saved. Not an Exception, as
    Interrupted is none: nothing on the way should take it for a failure."""

    def __init__(self, epoch: int, told: str):
        self.epoch = epoch
        """The last one that it finished, counted from 1."""
        super().__init__(f"pruned at epoch {epoch}: {told}")


class Interrupt:
    """Whether a stop was asked for."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.pruned: Pruned | None = None

    def requested(self) -> bool:
        return self.signal_number is not None or self.pruned is not None

    def prune(self, epoch: int, told: str) -> None:
        """Have the run saved and left after this epoch, counted from 1; `told` says why."""
        self.pruned = Pruned(epoch, told)

    def leave(self) -> None:
        """Raise Interrupted or Pruned if a stop was asked for. Call it when all is saved."""
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)
        if self.pruned is not None:
            raise self.pruned


@contextmanager
def catching() -> Iterator[Interrupt]:
    """Catch SIGINT and SIGTERM meanwhile; outside of the main thread, where Python cannot, nothing is."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def note(number: int, _: object) -> None:
        if interrupt.signal_number is not None:
            raise KeyboardInterrupt("stopped twice: left without saving what came after the last checkpoint")
        interrupt.signal_number = number
        log.warning("Stopping after this step, then saving. Once more leaves at once.")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
