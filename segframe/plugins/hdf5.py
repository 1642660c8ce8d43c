"""Data sets in one HDF5 file. The layout:

    /SPLIT/images   (samples, height, width, channels) uint8 or float32; SPLIT: train, and val and test if any
    /SPLIT/masks    (samples, height, width) uint8 class ids, 0 = background unless class_names says otherwise
    /SPLIT/ids      (samples,) unique names, string; made up as SPLIT/0, SPLIT/1, ... where missing
    /SPLIT/groups   (samples,) optional, string: what must not be split (a patient)
                    (attributes `ids` and `groups` of /SPLIT are read too; they end at about 4,500 samples)
    / attributes    class_names, num_classes (one of them), ignore_index, spacing (row, column) in mm,
                    source, licence (all four optional)

Images of differing sizes: one dataset per sample, /SPLIT/images/ID and /SPLIT/masks/ID. An image may lack
its channel axis and a mask may have one of length 1. An `ignore_index` is turned into IGNORED; one below
num_classes is a class that is no output: it is taken out and the ids above it shift down.

The writer (hdf5_writer.py) stores each sample as one chunk, compressed by lzf. Facts are checked when a
file is opened, every sample before it is used (verify.py).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.dataset import IGNORED, Sample
from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.plugins.hdf5_file import BROKEN, damaged, open_file, understood

if TYPE_CHECKING:
    import numpy as np

    from segframe.plugins.hdf5_layout import Facts
    from segframe.plugins.hdf5_split import Split

log = logging.getLogger("segframe")


@hookimpl
def segframe_datasets():
    return {"hdf5": open_hdf5}


def open_hdf5(*, path: str) -> Hdf5Dataset:
    """The data set in an HDF5 file.

    Args:
        path: the file; ~ is your home folder.

    Raises:
        SegframeError: the file is not there, not whole, being written, or not in the layout.
    """
    from segframe.plugins.hdf5_layout import read_layout

    where = Path(path).expanduser()
    file = open_file(where)
    try:
        with understood(f"data file {where}"):
            facts, splits = read_layout(file, where)
    except BaseException:
        file.close()
        raise
    return Hdf5Dataset(where, file, facts, splits)


class Hdf5Dataset:
    """Samples of an open HDF5 file; satisfies segframe.dataset.Dataset."""

    ignore_index = IGNORED

    def __init__(self, path: Path, file: Any, facts: Facts, splits: Mapping[str, Split]):
        from segframe.plugins.hdf5_facts import tables

        self.path = path
        self._classes = classes = facts.classes
        self.num_classes, self.class_names = len(classes.names), classes.names
        self.spacing = facts.spacing
        self.image_shape = facts.image_shape
        self._splits = dict(splits)
        self._file, self._process = file, os.getpid()
        self._lock = threading.Lock()
        self._new_ids, self._is_class = tables(classes)
        known = classes.in_all if classes.ignore_index is None else classes.ignore_index
        self._plain_below = min(self.num_classes, known)  # ids below it are classes and keep their number
        self._content_hash: str | None = None
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
        with self._lock:
            return self._split(split).window_size(self._opened(), index)

    def read_window(self, split: str, index: int, window: tuple[slice, slice]) -> Sample:
        return Sample(*self._checked(split, index, window))

    def masks(self, split: str, index: int) -> np.ndarray:
        """(height, width) uint8 class ids as the file has them."""
        return self._arrays(split, index, "masks")[0]

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

    def _split(self, split: str) -> Split:
        if split not in self._splits:
            raise SegframeError(
                f"data file {self.path}",
                expected=f"a split of {', '.join(self._splits)}",
                got=repr(split),
                remedy="See `splits` of the data set.",
            )
        return self._splits[split]

    def _checked(self, split: str, index: int, window: Any = None) -> tuple[np.ndarray, np.ndarray]:
        image, mask = self._arrays(split, index, "images", "masks", window=window)
        if mask.max() < self._plain_below:  # a table costs several times as much
            return image, mask
        if not self._is_class[mask].all():
            raise self._wrong_ids(split, index, mask)
        return image, self._new_ids[mask]

    def _arrays(self, split: str, index: int, *kinds: str, window: Any = None) -> list[np.ndarray]:
        samples = self._split(split)
        if not 0 <= index < len(samples.ids):
            raise IndexError(f"{split} has {len(samples.ids)} samples, there is no index {index}")
        try:
            # HDF5 is one thread at a time; d[i] in a loop, since fancy indexing is 30 to 1,000 times slower.
            with self._lock:
                file = self._opened()
                begun = [samples.fetch(file, kind, index, window) for kind in kinds]
            return [finish() for finish in begun]
        except BROKEN as error:
            where = f"data file {self.path}, {split} sample {samples.ids[index]!r}"
            raise damaged(where, error, "an image and a mask that can be read") from error

    def _opened(self) -> Any:
        """The file, opened by this process; under the lock."""
        if self._process != os.getpid():
            self._file, self._process = open_file(self.path), os.getpid()
        return self._file

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
