"""Large arrays used again: a new one costs more in page faults than the copy into it."""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import numpy as np

ALIGNMENT = 64
"""Bytes: TensorFlow takes an array over as it is only if it is aligned so."""

KEPT = 12


class Buffers:
    """Hands out arrays of unset values. Safe in several threads.

    The memory of one is used again when nothing refers to it any more, no view and no tensor that TensorFlow
    made of it: CPython's reference count tells.
    """

    def __init__(self) -> None:
        self._kept: list[np.ndarray] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A C-contiguous array, aligned for TensorFlow."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        with self._lock:
            memory = self._free(size)
            start = -memory.ctypes.data % ALIGNMENT
            return memory[start : start + size].view(dtype).reshape(shape)

    def _free(self, size: int) -> np.ndarray:
        whole = size + ALIGNMENT
        for place in range(len(self._kept)):
            if self._kept[place].size == whole and _references(self._kept, place) == UNUSED:
                return self._kept[place]
        self._kept = [*self._kept[-KEPT + 1 :], np.empty(whole, np.uint8)]
        return self._kept[-1]


def _references(arrays: list[np.ndarray], place: int) -> int:
    return sys.getrefcount(arrays[place])


UNUSED = _references([np.empty(1)], 0)
"""References to an array that the list alone has."""
