"""Samples that lie apart in a file, read as a batch: all places first, then all bytes, then all filters.

Reading and undoing filters let go of Python's lock. With other work between two of them, threads that read a
batch each wait for one another more than for the bytes: two cores were slower than one.
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

PACKED_STEP = 2**18
"""Bytes: memory for packed chunks is a multiple, so that it can be used again for the next batch."""


def read_each(
    array: StoredArray,
    indices: Sequence[int],
    out: np.ndarray,
    empty: Callable[[tuple[int, ...], Any], np.ndarray],
) -> None:
    """Samples of an array that is `each_apart` into C-contiguous (samples, ...) of its dtype.

    Args:
        empty: makes an array of unset values of a shape and dtype.

    Raises:
        SegframeError, Exception: as StoredArray.read, without a word of which sample it is.
    """
    import numpy as np

    assert array.raw is not None
    targets = list(out.reshape(len(indices), -1).view(np.uint8))
    found = [array.lies_at(index) for index in indices]
    packed = [array.is_packed(stored) * stored for _, stored, _ in found]
    memory = empty((-(-sum(packed) // PACKED_STEP) * PACKED_STEP,), np.uint8).data
    into: list[Any] = [
        memory[end - size : end] if size else target
        for end, size, target in zip(itertools.accumulate(packed), packed, targets, strict=True)
    ]
    for (offset, _, _), part in zip(found, into, strict=True):
        read_at(array.raw, offset, part)
    for (_, _, skipped), size, part, target in zip(found, packed, into, targets, strict=True):
        if size:
            undo(part, array.filters, skipped, target, array.dtype.itemsize, array.where)
