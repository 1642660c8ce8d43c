"""True masks of what is predicted: in the HDF5 file, or in a folder, by the images' names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segframe.errors import SegframeError
from segframe.plugins.predict_sources import Item

if TYPE_CHECKING:
    import numpy as np

    from segframe.plugins.hdf5_dataset import Hdf5Dataset

log = logging.getLogger("segframe")

MaskOf = Callable[[], "np.ndarray"]


class MaskFolder(NamedTuple):
    """--masks, and what its values mean."""

    folder: Path
    table: Mapping[int, int]
    """{value in the file: class id}; others stay."""
    ignore: int | None

    def read(self, item: Item, class_names: Sequence[str]) -> np.ndarray:
        """(height, width) uint8 class ids, IGNORED where nothing is known.

        Raises:
            SegframeError: there is no such file, it cannot be read, is of another size or has other values.
        """
        import numpy as np

        from segframe.dataset import IGNORED
        from segframe.plugins.image_files import ENDINGS, Page, read_mask

        path = next(
            (found for end in ENDINGS if (found := self.folder / f"{item.name}{end}").is_file()), None
        )
        if path is None:
            remedy = "Its name is the image's, with any of the endings of images."
            raise SegframeError(
                f"mask of {item.where}", expected=f"{self.folder / item.name}.png", got="none", remedy=remedy
            )
        values = read_mask(Page(path), as_colours=False)
        if values.ndim != 2 or values.shape != item.size:
            got = "colours" if values.ndim != 2 else f"{values.shape[0]} x {values.shape[1]}"
            remedy = "Save class ids as grey values or palette indices, in the size of the image."
            expected = f"{item.size[0]} x {item.size[1]} class ids"
            raise SegframeError(f"mask {path}", expected=expected, got=got, remedy=remedy)
        ids = values.astype(np.int64)
        for old, new in self.table.items():
            ids[values == old] = new
        void = ids == self.ignore if self.ignore is not None else np.zeros(ids.shape, bool)
        outside = np.unique(ids[~void & ((ids < 0) | (ids >= len(class_names)))])
        if outside.size:
            raise SegframeError(
                f"mask {path}",
                expected=f"ids below {len(class_names)} ({', '.join(class_names)})",
                got=", ".join(map(str, outside[:10])),
                remedy=f"Give --map {outside[-1]}=ID, or --ignore {outside[-1]} if it marks unknown pixels.",
            )
        return np.where(void, IGNORED, ids).astype(np.uint8)


def masks_of(
    items: Sequence[Item], class_names: Sequence[str], given: MaskFolder | None
) -> tuple[dict[str, MaskOf], tuple[float, float] | None]:
    """{item's name: reads its mask}, of those that have one; and the spacing of their files.

    Raises:
        SegframeError: files have different spacings, so that one mean of distances would mix units.
    """
    if given:
        return {item.name: partial(given.read, item, class_names) for item in items}, None
    found: dict[str, MaskOf] = {}
    spacings: dict[tuple[float, float] | None, Path] = {}
    for path in dict.fromkeys(item.source for item in items if item.sample):
        dataset = _data_set(path, class_names)
        if dataset is None:
            continue
        spacings[dataset.spacing] = path
        for item in items:
            if item.source == path and item.sample and item.sample[0] in dataset.splits:
                found[item.name] = partial(_mask, dataset, *item.sample)
    if len(spacings) > 1:
        raise SegframeError(
            "scores",
            expected="files with one spacing",
            got=", ".join(f"{spacing} in {path}" for spacing, path in spacings.items()),
            remedy="The masks are written. For scores give each file to a call of its own, with an OUT each.",
        )
    return found, next(iter(spacings), None)


def _mask(dataset: Hdf5Dataset, split: str, index: int) -> np.ndarray:
    return dataset.read(split, [index])[0].mask


def _data_set(path: Path, class_names: Sequence[str]) -> Hdf5Dataset | None:
    """The file as a data set with masks of these classes, or None with a line that says why not."""
    from segframe.plugins.hdf5 import open_hdf5

    try:
        dataset = open_hdf5(path=str(path))
    except SegframeError as error:
        log.info("%s: no scores, as it is no data set with masks (%s)", path, str(error).splitlines()[0])
        return None
    if tuple(dataset.class_names) != tuple(class_names):
        theirs, ours = ", ".join(dataset.class_names), ", ".join(class_names)
        log.warning("%s: no scores, as its classes are %s and the run's %s", path, theirs, ours)
        dataset.close()
        return None
    return dataset
