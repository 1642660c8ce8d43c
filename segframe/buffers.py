"""Large arrays used again: a new one costs more in page faults than the copy into it."""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import numpy as np

ALIGNMENT = 64
"""Bytes: TensorFlow takes an array over as it is only if it is aligned so."""


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A new C-contiguous array of unset values, aligned for TensorFlow."""
    return _cut(np.empty(_bytes(shape, dtype), np.uint8), shape, dtype)


def _bytes(shape: tuple[int, ...], dtype: Any) -> int:
    """Of memory that has an aligned place for such an array."""
    return math.prod(shape) * np.dtype(dtype).itemsize + ALIGNMENT


def _cut(memory: np.ndarray, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    start = -memory.ctypes.data % ALIGNMENT
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return memory[start : start + size].view(dtype).reshape(shape)


class Buffers:
    """Hands out arrays of unset values. Safe in several threads.

    The memory of one is used again when nothing refers to it any more, no view and no tensor that TensorFlow
    made of it: CPython's reference count tells.

    Args:
        kept: so many at most, those in use included.
    """

    def __init__(self, kept: int) -> None:
        self._limit = kept
        self._kept: list[np.ndarray] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A C-contiguous array, aligned for TensorFlow."""
        with self._lock:
            return _cut(self._free(_bytes(shape, dtype)), shape, dtype)

    def _free(self, whole: int) -> np.ndarray:
        """Unused memory of that many bytes, or up to twice as many; new if there is none."""
        fitting = [
            place
            for place in range(len(self._kept))
            if whole <= self._kept[place].size <= 2 * whole and self._is_free(place)
        ]
        if fitting:
            return self._kept[min(fitting, key=lambda place: self._kept[place].size)]
        if len(self._kept) == self._limit:
            del self._kept[next(filter(self._is_free, range(self._limit)), 0)]
        self._kept.append(np.empty(whole, np.uint8))
        return self._kept[-1]

    def _is_free(self, place: int) -> bool:
        return _references(self._kept, place) == UNUSED


def _references(arrays: list[np.ndarray], place: int) -> int:
    return sys.getrefcount(arrays[place])


UNUSED = _references([np.empty(1)], 0)
"""References to an array that the list alone has."""
