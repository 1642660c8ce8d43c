"""A file for h5py to write to that survives a full disk.

HDF5 told of a failed write leaves the objects it cannot flush behind: h5py 3.14 prints a traceback for each
and then dies of a segmentation fault, the run with it. Here HDF5 never hears of it: the first error is kept
for the caller, and what is written after it goes nowhere.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import TracebackType


class Hdf5Sink:
    """`with Hdf5Sink(path) as sink, h5py.File(sink, "w") as file: ...; sink.check()`.

    Leaving it raises what went wrong, unless something else is being raised already: no file whose
    writing failed passes for a good one.
    """

    def __init__(self, path: Path):
        self._raw: io.FileIO = open(path, "wb+", buffering=0)
        self._size = 0
        self.error: OSError | None = None

    def check(self) -> None:
        """Raise the OSError of the first write that failed, if one has."""
        if self.error is not None:
            raise self.error

    def __enter__(self) -> Hdf5Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()
        if error is None or isinstance(error, RuntimeError | ValueError):  # HDF5's own, of what failed here
            self.check()

    # What h5py's driver for file objects calls.

    def write(self, data: bytes | memoryview) -> int:
        left = memoryview(data).cast("B")
        whole = len(left)
        self._size = max(self._size, self._raw.tell() + whole)
        while self.error is None and len(left):  # a disk that runs full takes a part
            try:
                left = left[self._raw.write(left) :]
            except OSError as error:
                self.error = error
        return whole

    def read(self, size: int) -> bytes:
        found = bytearray(size)
        self.readinto(memoryview(found))
        return bytes(found)

    def readinto(self, buffer: memoryview) -> int:
        view = memoryview(buffer).cast("B")
        there = self._raw.readinto(view) or 0
        view[there:] = bytes(len(view) - there)
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            return self._raw.seek(self._size + offset)
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def truncate(self, size: int) -> int:
        self._size = size
        if self.error is None:
            try:
                self._raw.truncate(size)
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Nothing is buffered; the caller syncs."""
