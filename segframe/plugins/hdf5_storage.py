"""How a data set of samples may lie in an HDF5 file: bounds that a hostile file cannot pass.

A file says itself how large its arrays are and how far its chunks inflate, so nothing is allocated on its
word. A sample has at most SAMPLE_LIMIT bytes; what is not compressed must fit into the file; all chunks must
be there; no filter stands twice. What is inflated by hdf5_codecs.py is stopped where a chunk should end.
Where HDF5 inflates: deflate makes at most 1,032 bytes of one, and is looked through before; LZF makes 88, so
that a chunk comes to at most 100 times its size. Filters of hdf5plugin keep their own bounds.
"""

from __future__ import annotations

import math
import shlex
from typing import Any

from segframe.errors import SegframeError
from segframe.plugins.hdf5_codecs import check_filters
from segframe.plugins.hdf5_stored import filters_of

SAMPLE_LIMIT = 2**31
"""Bytes: an RGB image of 26,700 x 26,700 pixels."""

SAMPLES_LIMIT = 2**22

NAMES_LIMIT = 2**28
"""Bytes of all names of a split."""

CHUNKS_LIMIT = 2**24


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
    check_filters(filters, where)
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
    if needed > CHUNKS_LIMIT:
        raise _error(
            where, f"at most {CHUNKS_LIMIT} chunks", str(needed), "Write it with one sample a chunk."
        )
    stored = array.id.get_num_chunks()
    if stored < needed:
        raise _unwritten(where, f"{stored} of {needed} chunks", array.file.filename)


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
