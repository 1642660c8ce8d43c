"""One array of an HDF5 file read by where its bytes lie, so that threads need not wait for HDF5's lock.

HDF5 is asked once where the chunks are (for one chunk it would search through all of them, each time). Then a
sample is a read at an offset, and its filters are undone by hdf5_codecs. What cannot be read so (LZF without
imagecodecs, a checksum) is read by HDF5, one thread at a time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from segframe.plugins.hdf5_chunk_index import ChunkIndex
from segframe.plugins.hdf5_codecs import DEFLATE, FLETCHER32, bomb, inflates_to_more, undo, undone_here
from segframe.plugins.hdf5_raw import RawFile, read_at

if TYPE_CHECKING:
    import numpy as np

Part = tuple[slice, ...]

LARGEST_WINDOW_CHUNK = 2**26
"""Bytes: windows of arrays with larger chunks are cut from whole samples."""

DEFLATE_RATIO = 1032  # zlib's documentation, technical details


def _largest(size: int) -> int:
    """Bytes that a chunk of `size` may have in the file: no filter makes one larger by more than a little.

    So what LZF, which is not stopped where HDF5 inflates it, can make of one is bounded.
    """
    return size + size // 8 + 4096


def filters_of(array: Any) -> tuple[int, ...]:
    """HDF5's numbers of an array's filters, in the order in which they were applied."""
    create = array.id.get_create_plist()
    return tuple(create.get_filter(index)[0] for index in range(create.get_nfilters()))


class StoredArray:
    """Samples of one array, (samples, ...), or with batch=0 one sample that is an array of its own.

    Make it in one thread at a time; read in any number of them.

    Args:
        stored: the h5py.Dataset, which check_storage (hdf5_storage.py) has passed.
        raw: of its file.

    Attributes:
        where: for messages: the file and the name.
        name, dtype: in the file.
        raw: the argument.
        shape: (samples, ...), also of one sample.
        rows: samples that are stored together; reading one costs as much as reading all of them.
        filters: their numbers, in the order in which they were applied.

    Raises:
        Exception: any of hdf5_file.BROKEN.
    """

    def __init__(self, stored: Any, batch: int, raw: RawFile | None):
        import h5py

        self._array, self._batch, self.raw = stored, batch, raw
        self.filters = filters_of(stored)
        self.name, self.dtype = stored.name, stored.dtype
        self.shape: tuple[int, ...] = stored.shape if batch else (1, *stored.shape)
        self.where = f"data file {stored.file.filename}, {stored.name}"
        self._offset: int | None = None
        self._chunks: tuple[int, ...] = ()
        of_numpy = h5py.h5t.py_create(stored.dtype, logical=True)
        self._here = raw is not None and bool(stored.id.get_type().equal(of_numpy))
        if stored.chunks is None:
            self._offset = stored.id.get_offset()
            self._here &= self._offset is not None
            self.rows = 1
            return
        self._chunks = tuple(stored.chunks) if batch else (1, *stored.chunks)
        self.rows = min(self._chunks[0], self.shape[0])
        self._here &= undone_here(self.filters)
        self._grid = tuple(
            math.ceil(size / step) for size, step in zip(self.shape, self._chunks, strict=True)
        )
        self._index = ChunkIndex(stored, batch, self._chunks, self._grid)
        self._here &= len(self._index) == math.prod(self._grid)  # HDF5 knows what to fill in

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def block_bytes(self) -> int:
        """Bytes of `rows` samples."""
        return self.rows * math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, start: int, stop: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Samples start to stop, (stop - start, ...), or without `stop` one, (...), in the file's dtype.

        Args:
            out: C-contiguous, of that shape and dtype: where to put them.

        Raises:
            SegframeError: a chunk does not inflate to what it should.
            Exception: any of hdf5_file.BROKEN.
        """
        import numpy as np

        if stop is None:
            return self.read(start, start + 1, None if out is None else out[None])[0]
        if self._here and not self._chunks:
            if out is None:
                out = np.empty((stop - start, *self.shape[1:]), self.dtype)
            self._bytes_at(self._offset + start * out[0].nbytes, out.reshape(-1).view(np.uint8))
            return out
        return self._part((slice(start, stop), *(slice(0, size) for size in self.shape[1:])), out)

    def spans(self, index: int) -> Iterator[tuple[int, int]]:
        """(offset, bytes) in `raw` of what one sample is read from; none where HDF5 reads it."""
        if not self._here:
            return
        if self._offset is not None:
            yield self._offset + index * self.block_bytes, self.block_bytes
            return
        for place, _ in self._chunks_of((slice(index, index + 1), *(slice(0, n) for n in self.shape[1:]))):
            found = self._index.find(place)
            if found:
                yield found[:2]

    @property
    def each_apart(self) -> bool:
        """Whether every sample is read at one offset here, as it is or as one chunk that is undone here."""
        return self._here and self._chunks in ((), (1, *self.shape[1:]))

    def lie_at(self, indices: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
        """Offsets, bytes and skipped filters in `raw` of samples of an array that is `each_apart`.

        Args:
            indices: inside the array, which is not checked.

        Raises:
            SegframeError: one of them cannot be a sample's.
        """
        size, many = self.block_bytes, len(indices)
        if self._offset is not None:
            return [self._offset + index * size for index in indices], [size] * many, [0] * many
        found = self._index.find_each(indices)
        if found is None or max(found[1]) > _largest(size):
            raise bomb(self.where, size)
        return found

    def read_window(self, index: int, window: tuple[slice, slice]) -> np.ndarray:
        """These rows and columns of one sample: only the chunks under them are read.

        Args:
            window: each with a start and a stop inside the sample.

        Raises:
            SegframeError, Exception: as `read`.
        """
        further = (slice(0, size) for size in self.shape[3:])
        return self._part((slice(index, index + 1), *window, *further), None)[0]

    @property
    def in_parts(self) -> bool:
        """Whether a window is read without most of the rest of its sample."""
        small = math.prod(self._chunks[1:]) * 2 <= math.prod(self.shape[1:])
        return not self._chunks or (
            small and math.prod(self._chunks) * self.dtype.itemsize <= LARGEST_WINDOW_CHUNK
        )

    def _part(self, at: Part, out: np.ndarray | None) -> np.ndarray:
        """The values at a part of the array."""
        import numpy as np

        if not (self._here and self._chunks):
            values = self._by_hdf5(at)
            if out is None:
                return values
            out[:] = values
            return out
        if out is None:
            out = np.empty([part.stop - part.start for part in at], self.dtype)
        rows_are_whole = self._chunks[1:] == self.shape[1:] == out.shape[1:]
        chunk = np.empty(0, np.uint8)
        for place, corner in self._chunks_of(at):
            first, last = corner[0], corner[0] + self._chunks[0]
            if rows_are_whole and at[0].start <= first and last <= at[0].stop:
                target = out[first - at[0].start : last - at[0].start]
                self._unpack(place, target.reshape(-1).view(np.uint8))
                continue
            if not chunk.size:
                chunk = np.empty(math.prod(self._chunks) * self.dtype.itemsize, np.uint8)
            self._unpack(place, chunk)
            there, here = [], []
            for part, first, length in zip(at, corner, self._chunks, strict=True):
                start, stop = max(part.start, first), min(part.stop, first + length)
                there.append(slice(start - part.start, stop - part.start))
                here.append(slice(start - first, stop - first))
            out[tuple(there)] = chunk.view(self.dtype).reshape(self._chunks)[tuple(here)]
        return out

    def _chunks_of(self, at: Part) -> Iterator[tuple[int, tuple[int, ...]]]:
        """(place in the index, corner) of each chunk that has something of a part."""
        touched = (
            range(part.start // step, -(-part.stop // step))
            for part, step in zip(at, self._chunks, strict=True)
        )
        for numbers in itertools.product(*touched):
            place = 0
            for number, many in zip(numbers, self._grid, strict=True):
                place = place * many + number
            yield place, tuple(number * step for number, step in zip(numbers, self._chunks, strict=True))

    def _unpack(self, place: int, out: np.ndarray) -> None:
        """One chunk -> (bytes,) uint8."""
        found = self._bounded(place, out.size)
        if found is None:
            raise bomb(self.where, out.size)
        offset, stored, skipped = found
        if not self.filters and stored == out.size:
            self._bytes_at(offset, out)
            return
        packed = bytearray(stored)
        self._bytes_at(offset, packed)
        undo(packed, self.filters, skipped, out, self.dtype.itemsize, self.where)

    def _bounded(self, place: int, size: int) -> tuple[int, int, int] | None:
        """As ChunkIndex.find.

        Raises:
            SegframeError: it is larger than any filter makes a chunk of `size` bytes.
        """
        found = self._index.find(place)
        if found and found[1] > _largest(size):
            raise bomb(self.where, size)
        return found

    def _bytes_at(self, offset: int, out: Any) -> None:
        assert self.raw is not None
        read_at(self.raw, offset, out)

    def _by_hdf5(self, at: Part) -> np.ndarray:
        if self.filters:
            for place, corner in self._chunks_of(at):
                self._check_chunk(place, corner)
        return self._array[at] if self._batch else self._array[at[1:]][None]

    def _check_chunk(self, place: int, corner: tuple[int, ...]) -> None:
        """HDF5 inflates a chunk as far as it goes, whatever its size should be: see that it is not far."""
        size = math.prod(self._chunks) * self.dtype.itemsize
        found = self._bounded(place, size)
        if found is None or DEFLATE not in self.filters or found[1] * DEFLATE_RATIO <= max(2**26, size):
            return
        at = self.filters.index(DEFLATE)
        if found[2] >> at & 1:
            return
        # Packed once more after it, as no writer does, it cannot be looked at.
        if set(self.filters[at + 1 :]) - {FLETCHER32} or inflates_to_more(self._chunk(corner), size):
            raise bomb(self.where, size)

    def _chunk(self, corner: tuple[int, ...]) -> bytes:
        from h5py._objects import phil

        # h5py 3.14 forgets its lock in this one call, and HDF5 in two threads at once corrupts memory.
        with phil:
            return self._array.id.read_direct_chunk(corner if self._batch else corner[1:])[1]
