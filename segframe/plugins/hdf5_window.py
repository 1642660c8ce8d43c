"""A part of a sample that lies in several chunks: only the chunks that it touches are read and inflated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from segframe.plugins.hdf5_storage import DEFLATE, SHUFFLE, bomb, filters_of, inflated, raw_chunk

if TYPE_CHECKING:
    import numpy as np

LZF = 32000
PLAIN: tuple[list[int], ...] = ([], [LZF], [SHUFFLE, LZF])  # HDF5 reads them itself: see hdf5_storage
UNPACKED = ([DEFLATE], [SHUFFLE, DEFLATE])

LARGEST_CHUNK = 2**26
"""Bytes."""


def in_parts(array: Any, index: int | None) -> bool:
    """Whether a part of array[index] (None: of all of it) can be read without most of the rest."""
    if array.chunks is None:
        return True
    batch = 0 if index is None else 1
    chunk, sample = array.chunks[batch:], array.shape[batch:]
    small = math.prod(chunk) * 2 <= math.prod(sample)
    return (
        small
        and math.prod(array.chunks) * array.dtype.itemsize <= LARGEST_CHUNK
        and filters_of(array) in (*PLAIN, *UNPACKED)
    )


def fetch_window(array: Any, index: int | None, window: tuple[slice, slice]) -> Callable[[], np.ndarray]:
    """As hdf5_storage.fetch, of these rows and columns; for an array that `in_parts` is true of.

    Args:
        window: rows and columns, each with a start and a stop inside the sample.
    """
    import numpy as np

    lead = () if index is None else (slice(index, index + 1),)
    trail = tuple(slice(0, size) for size in array.shape[len(lead) + 2 :])
    at = (*lead, *window, *trail)
    shape = tuple(part.stop - part.start for part in at)
    filters, dtype = filters_of(array), array.dtype
    size = math.prod(array.chunks or ()) * dtype.itemsize
    where = f"data file {array.file.filename}, {array.name}"
    corners = [] if array.chunks is None else _corners(array.chunks, at)
    if filters in PLAIN:
        for corner in corners if filters else ():
            if array.id.get_chunk_info_by_coord(corner).size > size + size // 8 + 4096:
                raise bomb(where, size)
        values = array[at]
        return lambda: values if index is None else values[0]
    packed = [(corner, *raw_chunk(array, corner)) for corner in corners]
    chunks = array.chunks

    def unpack() -> np.ndarray:
        result = np.empty(shape, dtype)
        for corner, skipped, data in packed:
            plain = data if skipped & (1 << (len(filters) - 1)) else inflated(data, size, where)
            if len(plain) != size:
                raise bomb(where, size)
            if len(filters) == 2 and not skipped & 1:
                chunk = np.frombuffer(plain, np.uint8).reshape(dtype.itemsize, -1).T.copy("C").view(dtype)
            else:
                chunk = np.frombuffer(plain, dtype)
            target, source = [], []
            for part, first, length in zip(at, corner, chunks, strict=True):
                start, stop = max(part.start, first), min(part.stop, first + length)
                target.append(slice(start - part.start, stop - part.start))
                source.append(slice(start - first, stop - first))
            result[tuple(target)] = chunk.reshape(chunks)[tuple(source)]
        return result if index is None else result[0]

    return unpack


def _corners(chunks: tuple[int, ...], at: tuple[slice, ...]) -> list[tuple[int, ...]]:
    """First elements of the chunks that this part touches."""
    firsts = (
        range(part.start - part.start % length, part.stop, length)
        for part, length in zip(at, chunks, strict=True)
    )
    return list(itertools.product(*firsts))
