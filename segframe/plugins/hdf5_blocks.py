"""Decoded blocks of samples, kept while they are being read from: for chunks that hold several samples."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

WINDOW_BYTES = 2**27
"""Blocks of together so many bytes are shuffled as one (segframe.order): a run's order depends on it."""


class Blocks:
    """The blocks used last, at most `limit` bytes of them. Safe in several threads: each is decoded once."""

    def __init__(self, limit: int = 2 * WINDOW_BYTES):  # the next window is begun before the last one ends
        self._limit, self._used = limit, 0
        self._kept: OrderedDict[Hashable, tuple[Future[np.ndarray], int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, size: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The block of this key and size in bytes; not to be written to."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                future: Future[np.ndarray] = Future()
                self._kept[key] = future, size
                self._used += size
                while self._used > self._limit and len(self._kept) > 1:
                    self._used -= self._kept.popitem(last=False)[1][1]
            else:
                future = found[0]
                self._kept.move_to_end(key)
        if found is None:
            try:
                block = make()
                block.flags.writeable = False
                future.set_result(block)
            except BaseException as error:
                with self._lock:
                    if self._kept.pop(key, None):
                        self._used -= size
                future.set_exception(error)
                raise
        return future.result()
