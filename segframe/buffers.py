"""Large arrays used again: a new one costs more in page faults than the copy into it."""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import numpy as np

ALIGNMENT = 64
"""Bytes: TensorFlow takes an array over as it is only if it is aligned so."""

KEPT = 32
"""Arrays, those in use included: of some batches on their way, three or four each."""


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
        """Unused memory of that many bytes, or up to twice as many; new if there is none."""
        whole = size + ALIGNMENT
        fitting = [
            place
            for place in range(len(self._kept))
            if whole <= self._kept[place].size <= 2 * whole and self._is_free(place)
        ]
        if fitting:
            return self._kept[min(fitting, key=lambda place: self._kept[place].size)]
        if len(self._kept) == KEPT:
            del self._kept[next(filter(self._is_free, range(KEPT)), 0)]
        self._kept.append(np.empty(whole, np.uint8))
        return self._kept[-1]

    def _is_free(self, place: int) -> bool:
        return _references(self._kept, place) == UNUSED


def _references(arrays: list[np.ndarray], place: int) -> int:
    return sys.getrefcount(arrays[place])


UNUSED = _references([np.empty(1)], 0)
"""References to an array that the list alone has."""
