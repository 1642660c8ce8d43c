"""The samples of an open HDF5 file of the layout in hdf5.py."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.dataset import IGNORED, Sample
from segframe.errors import SegframeError
from segframe.plugins.hdf5_batch import read_each
from segframe.plugins.hdf5_blocks import WINDOW_BYTES, Blocks, stored_blocks
from segframe.plugins.hdf5_facts import id_tables
from segframe.plugins.hdf5_file import BROKEN, damaged, open_file
from segframe.plugins.hdf5_raw import raw_file
from segframe.plugins.hdf5_read_ahead import read_ahead
from segframe.plugins.hdf5_split import Arrays, Split, as_sample
from segframe.plugins.hdf5_stored import StoredArray

if TYPE_CHECKING:
    import numpy as np

    from segframe.order import StoredBlocks
    from segframe.plugins.hdf5_layout import Facts

log = logging.getLogger("segframe")


class Hdf5Dataset:
    """Samples of an open HDF5 file; satisfies segframe.dataset.Dataset."""

    ignore_index = IGNORED

    def __init__(self, path: Path, file: Any, facts: Facts, splits: Mapping[str, Split]):
        self.path = path
        self._classes = classes = facts.classes
        self.num_classes, self.class_names = len(classes.names), classes.names
        self.spacing = facts.spacing
        self.image_shape = facts.image_shape
        self._splits = dict(splits)
        self._file, self._process = file, os.getpid()
        self._lock = threading.Lock()
        self._arrays = Arrays(file, raw_file(file))
        self._blocks = Blocks()
        self._new_ids, self._is_class = id_tables(classes)
        known = classes.in_all if classes.ignore_index is None else classes.ignore_index
        self._plain_below = min(self.num_classes, known)  # ids below it are classes and keep their number
        self._content_hash: str | None = None
        self._told = False
        if classes.ignored_name:
            log.info(
                "%s: class %d (%s) is its ignore_index: it counts nowhere, %d classes are left%s",
                path,
                classes.ignore_index,
                classes.ignored_name,
                self.num_classes,
                " and the ids above it shift down" if (classes.ignore_index or 0) < self.num_classes else "",
            )

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._splits)

    def ids(self, split: str) -> Sequence[str]:
        return self._split(split).ids

    def groups(self, split: str) -> Sequence[str]:
        return self._split(split).groups or self._split(split).ids

    @property
    def content_hash(self) -> str:
        """Of every sample, each of which is checked on the way."""
        if self._content_hash is None:
            from segframe.plugins.verify import cached_content_hash

            self._content_hash = cached_content_hash(self, self.path)
        return self._content_hash

    def read(self, split: str, indices: Sequence[int]) -> list[Sample]:
        return [Sample(*self._checked(split, int(index))) for index in indices]

    def windowed(self, split: str, index: int) -> tuple[int, int] | None:
        """As segframe.dataset."""
        image, mask = (self._array(split, kind, index) for kind in ("images", "masks"))
        height, width = mask.shape[1:3]
        return (height, width) if image.in_parts and mask.in_parts else None

    def read_window(self, split: str, index: int, window: tuple[slice, slice]) -> Sample:
        """As segframe.dataset."""
        image, mask = (
            as_sample(self._stored(split, index, kind, window=window), kind) for kind in ("images", "masks")
        )
        return Sample(image, mask if self._plain(mask) else self._known(split, index, mask))

    def masks(self, split: str, index: int) -> np.ndarray:
        """(height, width) uint8 class ids as the file has them."""
        return as_sample(self._stored(split, index, "masks"), "masks")

    def file_classes(self) -> tuple[tuple[str, ...], int | None]:
        """Class names as the file counts them, one that is ignored included, and its void id."""
        return self._classes.in_file(), self._classes.ignore_index

    def is_binary_0_255(self) -> bool:
        """Whether the file's masks hold 0 and 255 only: reads all of them."""
        import numpy as np

        found = np.zeros(256, bool)
        for split, samples in self._splits.items():
            for index in range(len(samples.ids)):
                found[np.unique(self.masks(split, index))] = True
        return bool(found[255]) and not found[1:255].any()

    def close(self) -> None:
        """Let go of the file, so that it can be written again."""
        with self._lock:
            self._file.close()
            self._arrays = Arrays(self._file)

    def _split(self, split: str) -> Split:
        if split not in self._splits:
            raise SegframeError(
                f"data file {self.path}",
                expected=f"a split of {', '.join(self._splits)}",
                got=repr(split),
                remedy="See `splits` of the data set.",
            )
        return self._splits[split]

    def read_stacked(
        self, split: str, indices: Sequence[int], empty: Callable[[tuple[int, ...], Any], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """As segframe.dataset: decoded straight into one array."""
        if self._split(split).per_sample:
            return None
        arrays = {kind: self._array(split, kind, 0) for kind in ("images", "masks")}
        if not all(array.dtype.isnative for array in arrays.values()):
            return None
        read_ahead(list(arrays.values()), indices)
        stacked = []
        for kind, array in arrays.items():
            shape, dtype = array.shape[1:], "uint8" if array.dtype.kind == "b" else array.dtype
            values = empty((len(indices), *shape), dtype)
            self._read_into(values.view(array.dtype), array, split, indices, kind, empty)
            stacked.append(values)
        images, masks = stacked
        images = images[..., None] if images.ndim == 3 else images
        masks = masks[..., 0] if masks.ndim == 4 else masks
        if not self._plain(masks):
            for mask, index in zip(masks, indices, strict=True):
                mask[:] = self._known(split, int(index), mask)
        return images, masks

    def _read_into(
        self, out: np.ndarray, array: StoredArray, split: str, indices: Sequence[int], kind: str, empty: Any
    ) -> None:
        """All samples at once; where that does not do, one by one, which says which of them is at fault."""
        fault = None
        if array.each_apart and all(0 <= index < len(array) for index in indices):
            try:
                return read_each(array, [int(index) for index in indices], out, empty)
            except (*BROKEN, SegframeError) as error:
                fault = error
        for place, index in zip(out, indices, strict=True):
            self._stored(split, int(index), kind, out=place)
        if fault and not self._told:
            self._told = True
            log.warning("%s: read sample by sample, as batches failed: %r", array.where, fault)

    def stored_blocks(self, split: str, indices: Sequence[int]) -> StoredBlocks | None:
        """As segframe.dataset."""
        if self._split(split).per_sample:
            return None
        return stored_blocks([self._array(split, kind, 0) for kind in ("images", "masks")], indices)

    def _checked(self, split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
        image, mask = (as_sample(self._stored(split, index, kind), kind) for kind in ("images", "masks"))
        return image, mask if self._plain(mask) else self._known(split, index, mask)

    def _plain(self, masks: np.ndarray) -> bool:
        """Whether all ids are classes that keep their number: a table costs several times as much."""
        return bool(masks.max() < self._plain_below)

    def _known(self, split: str, index: int, mask: np.ndarray) -> np.ndarray:
        """The mask in our ids."""
        if not self._is_class[mask].all():
            raise self._wrong_ids(split, index, mask)
        return self._new_ids[mask]

    def _stored(
        self,
        split: str,
        index: int,
        kind: str,
        out: np.ndarray | None = None,
        window: tuple[slice, slice] | None = None,
    ) -> np.ndarray:
        """The sample's array as the file has it, or a window of one that is `windowed`."""
        samples = self._split(split)
        if not 0 <= index < len(samples.ids):
            raise IndexError(f"{split} has {len(samples.ids)} samples, there is no index {index}")
        try:
            array, place = self._array(split, kind, index), samples.place(index)
            if window is not None:
                return array.read_window(place, window)
            if array.rows == 1 or array.block_bytes > WINDOW_BYTES:
                return array.read(place, out=out)
            block = place // array.rows
            start = block * array.rows
            stop = min(start + array.rows, len(array))
            whole = self._blocks.get((split, kind, block), array.block_bytes, lambda: array.read(start, stop))
        except BROKEN as error:
            where = f"data file {self.path}, {split} sample {samples.ids[index]!r}"
            raise damaged(where, error, "an image and a mask that can be read") from error
        except SegframeError as error:  # of a chunk
            raise SegframeError(
                f"{error.subject}, {split} sample {samples.ids[index]!r}",
                expected=error.expected,
                got=error.got,
                remedy=error.remedy,
            ) from error
        if out is None:
            return whole[place - start].copy()
        out[:] = whole[place - start]
        return out

    def _array(self, split: str, kind: str, index: int) -> StoredArray:
        """The array that a sample lies in."""
        samples = self._split(split)
        with self._lock:  # HDF5 is one thread at a time
            if self._process != os.getpid():
                file = open_file(self.path)
                self._file, self._process, self._blocks = file, os.getpid(), Blocks()
                self._arrays = Arrays(file, raw_file(file))
            return self._arrays.of(samples, kind, index)

    def _wrong_ids(self, split: str, index: int, mask: np.ndarray) -> SegframeError:
        import numpy as np

        from segframe.plugins.hdf5_layout import wrong_ids_remedy

        outside = [int(value) for value in np.unique(mask) if not self._is_class[value]]
        known = ", ".join(f"{i} {name}" for i, name in enumerate(self.class_names))
        return SegframeError(
            f"data file {self.path}, {split} sample {self.ids(split)[index]!r}, mask",
            expected=f"class ids of {int(self._is_class.sum())} classes ({known})",
            got=f"id{'s' * (len(outside) > 1)} {', '.join(map(str, outside[:10]))}"
            + ", ..." * (len(outside) > 10),
            remedy=wrong_ids_remedy(self.path, outside, outside == [255] and self.is_binary_0_255()),
        )
