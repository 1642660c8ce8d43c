"""Copy an HDF5 data set with its masks' ids changed or its images converted, and all else as it was."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.errors import SegframeError
from segframe.plugins.hdf5_facts import strings
from segframe.plugins.hdf5_file import member, names_in, open_file, understood
from segframe.plugins.hdf5_layout import SPLITS, wrong_ids_remedy
from segframe.plugins.hdf5_storage import SAMPLE_LIMIT
from segframe.plugins.hdf5_stored import StoredArray
from segframe.plugins.hdf5_writer import new_file, set_attributes

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")


def remap(
    path: Path,
    out: Path,
    *,
    table: Mapping[int, int],
    class_names: Sequence[str] | None,
    ignore: int | None,
    to_float32: bool,
    shown: Callable[..., Iterable],
) -> set[int]:
    """Write `out`; masks of any integer type become uint8.

    Args:
        table: {id in the masks: new id}; the others stay.
        class_names: names to set, and so num_classes.
        ignore: void id to set.
        to_float32: whether images become float32, integers divided by their type's largest.
        shown: wraps an iterable with a progress bar.

    Returns:
        The ids that the new masks have.

    Raises:
        SegframeError: the file cannot be read, or the new masks have ids that are no classes.
    """
    found: set[int] = set()
    with open_file(path) as source, new_file(out) as target, understood(f"data file {path}"):
        _copy_attributes(source, target)
        if class_names:
            set_attributes(target, {"class_names": list(class_names), "num_classes": len(class_names)})
        if ignore is not None:
            set_attributes(target, {"ignore_index": ignore})
        for name in names_in(source, f"data file {path}"):
            group = member(source, name, f"data file {path}, /{name}")
            if name not in SPLITS:
                _refuse_links(group, f"data file {path}, /{name}")
                source.copy(group, target, name)
                continue
            copied = target.create_group(name)
            _copy_attributes(group, copied)
            for kind in names_in(group, f"data file {path}, /{name}"):
                if kind == "masks":
                    masks = member(group, kind, f"data file {path}, /{name}/masks")
                    found |= _convert(masks, copied, kind, "uint8", lambda ids: _mapped(ids, table), shown)
                elif kind == "images" and to_float32:
                    images = member(group, kind, f"data file {path}, /{name}/images")
                    _convert(images, copied, kind, "float32", _as_float32, shown)
                else:
                    other = member(group, kind, f"data file {path}, /{name}/{kind}")
                    _refuse_links(other, f"data file {path}, /{name}/{kind}")
                    group.copy(other, copied, kind)
        _check(found, target.attrs, path)
    return found


def _convert(
    old: Any,
    target: Any,
    name: str,
    dtype: str,
    change: Callable[[np.ndarray], np.ndarray],
    shown: Callable[..., Iterable] | None,
) -> set[int]:
    """Copy a dataset, or a group of one per sample, changed; the ids it has, for masks.

    Args:
        shown: None for a sample of its own, which is changed in one step.
    """
    import h5py
    import numpy as np

    found: set[int] = set()
    if isinstance(old, h5py.Group):
        group = target.create_group(name)
        _copy_attributes(old, group)
        for sample in names_in(old, old.name):
            one = member(old, sample, f"{old.name}/{sample}")
            found |= _convert(one, group, sample, dtype, change, None)
        return found
    if old.ndim == 0:
        remedy = "Write the file again."
        raise SegframeError(f"data set {old.name}", expected="an array", got="one number", remedy=remedy)
    _check_size(old)
    filters = {"chunks": old.chunks, "compression": old.compression, "compression_opts": old.compression_opts}
    new = target.create_dataset(name, shape=old.shape, dtype=dtype, **filters)
    _copy_attributes(old, new)
    with understood(f"data set {old.name}"):
        array = StoredArray(old, int(shown is not None), None)
    for index in [...] if shown is None else shown(range(len(old)), old.name):
        values = change(_read(array, index, old.name))
        new[index] = values
        if dtype == "uint8":
            found.update(int(value) for value in np.unique(values))
    return found


def _refuse_links(found: Any, where: str) -> None:
    """What is copied whole must not bring in other files: an external link, or values that lie elsewhere."""
    import h5py

    if isinstance(found, h5py.Group):
        for name in names_in(found, where):
            _refuse_links(member(found, name, f"{where}/{name}"), f"{where}/{name}")


def _check_size(old: Any) -> None:
    """A sample, or a chunk, is read as a whole."""
    sample = math.prod(old.shape[1:]) * old.dtype.itemsize
    chunk = math.prod(old.chunks or (0,)) * old.dtype.itemsize
    if max(sample, chunk) > SAMPLE_LIMIT:
        raise SegframeError(
            f"data set {old.name}",
            expected=f"samples and chunks of at most {SAMPLE_LIMIT} bytes",
            got=str(max(sample, chunk)),
            remedy="Cut the images into tiles.",
        )


def _read(array: StoredArray, index: Any, name: str) -> np.ndarray:
    whole = index is ...
    with understood(f"data set {name}" if whole else f"data set {name}, sample {index}"):
        return array.read(0 if whole else index)


def _mapped(ids: np.ndarray, table: Mapping[int, int]) -> np.ndarray:
    import numpy as np

    ids = ids.astype(np.uint8) if ids.dtype.kind == "b" else ids
    if ids.dtype.kind not in "ui":
        raise SegframeError(
            "masks", expected="integers", got=str(ids.dtype), remedy="Write the class ids as uint8."
        )
    new = ids.astype(np.int64)
    for old_id, new_id in table.items():
        new[ids == old_id] = new_id
    if new.size and not 0 <= new.min() <= new.max() <= 255:
        bad = int(new.min()) if new.min() < 0 else int(new.max())
        raise SegframeError(
            "masks", expected="ids of 0 to 255", got=str(bad), remedy=f"Add --map {bad}=ID to the command."
        )
    return new.astype(np.uint8)


def _as_float32(values: np.ndarray) -> np.ndarray:
    import numpy as np

    largest = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1
    return (values / largest).astype(np.float32)


def _copy_attributes(source: Any, target: Any) -> None:
    """As they are, type and all."""
    for name in source.attrs:
        old = source.attrs.get_id(name)
        target.attrs.create(name, source.attrs[name], dtype=old.dtype)


def _check(found: set[int], attrs: Any, path: Path) -> None:
    """Ids below the number of classes, as far as the file says one."""
    names = strings(attrs["class_names"]) if "class_names" in attrs else None
    classes = int(attrs["num_classes"]) if "num_classes" in attrs else len(names or ()) or None
    ignore = int(attrs["ignore_index"]) if "ignore_index" in attrs else None
    outside = sorted(value for value in found if classes and value >= classes and value != ignore)
    if outside:
        raise SegframeError(
            f"masks of {path}, as mapped",
            expected=f"ids below {classes}, the number of classes",
            got=", ".join(map(str, outside[:10])),
            remedy=wrong_ids_remedy(path, outside, outside == [255] and found <= {0, 255}),
        )
