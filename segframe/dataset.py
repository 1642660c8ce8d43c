"""What a data set is: samples with axes, dtypes and units, and the facts that the rest is built from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

IGNORED = 255
"""The class id of pixels that count nowhere: not in a loss, not in a map, not in a score. A data set turns
its own void id into this one, and padding is marked with it. So there are at most 255 classes."""


class Sample(NamedTuple):
    """One image with its mask."""

    image: np.ndarray
    """(height, width, channels) uint8 in 0..255, or float32 as the file has it."""
    mask: np.ndarray
    """(height, width) uint8 class ids below num_classes, or IGNORED."""


class Dataset(Protocol):
    """What `segframe_datasets` builders return. Facts are read when it is built; pixels when asked for."""

    @property
    def splits(self) -> Sequence[str]:
        """Those of train, val, test that there are."""

    @property
    def num_classes(self) -> int:
        """Outputs of the network: ids run from 0 to num_classes - 1, an ignored class taken out."""

    @property
    def class_names(self) -> Sequence[str]:
        """num_classes names, in the order of their ids."""

    @property
    def ignore_index(self) -> int:
        """IGNORED."""

    @property
    def spacing(self) -> tuple[float, float] | None:
        """(row, column) distance of pixel centres in mm, or None where unknown."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels); height and width are the largest of all samples."""

    @property
    def content_hash(self) -> str:
        """sha256 over all samples' pixels, ids, groups and the facts above, however they are compressed."""

    def ids(self, split: str) -> Sequence[str]:
        """Unique names of the split's samples, in the order of their indices."""

    def groups(self, split: str) -> Sequence[str]:
        """What must not be split (a patient), one per sample; the ids where nothing is grouped."""

    def read(self, split: str, indices: Sequence[int]) -> list[Sample]:
        """The samples with these indices, in this order. Safe to call from several threads.

        Two further methods are optional. read_stacked(split, indices, empty) gives images (samples, height,
        width, channels) and masks (samples, height, width) in one array each, made by empty(shape, dtype); or
        None where sizes may differ. stored_blocks(split, indices) gives the segframe.order.StoredBlocks of
        these samples, or None where none are stored together.
        """


@runtime_checkable
class Windows(Protocol):
    """What a data set may offer besides, where samples are larger than what is needed of them at a time."""

    def windowed(self, split: str, index: int) -> tuple[int, int] | None:
        """(height, width) of a sample of which `read_window` reads less than all; None: read it whole."""

    def read_window(self, split: str, index: int, window: tuple[slice, slice]) -> Sample:
        """These rows and columns (start and stop inside the sample) of one that is `windowed`."""


def at_once(dataset: Dataset) -> int:
    """Samples that are read together where all are looked at: 16, fewer of more than two megapixels."""
    height, width, _ = dataset.image_shape
    return max(1, min(16, 2**25 // (height * width)))


def corner(dataset: Dataset, split: str, index: int, side: int) -> np.ndarray:
    """(height, width, channels), a sample's image; of a larger one the upper left `side` pixels each way."""
    if isinstance(dataset, Windows) and (size := dataset.windowed(split, index)):
        rows, columns = (slice(0, min(side, length)) for length in size)
        return dataset.read_window(split, index, (rows, columns)).image
    (sample,) = dataset.read(split, [index])
    return sample.image[:side, :side]


def foreground(class_names: Sequence[str]) -> list[int]:
    """Ids that count as foreground: all but 0 where its name is "background", otherwise all."""
    return list(range(1 if class_names[0] == "background" else 0, len(class_names)))
