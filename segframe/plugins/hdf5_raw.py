"""The bytes of an open HDF5 file, read from any thread without HDF5."""

from __future__ import annotations

import io
import os
from typing import Any


def raw_file(file: Any) -> io.FileIO | None:
    """The bytes of an open h5py.File; None where they are not simply those of a file on the disk.

    It shares HDF5's descriptor, so that it is the same file even if another one got its name meanwhile. Drop
    it instead of closing it: threads may still be reading.
    """
    if file.driver != "sec2" or file.userblock_size:
        return None
    return io.FileIO(os.dup(file.id.get_vfd_handle()), "r")


def read_at(file: io.FileIO, offset: int, out: Any) -> None:
    """Fill a writable buffer of bytes with those that lie at `offset`.

    Raises:
        OSError: the file ends before, or cannot be read.
    """
    left = memoryview(out)
    while left:
        if hasattr(os, "preadv"):
            there = os.preadv(file.fileno(), [left], offset)
        else:
            read = os.pread(file.fileno(), len(left), offset)
            there = len(read)
            left[:there] = read
        if not there:
            raise OSError("the file ends too early")
        left, offset = left[there:], offset + there
