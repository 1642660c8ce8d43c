"""Samples that are about to be read, fetched from the disk all at once instead of one after the other.

Samples in shuffled order are no pattern that the system could read ahead by, and a disk serves many requests
at a time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segframe.plugins.hdf5_stored import StoredArray


def read_ahead(arrays: Sequence[StoredArray], indices: Sequence[int]) -> None:
    """Have the system begin to fetch these samples of all arrays, if the first one lies on the disk only.

    One look for all of them: asking for a sample costs as much as reading it from memory. Not of arrays with
    several samples in a chunk: those are kept decoded (hdf5_blocks.py), and most are not read from the disk.
    """
    single = [array for array in arrays if array.rows == 1]
    if single and on_disk_only(single[0], int(indices[0])):
        for array in single:
            for index in indices:
                fetch_soon(array, int(index))


def on_disk_only(array: StoredArray, index: int) -> bool:
    """Whether reading a sample would wait for the disk. False where the system does not tell.

    By its last byte: reading what lies before it in the file often brings its first ones along.
    """
    spans = list(array.spans(index))
    if not spans or array.raw is None or not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        os.preadv(array.raw.fileno(), [bytearray(1)], sum(spans[-1]) - 1, os.RWF_NOWAIT)
    except BlockingIOError:
        return True
    except OSError:  # a file system that cannot be asked
        pass
    return False


def fetch_soon(array: StoredArray, index: int) -> None:
    """Have the system begin to fetch a sample from the disk, where it can be told."""
    if array.raw is not None and hasattr(os, "posix_fadvise"):
        for offset, size in array.spans(index):
            os.posix_fadvise(array.raw.fileno(), offset, size, os.POSIX_FADV_WILLNEED)
