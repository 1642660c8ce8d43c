"""Decoded blocks of samples, kept while they are being read from: for chunks that hold several samples."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from segframe.order import StoredBlocks
    from segframe.plugins.hdf5_stored import StoredArray

log = logging.getLogger("segframe")

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


def stored_blocks(arrays: Sequence[StoredArray], indices: Sequence[int]) -> StoredBlocks | None:
    """Which samples lie in one chunk of the array that has most of them in one; None: each by itself.

    Args:
        arrays: images and masks.
    """
    import numpy as np

    from segframe.order import StoredBlocks

    for array in arrays:
        if array.rows > 1 and array.block_bytes > WINDOW_BYTES:
            log.warning(
                "%s: %d samples lie in each chunk, %d MB: reading one inflates all of them. "
                "Write one sample a chunk: h5repack -l %s:CHUNK=%s IN.h5 OUT.h5",
                array.where, array.rows, array.block_bytes // 10**6, array.name.lstrip("/"),
                "x".join(map(str, (1, *array.shape[1:]))),
            )  # fmt: skip
    held = [array for array in arrays if array.rows > 1 and array.block_bytes <= WINDOW_BYTES]
    if not held:
        return None
    rows = max(array.rows for array in held)
    size = sum(array.block_bytes // array.rows for array in held) * rows
    together = max(1, WINDOW_BYTES // size)
    return StoredBlocks(np.asarray(indices, np.int64) // rows, together, together * size)
