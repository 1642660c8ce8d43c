"""Samples that lie apart in a file, read as a batch: all places first, then all bytes, then all filters.

Reading and undoing filters let go of Python's lock. With other work between two of them, threads that read a
batch each wait for one another more than for the bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from segframe.plugins.hdf5_codecs import undo
from segframe.plugins.hdf5_raw import read_at

if TYPE_CHECKING:
    import numpy as np

    from segframe.plugins.hdf5_stored import StoredArray


def read_each(
    array: StoredArray,
    indices: Sequence[int],
    out: np.ndarray,
    empty: Callable[[tuple[int, ...], Any], np.ndarray],
) -> None:
    """Samples of an array that is `each_apart` into C-contiguous (samples, ...) of its dtype.

    Args:
        indices: inside the array, which is not checked.
        empty: makes an array of unset values of a shape and dtype.

    Raises:
        SegframeError, Exception: as StoredArray.read, without a word of which sample it is.
    """
    import numpy as np

    assert array.raw is not None
    targets = list(out.reshape(len(indices), -1).view(np.uint8))
    places = [array.lies_at(index) for index in indices]
    packed = [array.is_packed(stored) for _, stored, _ in places]
    sizes = [stored * one for (_, stored, _), one in zip(places, packed, strict=True)]
    memory = empty((sum(sizes),), np.uint8).data if any(packed) else memoryview(b"")
    buffers: list[Any] = [
        memory[end - size : end] if one else target
        for end, size, one, target in zip(itertools.accumulate(sizes), sizes, packed, targets, strict=True)
    ]
    for (offset, _, _), buffer in zip(places, buffers, strict=True):
        read_at(array.raw, offset, buffer)
    for (_, _, skipped), one, buffer, target in zip(places, packed, buffers, targets, strict=True):
        if one:
            undo(buffer, array.filters, skipped, target, array.dtype.itemsize, array.where)
