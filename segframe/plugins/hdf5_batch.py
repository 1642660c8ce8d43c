"""Samples that lie apart in a file, read as a batch: all places first, then all bytes, then all filters.

Reading and undoing filters let go of Python's lock. With other work between two of them, threads that read a
batch each wait for one another more than for the bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from segframe.plugins.hdf5_codecs import undo
from segframe.plugins.hdf5_raw import read_at_each

if TYPE_CHECKING:
    import numpy as np

    from segframe.plugins.hdf5_stored import StoredArray


def read_each(
    array: StoredArray,
    indices: Sequence[int],
    out: np.ndarray,
    empty: Callable[[tuple[int, ...], Any], np.ndarray],
) -> None:
    """Samples of an array that is `each_apart` into C-contiguous (samples, ...) of its dtype.

    Args:
        indices: inside the array, which is not checked.
        empty: makes an array of unset values of a shape and dtype.

    Raises:
        SegframeError, Exception: as StoredArray.read, without a word of which sample it is.
    """
    import numpy as np

    assert array.raw is not None
    size, every = array.block_bytes, (1 << len(array.filters)) - 1
    rows = list(out.reshape(len(indices), -1).view(np.uint8))
    offsets, stored, skipped = array.lie_at(indices)
    packed = [
        many != size or left_out & every != every for many, left_out in zip(stored, skipped, strict=True)
    ]
    there = [many * one for many, one in zip(stored, packed, strict=True)]
    memory = empty((sum(there),), np.uint8).data if any(packed) else memoryview(b"")
    buffers = [
        memory[end - many : end] if one else row.data
        for end, many, one, row in zip(itertools.accumulate(there), there, packed, rows, strict=True)
    ]
    read_at_each(array.raw, offsets, buffers)
    for buffer, left_out, one, row in zip(buffers, skipped, packed, rows, strict=True):
        if one:
            undo(buffer, array.filters, left_out, row, array.dtype.itemsize, array.where)
