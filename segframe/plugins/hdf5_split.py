"""One split of an HDF5 file of the layout in hdf5.py: arrays and names, checked by what they say they are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segframe.errors import SegframeError, nearest
from segframe.plugins.hdf5_file import Fault, layout_error, member, names_in, understood
from segframe.plugins.hdf5_names import read_names
from segframe.plugins.hdf5_pair import Images, check_pair
from segframe.plugins.hdf5_raw import RawFile
from segframe.plugins.hdf5_storage import check_storage
from segframe.plugins.hdf5_stored import StoredArray

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")


class Split(NamedTuple):
    """Where the samples of one split lie."""

    name: str
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    """Empty where nothing is grouped."""
    per_sample: bool

    def stored(self, file: Any, kind: str, index: int) -> Any:
        """The h5py.Dataset that the sample lies in."""
        found = file[self.name][kind]
        return found[self.ids[index]] if self.per_sample else found

    def place(self, index: int) -> int:
        """Of a sample, in its array."""
        return 0 if self.per_sample else index


class Arrays:
    """The arrays of a file's samples, each opened when it is first asked for, by one thread at a time."""

    def __init__(self, file: Any, raw: RawFile | None = None):
        self._file, self._raw = file, raw
        self._opened: dict[tuple[str, str, int], StoredArray] = {}

    def of(self, split: Split, kind: str, index: int) -> StoredArray:
        """The one that a sample lies in, to be read from any thread."""
        key = split.name, kind, index if split.per_sample else 0
        if key not in self._opened:
            stored = split.stored(self._file, kind, index)
            self._opened[key] = StoredArray(stored, int(not split.per_sample), self._raw)
        return self._opened[key]


def as_sample(value: np.ndarray, kind: str) -> np.ndarray:
    """A stored image as (height, width, channels) uint8 or float32, a mask as (height, width) uint8."""
    if kind == "images":
        value = value[..., None] if value.ndim == 2 else value
        return value.astype(value.dtype.newbyteorder("="), copy=False)
    return (value[..., 0] if value.ndim == 3 else value).astype("uint8", copy=False)


def read_split(
    group: Any, name: str, where: str, path: Path, fault: Fault
) -> tuple[Split | None, list[Images]]:
    """The split and its images' facts; None where its samples cannot be told.

    Samples with a fault are left out, where they are datasets of their own.
    """
    import h5py

    if not isinstance(group, h5py.Group):
        fault(layout_error(where, "a group with images and masks", "a dataset"))
        return None, []
    images, masks = (_needed(group, kind, where, fault) for kind in ("images", "masks"))
    if images is None or masks is None:
        return None, []
    per_sample = isinstance(images, h5py.Group)
    if per_sample != isinstance(masks, h5py.Group):
        fault(layout_error(where, "images and masks both datasets or both groups", "one of each"))
        return None, []
    if per_sample:
        return _of_samples(group, images, masks, name, where, path, fault)
    counts = [array.shape[0] if array.ndim else 0 for array in (images, masks)]
    if counts[0] != counts[1]:
        fault(layout_error(where, "as many masks as images", f"{counts[0]} images and {counts[1]} masks"))
    if 0 in counts:
        fault(_empty(where, name))
        return None, []
    try:
        found = [check_pair(images, masks, 1, where, path, fault)]
        check_storage(images, 1, f"{where}/images")
        check_storage(masks, 1, f"{where}/masks")
    except SegframeError as error:
        fault(error)
        return None, []
    count = min(counts)
    ids = read_names(group, "ids", count, where, fault)
    if ids is None:
        ids = tuple(f"{name}/{index}" for index in range(count))
        log.info("%s has no ids: its samples are called %s, ...", where, ids[0])
    groups = read_names(group, "groups", count, where, fault) or ()
    if images.ndim == 3:
        log.info("%s/images has no channel axis: it is read as one channel", where)
    return Split(name, ids, groups, False), found


def _of_samples(
    group: Any, images: Any, masks: Any, name: str, where: str, path: Path, fault: Fault
) -> tuple[Split | None, list[Images]]:
    of_images, of_masks = names_in(images, f"{where}/images"), names_in(masks, f"{where}/masks")
    maskless = set(of_images) - set(of_masks)
    odd = maskless | (set(of_masks) - set(of_images))
    for sample in sorted(odd):
        lacks = "mask" if sample in maskless else "image"
        fault(layout_error(where, "a mask for each image", f"sample {sample!r} without {lacks}"))
    ids = read_names(group, "ids", len(of_images), where, fault)
    if ids is not None and set(ids) != set(of_images):
        differs = sorted(set(ids) ^ set(of_images))[0]
        fault(layout_error(f"{where}/ids", "the names below /images", f"a difference in {differs!r}"))
        ids = None
    ids = ids or tuple(sorted(of_images))
    groups = read_names(group, "groups", len(ids), where, fault) or ()
    good, found = [], []
    for index, sample in enumerate(ids):
        if sample in odd:
            continue
        subject = f"{where} sample {sample!r}"
        try:
            with understood(subject):
                image, mask = (_needed(kind, sample, subject, _stop) for kind in (images, masks))
                found.append(check_pair(image, mask, 0, subject, path, _stop))
                check_storage(image, 0, f"{subject}, image")
                check_storage(mask, 0, f"{subject}, mask")
            good.append(index)
        except SegframeError as error:
            fault(error)
    if not ids:
        fault(_empty(where, name))
    if not good:
        return None, []
    if images[ids[good[0]]].ndim == 2:
        log.info("%s/images has no channel axis: it is read as one channel", where)
    groups = tuple(groups[index] for index in good) if groups else ()
    return Split(name, tuple(ids[index] for index in good), groups, True), found


def _stop(error: SegframeError) -> None:
    raise error


def _empty(where: str, name: str) -> SegframeError:
    remedy = f"Fill the split, or delete /{name}."
    return SegframeError(where, expected="at least one sample", got="none", remedy=remedy)


def _needed(group: Any, name: str, where: str, fault: Fault) -> Any:
    import h5py

    try:
        found = member(group, name, f"{where}/{name}")
    except SegframeError as error:
        fault(error)
        return None
    if found is not None and not isinstance(found, h5py.Group | h5py.Dataset):
        fault(layout_error(f"{where}/{name}", "a data set or a group", "a data type"))
        return None
    if found is None:
        there = names_in(group, where)
        fault(
            SegframeError(
                where,
                expected=f"{name!r} in it",
                got=", ".join(there) or "nothing",
                remedy=f"{nearest(name, there)} The layout is in segframe/plugins/hdf5.py.",
            )
        )
    return found
