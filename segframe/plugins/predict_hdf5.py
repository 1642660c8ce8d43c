"""Images of an HDF5 file for `predict`: of a data set, or of a file that has images only.

/SPLIT/images as in hdf5.py, or /images without a split; masks may be missing. An image that is stored in
several chunks is read by bands of rows, and may then be larger than memory.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.errors import SegframeError, nearest
from segframe.plugins.hdf5_file import layout_error, member, names_in, open_file, understood
from segframe.plugins.hdf5_layout import SPLITS
from segframe.plugins.hdf5_names import read_names
from segframe.plugins.hdf5_storage import SAMPLE_LIMIT, check_storage
from segframe.plugins.hdf5_stored import StoredArray
from segframe.plugins.predict_sources import Item, Rows

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")

LARGEST_CHUNK = 2**26


def hdf5_items(path: Path, prefix: str, splits: Sequence[str] | None) -> list[Item]:
    """One item per sample, named SPLIT/ID, or ID where there are no splits.

    Raises:
        SegframeError: the file cannot be read, or has no images of that split.
    """
    file = open_file(path)  # stays open: the items read from it
    with understood(f"data file {path}"):
        there = names_in(file, f"data file {path}")
        if "images" in there:
            if splits:
                got = "images without a split"
                remedy = "Leave --split away."
                raise SegframeError(f"data file {path}", expected="splits", got=got, remedy=remedy)
            return list(_of_group(file, None, path, prefix))
        own = [name for name in there if name in SPLITS]
        for name in splits or ():
            if name not in own:
                raise SegframeError(
                    f"data file {path}", expected=f"a split {name!r}", got=", ".join(own) or "none",
                    remedy=nearest(name, own),
                )  # fmt: skip
        chosen = [name for name in own if not splits or name in splits]
        if not chosen:
            raise layout_error(f"data file {path}", "/images or /SPLIT/images", ", ".join(there) or "nothing")
        if not splits and len(chosen) > 1:
            log.info("%s: all of %s; --split chooses", path, ", ".join(chosen))
        return [
            item
            for split in chosen
            for item in _of_group(member(file, split, str(path)), split, path, f"{prefix}{split}/")
        ]


def _of_group(group: Any, split: str | None, path: Path, prefix: str) -> Iterator[Item]:
    import h5py

    where = f"data file {path}" + (f", /{split}" if split else "")
    images = member(group, "images", where) if isinstance(group, h5py.Group) else None
    if images is None:
        raise layout_error(where, "'images' in it", "none")
    per_sample = isinstance(images, h5py.Group)
    count = len(images)
    ids = read_names(group, "ids", count, where, _stop)
    if per_sample:
        ids = ids or tuple(sorted(names_in(images, where)))
    ids = ids or tuple(str(index) for index in range(count))
    for index, sample in enumerate(ids):
        found = f"{where} sample {sample!r}"
        array = member(images, sample, found) if per_sample else images
        first = None if per_sample else index
        _check(array, 0 if per_sample else 1, found)
        if per_sample or index == 0:
            opened = cache(partial(StoredArray, array, int(not per_sample), None))
        size = array.shape[-3:-1] if array.ndim == (3 if per_sample else 4) else array.shape[-2:]
        at = (split, index) if split else None
        yield Item(prefix + _as_file(sample), path, found, size, _opener(array, first, found, opened), at)


def _stop(error: SegframeError) -> None:
    raise error


def _as_file(sample: str) -> str:
    """As a file's name: without what no file name may have, and not one that hides."""
    name = sample.replace("/", "_").replace("\0", "_")
    return f"_{name[1:]}" if name.startswith(".") else name


def _check(array: Any, batch: int, where: str) -> None:
    dims = getattr(array, "ndim", 0) - batch
    if dims not in (2, 3) or 0 in array.shape:
        raise layout_error(where, "(height, width, channels)", str(getattr(array, "shape", "a group")))
    if array.dtype.newbyteorder("=") not in ("uint8", "uint16", "float32"):
        raise layout_error(where, "uint8, uint16 or float32", str(array.dtype))
    if not _by_bands(array, batch) or math.prod(array.shape[batch:]) * array.dtype.itemsize <= SAMPLE_LIMIT:
        check_storage(array, batch, where)


def _by_bands(array: Any, batch: int) -> bool:
    """Whether reading some rows reads much less than all of them."""
    if array.chunks is None:
        return True
    small = math.prod(array.chunks) * array.dtype.itemsize <= LARGEST_CHUNK
    return small and array.chunks[batch] < array.shape[batch]


def _opener(
    array: Any, index: int | None, where: str, stored: Callable[[], StoredArray]
) -> Callable[[], Rows]:
    def opened() -> Rows:
        if _by_bands(array, 0 if index is None else 1):
            return lambda start, stop: read(start, stop)
        with understood(where):
            image = _channels(stored().read(index or 0), index, array)
        return lambda start, stop: image[start:stop]

    def read(start: int, stop: int) -> np.ndarray:
        with understood(where):
            values = array[start:stop] if index is None else array[index, start:stop]
            return _channels(values, index, array)

    return opened


def _channels(values: np.ndarray, index: int | None, array: Any) -> np.ndarray:
    """(rows, width, channels) in this machine's byte order."""
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return values[..., None] if array.ndim == (2 if index is None else 3) else values
