"""Where the processes of a sweep run: what every place does alike, and how all of them are stopped."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from segframe.errors import SegframeError
from segframe.interrupt import Interrupted

log = logging.getLogger("segframe")

FORWARDED = ("SEGFRAME_", "MLFLOW_", "PYTHONPATH")
"""Beginnings of the environment variables that another machine's processes get from this one."""


class Order(NamedTuple):
    """A process to start."""

    command: list[str]
    """What follows the Python interpreter's name."""
    output: Path
    """Where stdout and stderr go if it does not have the terminal to itself."""
    told: str
    """The line that says that it starts."""


class End(NamedTuple):
    """How the process of an order ended."""

    position: int
    """Which of the orders."""
    code: int
    """Exit code; -n: ended by signal n."""
    why: str = ""
    """What the place knows about it that the code does not say."""


class Place(Protocol):
    """This machine, a Ray cluster, Slurm's queue: each order becomes a fresh process of the user's Python."""

    local: bool
    """Whether they run on this machine at once, not when a cluster has room for them."""

    @property
    def at_once(self) -> int | None:
        """How many run at once at most; None: as many as the place has room for."""

    def check(self) -> None:
        """Raises SegframeError if what the place needs is not installed; imports nothing heavy."""

    def adapt(self, config: dict[str, Any]) -> dict[str, Any]:
        """A job's config with its share of the machine in `device`, where the user left that open."""

    def line(self) -> str:
        """What is said before the first job: how many at once, with how much of the machine each."""

    def machine(self) -> str:
        """What runs there take their times from: for what is remembered of them."""

    def run(self, orders: Sequence[Order]) -> Iterator[End]:
        """Start them in their order, and give each one's end when it comes."""

    def stop(self, number: int) -> None:
        """Pass the signal on to those that run, and start no more; called from a signal handler."""


class Stop:
    """Whether the sweep was asked to stop: `signal_number`."""

    signal_number: int | None = None

    def leave(self) -> None:
        """Raise Interrupted if it was. Call it when the last process has ended."""
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)


@contextmanager
def stopping(place: Place) -> Iterator[Stop]:
    """SIGINT and SIGTERM meanwhile are passed on to what runs in `place`; the second one leaves now.

    Outside of the main thread, where Python cannot catch signals, nothing is caught.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, _: object) -> None:
        again, stop.signal_number = stop.signal_number is not None, number
        place.stop(number)
        if again:
            raise KeyboardInterrupt("stopped twice: left without waiting for the jobs")
        if place.at_once != 1:
            log.warning("Stopping the jobs: each saves and leaves. Once more leaves at once.")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def with_device(config: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """The config with these values of `device`, as far as the user has not given them."""
    device = dict(config["device"])
    device |= {key: value for key, value in values.items() if device.get(key) is None}
    return {**config, "device": device}


def need(package: str, extra: str, launcher: str) -> None:
    """Raises SegframeError unless the package is installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise SegframeError(
            f"hydra/launcher={launcher}",
            expected=f"the package {package!r}",
            got="an environment without it",
            remedy=f"In segframe's folder: pip install -e '.[{extra}]'",
        )


def forwarded() -> dict[str, str]:
    """The environment variables that go along to another machine."""
    return {key: value for key, value in os.environ.items() if key.startswith(FORWARDED)}
