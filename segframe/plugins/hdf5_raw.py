"""The bytes of an open HDF5 file, read from any thread without HDF5."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Readable(Protocol):
    def fileno(self) -> int: ...


class RawFile:
    """A descriptor that is closed when nobody refers to this any more: threads may be reading until then."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self._descriptor)


def raw_file(file: Any) -> RawFile | None:
    """The bytes of an open h5py.File; None where they are not simply those of a file on the disk.

    It shares HDF5's descriptor, so that it is the same file even if another one got its name meanwhile.
    """
    if file.driver != "sec2" or file.userblock_size:
        return None
    return RawFile(os.dup(file.id.get_vfd_handle()))


def read_at(file: Readable, offset: int, out: Any) -> None:
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


def read_at_each(file: Readable, offsets: Sequence[int], outs: Sequence[memoryview]) -> None:
    """read_at of several: a call of the system each, and little else."""
    fill = getattr(os, "preadv", lambda *_: 0)
    number = file.fileno()
    for offset, out in zip(offsets, outs, strict=True):
        there = fill(number, (out,), offset)
        if there < len(out):
            read_at(file, offset + there, out[there:])
