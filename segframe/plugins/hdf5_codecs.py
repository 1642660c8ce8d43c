"""A chunk's filters undone outside of HDF5, which would hold its one lock meanwhile.

Deflate by zlib; with imagecodecs (pip install -e '.[codecs]') by libdeflate, and LZF, Blosc, Zstandard too.
None holds Python's lock, and none writes beyond the bytes that a chunk should have, whatever its own say.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from segframe.errors import SegframeError

if TYPE_CHECKING:
    import numpy as np

DEFLATE, SHUFFLE, FLETCHER32, LZF, BLOSC, BLOSC2, ZSTANDARD = 1, 2, 3, 32000, 32001, 32026, 32015
NAMES = {4: "szip", LZF: "lzf", 32004: "lz4", 32008: "bitshuffle", BLOSC: "Blosc", BLOSC2: "Blosc2",
         ZSTANDARD: "Zstandard"}  # fmt: skip

Packed = bytes | bytearray | memoryview

Codec = Callable[[Packed, "np.ndarray"], int]
"""(packed, out) -> bytes written; out is (bytes,) uint8. Raises RuntimeError or zlib.error."""


@cache
def codecs() -> dict[int, Codec]:
    """{HDF5's number of a filter: what undoes it}, as far as it can be undone here."""
    found: dict[int, Codec] = {DEFLATE: _zlib}
    try:
        import imagecodecs
    except ImportError:
        return found
    one_thread = {BLOSC: {"numthreads": 1}}
    for number, name in ((DEFLATE, "deflate"), (LZF, "lzf"), (BLOSC, "blosc"), (ZSTANDARD, "zstd")):
        if getattr(imagecodecs, name.upper()).available:
            found[number] = _of(getattr(imagecodecs, f"{name}_decode"), one_thread.get(number, {}))
    return found


@lru_cache
def _applied(filters: tuple[int, ...], skipped: int) -> tuple[int | None, bool]:
    """The filter that packs, if one did, and whether there is a shuffle to undo."""
    applied = [number for place, number in enumerate(filters) if not skipped >> place & 1]
    return next((number for number in applied if number != SHUFFLE), None), SHUFFLE in applied


def undone_here(filters: Sequence[int]) -> bool:
    """Whether chunks with these filters need no HDF5: one that packs, after a shuffle or not."""
    packing = [number for number in filters if number != SHUFFLE]
    return len(packing) <= 1 and all(number in codecs() for number in packing) and SHUFFLE not in filters[1:2]


def check_filters(filters: Sequence[int], where: str) -> None:
    """Check that something can undo each filter: this module, or HDF5 with its plugins.

    Raises:
        SegframeError: nothing can.
    """
    import h5py

    for number in filters:
        if undone_here([number]) or h5py.h5z.filter_avail(number):
            continue
        try:
            import hdf5plugin  # noqa: F401  (makes its filters known to HDF5)
        except ImportError:
            pass
        if not h5py.h5z.filter_avail(number):
            here = (
                "pip install -e '.[codecs]' in segframe's folder, or " if number in (BLOSC, ZSTANDARD) else ""
            )
            raise SegframeError(
                where,
                expected="filters that can be undone",
                got=f"filter {number}" + (f" ({NAMES[number]})" if number in NAMES else ""),
                remedy=f"Install what undoes it: {here}pip install hdf5plugin.",
            )


def undo(
    packed: Packed,
    filters: tuple[int, ...],
    skipped: int,
    out: np.ndarray,
    itemsize: int,
    where: str,
) -> None:
    """Undo all filters of one chunk.

    Args:
        packed: the chunk as it lies in the file.
        filters: their numbers, in the order in which they were applied; undone_here(filters).
        skipped: bit k is set where filter k was left out for this chunk.
        out: (bytes,) uint8, filled with the whole chunk.
        itemsize: bytes of one value.

    Raises:
        SegframeError: the chunk holds another number of bytes, or none that can be inflated.
    """
    import numpy as np

    packing, shuffled = _applied(filters, skipped & (1 << len(filters)) - 1)
    shuffled &= itemsize > 1
    plain = np.empty_like(out) if shuffled else out
    if packing is not None:
        try:
            there = codecs()[packing](packed, plain)
        except (RuntimeError, zlib.error) as error:
            raise bomb(where, out.size) from error
    else:
        there = len(packed)
        if there == plain.size:
            plain[:] = np.frombuffer(packed, np.uint8)
    if there != out.size:
        raise bomb(where, out.size)
    if shuffled:
        out.reshape(-1, itemsize)[:] = plain.reshape(itemsize, -1).T


def inflates_to_more(packed: bytes, size: int) -> bool:
    """Whether deflated bytes hold more than `size`: looks in small steps, keeps nothing."""
    inflater, met, left = zlib.decompressobj(), 0, packed
    while left and not inflater.eof:
        met += len(inflater.decompress(left, 2**20))
        left = inflater.unconsumed_tail
        if met > size:
            return True
    return False


def bomb(where: str, size: int) -> SegframeError:
    """The fault of a chunk that is not as large as it should be."""
    return SegframeError(
        where,
        expected=f"a chunk of {size} bytes",
        got="stored bytes that do not hold them",
        remedy="The file is damaged: copy or write it again.",
    )


def _zlib(packed: Packed, out: np.ndarray) -> int:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(packed, out.size + 1)
    if len(plain) == out.size and inflater.eof:  # its checksum was there, and right
        out.data[:] = plain
        return out.size
    return -1


def _of(decode: Any, options: dict[str, Any]) -> Codec:
    return lambda packed, out: len(decode(packed, out=out, **options))
