"""Messages delivered in order by a thread of its own, several at a time: who posts them never waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

SHARE = 0.01
"""The most that delivering may take of a processor's time."""
LONGEST_PAUSE_S = 10.0
T = TypeVar("T")


class Outbox(Generic[T]):
    """Hands all messages posted so far to `deliver`, then pauses so that its work stays below SHARE.

    The processor's time counts, not the time that a slow receiver takes: that costs nobody anything. What is
    posted meanwhile goes together with the next delivery. The thread is a daemon: it holds up no process that
    leaves.

    Args:
        deliver: called in the thread with the messages, oldest first; it must not raise.
    """

    def __init__(self, deliver: Callable[[list[T]], None]):
        self._deliver = deliver
        self._messages: list[T] = []
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def post(self, message: T) -> None:
        """Returns at once; the first one starts the thread."""
        with self._changed:
            self._messages.append(message)
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="segframe-outbox", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Deliver what is left, without pauses, and return when that is done; nothing may be posted after."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._messages or self._closed)
                messages, self._messages = self._messages, []
            if not messages:
                return
            before = time.thread_time()
            self._deliver(messages)
            pause = pause_after(time.thread_time() - before)
            with self._changed:
                self._changed.wait_for(lambda: self._closed, timeout=pause)


def pause_after(seconds: float) -> float:
    """How long to rest after so much work, in seconds."""
    return min(seconds * (1 / SHARE - 1), LONGEST_PAUSE_S)
