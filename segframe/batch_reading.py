"""Samples of a data set read as one batch: stacked, the smaller ones filled up below and right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from segframe.batch import MASK_PADDING
from segframe.buffers import Buffers
from segframe.dataset import Dataset
from segframe.errors import SegframeError
from segframe.patches import Cut, Patches
from segframe.split import Part

ARRAYS = 4
"""Of a batch: images, masks, and the packed bytes of each while they are read."""


class Group(NamedTuple):
    """Samples, or patches of them, that follow one another."""

    positions: np.ndarray
    """(samples,) int64, in a part."""
    seeds: np.ndarray
    """(samples, 2) int32, of what is done to each."""
    cuts: np.ndarray
    """(samples,) int32 of segframe.patches.Cut."""

    @classmethod
    def whole(cls, positions: Sequence[int] | np.ndarray) -> Group:
        """Whole samples that nothing is done to."""
        count = len(positions)
        return cls(
            np.asarray(positions, np.int64),
            np.zeros((count, 2), np.int32),
            np.full(count, Cut.WHOLE, np.int32),
        )

    def part(self, start: int, stop: int | None = None) -> Group:
        return Group(*(each[start:stop] for each in self))

    def followed_by(self, other: Group) -> Group:
        return Group(*map(np.concatenate, zip(self, other, strict=True)))


class BatchReader:
    """Reads batches of a part. Safe in several threads.

    Args:
        makers: {name: maker} of the maps that each sample gets (segframe.loss_maps).
        patches: what is read of each sample, where that is not all of it.
        at_once: so many batches are on their way at a time; the memory of those is used again.
    """

    def __init__(
        self,
        dataset: Dataset,
        part: Part,
        makers: Mapping[str, Any],
        patches: Patches | None = None,
        *,
        at_once: int,
    ):
        self.dataset, self.part, self.makers, self.patches = dataset, part, dict(makers), patches
        self._buffers = Buffers(at_once * (ARRAYS + len(self.makers)))

    def batch(self, group: Group) -> dict[str, np.ndarray]:
        """Image, mask and maps by their names, (batch, height, width, ...), index, and (batch, 2) int32 size.

        Images are filled up by 0, masks and maps by their padding, to the largest height and width, or to
        those of a patch.

        Raises:
            SegframeError: a sample cannot be read, or is wrong.
        """
        images, masks, *maps, sizes = self._patches(group) if self.patches else self._whole(group)
        shape = *masks.shape, self.dataset.image_shape[2]
        if images.dtype not in (np.uint8, np.float32) or masks.dtype != np.uint8 or images.shape != shape:
            raise SegframeError(
                f"samples of {self.part.split}",
                expected="images (height, width, channels) uint8 or float32, masks (height, width) uint8",
                got=f"{images.shape[1:]} {images.dtype}, {masks.shape[1:]} {masks.dtype}",
                remedy="It is a fault of the data set's plugin: see segframe.dataset.",
            )
        named = {"image": images, "mask": masks, **dict(zip(self.makers, maps, strict=True))}
        return named | {"size": sizes, "index": group.positions}

    def _whole(self, group: Group) -> tuple[np.ndarray, ...]:
        indices = [self.part.indices[position] for position in group.positions.tolist()]
        read_stacked = getattr(self.dataset, "read_stacked", None)
        stacked = read_stacked(self.part.split, indices, self._buffers.take) if read_stacked else None
        if stacked is None:
            samples = self.dataset.read(self.part.split, indices)
            return self._together([(image, mask, *self._maps(mask)) for image, mask in samples])
        images, masks = stacked
        sizes = np.tile(np.array(masks.shape[1:], np.int32), (len(masks), 1))
        made = zip(*map(self._maps, masks), strict=True) if self.makers else ()
        maps = (self._stacked(each, 0) for each in made)  # all of one size: nothing is filled up
        return images, masks, *maps, sizes

    def _patches(self, group: Group) -> tuple[np.ndarray, ...]:
        assert self.patches is not None
        taken = []
        for position, seed, cut in zip(*(each.tolist() for each in group), strict=True):
            index, makers = self.part.indices[position], tuple(self.makers.values())
            key = position, Cut(cut), seed
            taken.append(self.patches.take(self.dataset, self.part.split, index, makers, *key))
        return self._together(taken, self.patches.size)

    def _maps(self, mask: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(maker.make(mask) for maker in self.makers.values())

    def _together(
        self, samples: Sequence[tuple[np.ndarray, ...]], size: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, ...]:
        """Images, masks and maps of samples, stacked, and the sizes."""
        sizes = np.array([mask.shape for _, mask, *_ in samples], np.int32)
        paddings = 0, MASK_PADDING["mask"], *(maker.padding for maker in self.makers.values())
        kinds = zip(*samples, strict=True)
        return *(
            self._stacked(each, padding, size) for each, padding in zip(kinds, paddings, strict=True)
        ), sizes

    def _stacked(
        self, arrays: Sequence[np.ndarray], padding: Any, size: tuple[int, int] | None = None
    ) -> np.ndarray:
        """(arrays, height, width, ...), of this size or of the largest height and width."""
        height, width = size or (max(array.shape[axis] for array in arrays) for axis in (0, 1))
        first = arrays[0]
        out = self._buffers.take((len(arrays), height, width, *first.shape[2:]), first.dtype)
        for place, array in zip(out, arrays, strict=True):
            rows, columns = array.shape[:2]
            place[rows:], place[:rows, columns:] = padding, padding
            place[:rows, :columns] = array
        return out
