"""The bytes of an open HDF5 file, read from any thread without HDF5."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
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


def read_at_each(file: io.FileIO, offsets: Sequence[int], outs: Sequence[memoryview]) -> None:
    """read_at of several: a call of the system each, and little else."""
    fill = getattr(os, "preadv", lambda *_: 0)
    number = file.fileno()
    for offset, out in zip(offsets, outs, strict=True):
        there = fill(number, (out,), offset)
        if there < len(out):
            read_at(file, offset + there, out[there:])
