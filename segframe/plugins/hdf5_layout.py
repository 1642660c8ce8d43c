"""What an HDF5 file of the layout in hdf5.py holds: its facts and splits, checked without reading pixels."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segframe.errors import SegframeError, nearest
from segframe.plugins.hdf5_facts import read_classes, read_spacing, strings
from segframe.plugins.hdf5_file import member

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")

SPLITS = ("train", "val", "test")


class Facts(NamedTuple):
    """What is true of the whole file."""

    class_names: tuple[str, ...]
    """Of the network's outputs: an ignored class is not among them."""
    file_classes: int
    """How many classes the file counts, an ignored one included."""
    ignore_index: int | None
    """The file's own void id."""
    ignored_name: str
    """The name of the class that is taken out, if one is."""
    spacing: tuple[float, float] | None
    image_shape: tuple[int, int, int]


class Split(NamedTuple):
    """Where the samples of one split lie."""

    name: str
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    """Empty where nothing is grouped."""
    per_sample: bool

    def array(self, file: Any, kind: str, index: int) -> np.ndarray:
        """An image (height, width, channels) uint8 or float32, or a mask (height, width) uint8."""
        found = file[self.name][kind]
        value = found[self.ids[index]][()] if self.per_sample else found[index]
        if kind == "images":
            value = value[..., None] if value.ndim == 2 else value
            return value.astype(value.dtype.newbyteorder("="), copy=False)
        return (value[..., 0] if value.ndim == 3 else value).astype("uint8", copy=False)


def read_layout(file: Any, path: Path) -> tuple[Facts, dict[str, Split]]:
    """Facts and splits of an open file.

    Raises:
        SegframeError: something is missing, of another type or size, or does not fit the rest.
    """
    named = f"data file {path}"
    if "train" not in file:
        raise SegframeError(
            named,
            expected="a group 'train'",
            got=f"groups: {', '.join(file) or 'none'}",
            remedy=f"{nearest('train', file)} The layout is in segframe/plugins/hdf5.py.",
        )
    for name in file:
        if name not in SPLITS:
            log.info("%s: /%s is no split (%s): it is left alone", path, name, ", ".join(SPLITS))
    shapes: list[tuple[int, int, int]] = []
    dtypes: dict[str, str] = {}
    splits = {}
    for name in SPLITS:
        group = member(file, name, f"{named}, /{name}")
        if group is not None:
            splits[name] = _split(group, name, f"{named}, /{name}", shapes, dtypes, path)
    _check_once(splits, named)
    channels = {shape[2] for shape in shapes}
    if len(channels) > 1 or len(set(dtypes.values())) > 1:
        raise SegframeError(
            f"{named}, images",
            expected="one number of channels and one dtype in all samples",
            got=f"{sorted(channels)} channels, {', '.join(f'{k} {v}' for k, v in dtypes.items())}",
            remedy="Write the file again with images alike.",
        )
    image_shape = max(shape[0] for shape in shapes), max(shape[1] for shape in shapes), shapes[0][2]
    classes = read_classes(file.attrs, path)
    return Facts(*classes, read_spacing(file.attrs, path), image_shape), splits


def wrong_ids_remedy(path: Path, outside: Sequence[int], binary: bool) -> str:
    """The command that mends masks with ids that are no classes."""
    out = path.with_name(path.stem + "-remapped" + path.suffix)
    command = f"python -m segframe data remap {shlex.quote(str(path))} {shlex.quote(str(out))}"
    if binary:
        return f"{command} --map 255=1"
    if list(outside) == [255]:
        return (
            f"If 255 marks unknown pixels: {command} --ignore 255. If it is a class: {command} --map 255=ID"
        )
    maps = " ".join(f"--map {value}=ID" for value in outside[:3])
    return f"{command} {maps}{' ...' * (len(outside) > 3)}, or set the file's num_classes and class_names."


def _split(group: Any, name: str, where: str, shapes: list, dtypes: dict[str, str], path: Path) -> Split:
    import h5py

    if not isinstance(group, h5py.Group):
        raise _shape_error(where, "a group with images and masks", "a dataset")
    images, masks = (_needed(group, kind, where) for kind in ("images", "masks"))
    per_sample = isinstance(images, h5py.Group)
    if per_sample != isinstance(masks, h5py.Group):
        raise _shape_error(where, "images and masks both datasets or both groups", "one of each")
    count = _same_names(images, masks, where) if per_sample else _same_length(images, masks, where)
    if count == 0:
        raise SegframeError(
            where, expected="at least one sample", got="none", remedy=f"Fill the split, or delete /{name}."
        )
    ids = _names(group, "ids", count, where)
    groups = _names(group, "groups", count, where) or ()
    if per_sample:
        if ids is not None and set(ids) != set(images):
            odd = sorted(set(ids) ^ set(images))[0]
            raise _shape_error(f"{where}/ids", "the names below /images", f"a difference in {odd!r}")
        ids = ids or tuple(sorted(images))
        pairs = [(sample, _needed(images, sample, where), _needed(masks, sample, where)) for sample in ids]
    else:
        if ids is None:
            ids = tuple(f"{name}/{index}" for index in range(count))
            log.info("%s has no ids: its samples are called %s, ...", where, ids[0])
        pairs = [("", images, masks)]
    for sample, image, mask in pairs:
        subject = f"{where} sample {sample!r}" if sample else where
        shapes.append(_check_pair(image, mask, 0 if per_sample else 1, subject, path))
        dtypes[name] = str(image.dtype.newbyteorder("="))
    if (pairs[0][1].ndim == 2) if per_sample else (images.ndim == 3):
        log.info("%s/images has no channel axis: it is read as one channel", where)
    return Split(name, ids, groups, per_sample)


def _needed(group: Any, name: str, where: str) -> Any:
    found = member(group, name, f"{where}/{name}")
    if found is None:
        raise SegframeError(
            where,
            expected=f"{name!r} in it",
            got=", ".join(group) or "nothing",
            remedy=f"{nearest(name, group)} The layout is in segframe/plugins/hdf5.py.",
        )
    return found


def _same_length(images: Any, masks: Any, where: str) -> int:
    counts = [array.shape[0] if array.ndim else 0 for array in (images, masks)]
    if counts[0] != counts[1]:
        raise _shape_error(where, "as many masks as images", f"{counts[0]} images and {counts[1]} masks")
    return counts[0]


def _same_names(images: Any, masks: Any, where: str) -> int:
    odd = sorted(set(images) ^ set(masks))
    if odd:
        lacks = "mask" if odd[0] in images else "image"
        raise _shape_error(where, "a mask for each image", f"sample {odd[0]!r} without {lacks}")
    return len(images)


def _check_pair(image: Any, mask: Any, batch: int, where: str, path: Path) -> tuple[int, int, int]:
    """(height, width, channels) of the image(s); `batch` is 1 where there is a first axis of samples."""
    first = "samples, " * batch
    for array, kind, axes in ((image, "image", "height, width, channels"), (mask, "mask", "height, width")):
        dims = (2, 3) if hasattr(array, "shape") else ()
        squeezable = kind == "image" or not dims or array.ndim == 2 + batch or array.shape[-1] == 1
        if not dims or array.ndim - batch not in dims or 0 in array.shape or not squeezable:
            raise _shape_error(
                f"{where}, {kind}", f"({first}{axes})", str(getattr(array, "shape", "a group"))
            )
    out = shlex.quote(str(path.with_name(path.stem + "-converted" + path.suffix)))
    command = f"python -m segframe data remap {shlex.quote(str(path))} {out}"
    if image.dtype.newbyteorder("=") not in ("uint8", "float32"):
        convertible = image.dtype.kind in "uifb"
        remedy = f"{command} --images float32" if convertible else "Write the file again with one of these."
        raise SegframeError(
            f"{where}, image", expected="uint8 or float32", got=str(image.dtype), remedy=remedy
        )
    if mask.dtype != "uint8" and mask.dtype.kind != "b":
        remedy = command if mask.dtype.kind in "ui" else "Write class ids as uint8."
        raise SegframeError(f"{where}, mask", expected="uint8 class ids", got=str(mask.dtype), remedy=remedy)
    if image.shape[batch : batch + 2] != mask.shape[batch : batch + 2]:
        sizes = [" x ".join(map(str, array.shape[batch : batch + 2])) for array in (image, mask)]
        raise _shape_error(where, "images and masks of one size", f"image {sizes[0]}, mask {sizes[1]}")
    height, width = image.shape[batch : batch + 2]
    return height, width, image.shape[batch + 2] if image.ndim == batch + 3 else 1


def _names(group: Any, kind: str, count: int, where: str) -> tuple[str, ...] | None:
    found = member(group, kind, f"{where}/{kind}")
    values = found[()] if found is not None else group.attrs.get(kind)
    if values is None:
        return None
    names = strings(values)
    if names is None or len(names) != count:
        got = f"{len(names)}" if names is not None else "something else"
        raise _shape_error(f"{where}/{kind}", f"{count} names, one per sample", got)
    return names


def _check_once(splits: dict[str, Split], named: str) -> None:
    """No id twice, no group in two splits."""
    seen: dict[str, str] = {}
    owner: dict[str, str] = {}
    for split in splits.values():
        for sample in split.ids:
            if sample in seen:
                places = split.name if seen[sample] == split.name else f"{seen[sample]} and {split.name}"
                remedy = "Give each sample its own name; a sample in two splits makes scores worthless."
                raise SegframeError(
                    f"{named}, ids",
                    expected="unique names",
                    got=f"{sample!r} twice in {places}",
                    remedy=remedy,
                )
            seen[sample] = split.name
        for group in split.groups:
            if owner.setdefault(group, split.name) != split.name:
                raise SegframeError(
                    f"{named}, groups",
                    expected="each group in one split",
                    got=f"{group!r} in {owner[group]} and {split.name}",
                    remedy="Move all its samples to one of the two.",
                )


def _shape_error(where: str, expected: str, got: str) -> SegframeError:
    return SegframeError(
        where, expected=expected, got=got, remedy="The layout is in segframe/plugins/hdf5.py; write it so."
    )
