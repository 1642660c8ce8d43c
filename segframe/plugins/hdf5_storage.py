"""How a data set of samples lies in an HDF5 file: bounds that a hostile file cannot pass, and its chunks.

A file says itself how large its arrays are and how far its chunks inflate, so nothing is allocated on its
word. A sample has at most SAMPLE_LIMIT bytes; what is not compressed must fit into the file; all chunks must
be there; no filter stands twice. Deflate makes at most 1,032 bytes of one, and is stopped here; LZF, which
HDF5 inflates by itself, makes 88, so that a chunk comes to at most 100 times the size that it should have.
Filters that are loaded from elsewhere (Blosc, Zstandard) keep their own bounds.
"""

from __future__ import annotations

import itertools
import math
import shlex
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from segframe.errors import SegframeError

if TYPE_CHECKING:
    import numpy as np

SAMPLE_LIMIT = 2**30
"""Bytes: an RGB image of 18,900 x 18,900 pixels."""

SAMPLES_LIMIT = 2**22

NAMES_LIMIT = 2**28
"""Bytes of all names of a split."""

DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
DEFLATE_RATIO = 1032  # zlib's documentation, technical details
STEP = 2**20


def check_storage(array: Any, batch: int, where: str) -> None:
    """Refuse an array that cannot be what it says.

    Args:
        array: the h5py.Dataset of all samples (batch 1) or of one (batch 0).

    Raises:
        SegframeError: too large, values missing, or filters that no writer uses.
    """
    sample = math.prod(array.shape[batch:]) * array.dtype.itemsize
    if sample > SAMPLE_LIMIT:
        remedy = "Cut the images into tiles."
        raise _error(where, f"samples of at most {SAMPLE_LIMIT} bytes", f"{sample}", remedy)
    if batch and array.shape[0] > SAMPLES_LIMIT:
        remedy = "Use several files."
        raise _error(where, f"at most {SAMPLES_LIMIT} samples", str(array.shape[0]), remedy)
    filters = filters_of(array)
    if len(set(filters)) < len(filters):
        raise _error(where, "each filter once", f"filters {filters}", "Write the file again.")
    if not filters and array.nbytes > array.file.id.get_filesize():
        raise _unwritten(where, f"{array.nbytes} bytes of values", array.file.filename)
    if array.chunks is None:
        if array.id.get_storage_size() < array.nbytes:
            raise _unwritten(where, "no values", array.file.filename)
        return
    if len(array.chunks) != array.ndim:
        got = f"chunks {array.chunks}"
        raise _error(where, f"chunks of shape {array.shape} or less", got, "Write the file again.")
    chunk = math.prod(array.chunks) * array.dtype.itemsize
    if chunk > SAMPLE_LIMIT:
        remedy = "Write it with one sample a chunk."
        raise _error(where, f"chunks of at most {SAMPLE_LIMIT} bytes", str(chunk), remedy)
    needed = math.prod(math.ceil(size / step) for size, step in zip(array.shape, array.chunks, strict=True))
    stored = array.id.get_num_chunks()
    if stored < needed:
        raise _unwritten(where, f"{stored} of {needed} chunks", array.file.filename)


def fetch(array: Any, index: int | None) -> Callable[[], np.ndarray]:
    """Begin to read array[index] (None: all of it): call what is returned to have it.

    This part is for one thread at a time; what is returned needs no lock.

    Raises:
        SegframeError: a chunk inflates to more than it should.
        Exception: any of hdf5_file.BROKEN.
    """
    import numpy as np

    shape = array.shape if index is None else array.shape[1:]
    filters = filters_of(array)
    one_chunk = array.chunks == (shape if index is None else (1, *shape))
    if one_chunk and filters in ([DEFLATE], [SHUFFLE, DEFLATE]):
        corner = (0,) * array.ndim if index is None else (index, *(0 for _ in shape))
        skipped, packed = raw_chunk(array, corner)
        where = f"data file {array.file.filename}, {array.name}"
        dtype = array.dtype
        size = math.prod(shape) * dtype.itemsize

        def unpack() -> np.ndarray:
            plain = packed if skipped & (1 << (len(filters) - 1)) else inflated(packed, size, where)
            if len(plain) != size:
                raise bomb(where, size)
            if len(filters) == 2 and not skipped & 1:
                by_plane = np.frombuffer(plain, np.uint8).reshape(dtype.itemsize, -1)
                return by_plane.T.copy("C").view(dtype).reshape(shape)
            return np.frombuffer(bytearray(plain), dtype).reshape(shape)  # one that may be written to

        return unpack
    if filters:
        _check_chunks(array, index, filters)
    values = array[()] if index is None else array[index]
    return lambda: values


def filters_of(array: Any) -> list[int]:
    """Of HDF5, by number, in the order in which they pack."""
    create = array.id.get_create_plist()
    return [create.get_filter(index)[0] for index in range(create.get_nfilters())]


def _check_chunks(array: Any, index: int | None, filters: list[int]) -> None:
    """HDF5 inflates a chunk as far as it goes, whatever its size should be: see that it does not go far.

    No filter makes a chunk larger by more than a little: what is stored bounds what LZF can make of it.
    """
    size = math.prod(array.chunks) * array.dtype.itemsize
    starts = [range(0, whole, step) for whole, step in zip(array.shape, array.chunks, strict=True)]
    if index is not None:
        starts[0] = range(index - index % array.chunks[0], index + 1, array.chunks[0])
    for corner in itertools.product(*starts):
        stored = array.id.get_chunk_info_by_coord(corner).size
        where = f"data file {array.file.filename}, {array.name}, chunk at {corner}"
        if stored > size + size // 8 + 4096:
            raise bomb(where, size)
        if DEFLATE not in filters or stored * DEFLATE_RATIO <= max(2**26, size):
            continue
        skipped, packed = raw_chunk(array, corner)
        at = filters.index(DEFLATE)
        if skipped & (1 << at):
            continue
        if set(filters[at + 1 :]) - {FLETCHER32}:  # packed once more, as no writer does
            raise bomb(where, size)
        inflated(packed, size, where, keep=False)


def raw_chunk(array: Any, corner: tuple[int, ...]) -> tuple[int, bytes]:
    """(bits of the filters that it skipped, the bytes of a chunk as they are stored)."""
    from h5py._objects import phil

    # h5py 3.14 forgets its lock in this one call, and HDF5 in two threads at once corrupts memory.
    with phil:
        return array.id.read_direct_chunk(corner)


def inflated(packed: bytes, size: int, where: str, *, keep: bool = True) -> bytes:
    """`size` bytes, or with keep=False b"" after a look at them in small steps.

    Raises:
        SegframeError: there are more.
    """
    inflater = zlib.decompressobj()
    if keep:
        plain = inflater.decompress(packed, size + 1)
        if len(plain) > size:
            raise bomb(where, size)
        return plain
    met, left = 0, packed
    while left and not inflater.eof:
        met += len(inflater.decompress(left, STEP))
        left = inflater.unconsumed_tail
        if met > size:
            raise bomb(where, size)
    return b""


def bomb(where: str, size: int) -> SegframeError:
    """A chunk that does not inflate to its size."""
    got = "compressed bytes that hold another number"
    return _error(where, f"a chunk of {size} bytes", got, "The file is damaged: copy or write it again.")


def _unwritten(where: str, what: str, path: str) -> SegframeError:
    out = path.removesuffix(".h5") + "-filled.h5"
    return _error(
        where,
        "all its values in the file",
        f"{what} there: its writer did not finish",
        "Write it again. If what is missing is meant to read as the fill value: "
        f"python -m segframe data remap {shlex.quote(path)} {shlex.quote(out)}",
    )


def _error(where: str, expected: str, got: str, remedy: str) -> SegframeError:
    return SegframeError(where, expected=expected, got=got, remedy=remedy)
