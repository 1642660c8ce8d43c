"""Samples of a data set read as one batch: stacked, the smaller ones filled up below and right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from segframe.batch import MASK_PADDING
from segframe.buffers import Buffers
from segframe.dataset import Dataset, Sample
from segframe.errors import SegframeError
from segframe.patches import Cut, Patches
from segframe.split import Part


class BatchReader:
    """Reads batches of a part. Safe in several threads.

    Args:
        makers: {name: maker} of the maps that each sample gets (segframe.loss_maps).
        patches: what `patch` takes of a sample.
        on_fault: told of each SegframeError: TensorFlow makes an error of its own of it.
    """

    def __init__(
        self,
        dataset: Dataset,
        part: Part,
        makers: Mapping[str, Any],
        patches: Patches | None = None,
        on_fault: Callable[[SegframeError], None] = lambda fault: None,
    ):
        self.dataset, self.part, self.makers = dataset, part, dict(makers)
        self.patches, self.on_fault = patches, on_fault
        self._buffers = Buffers()

    def patch(self, position: int, cut: int, seed: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Image, mask and maps of the patch that segframe.patches takes of one sample."""
        assert self.patches is not None
        index, makers = self.part.indices[int(position)], tuple(self.makers.values())
        key = int(position), Cut(int(cut)), [int(number) for number in seed]
        with self._told():
            return self.patches.take(self.dataset, self.part.split, index, makers, *key)

    def batch(self, positions: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Images, masks, maps, (batch, height, width, ...) each, and the (batch, 2) int32 sizes.

        Images are filled up by 0, masks and maps by their padding, to the largest height and width.
        """
        with self._told():
            return self._batch(positions)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except SegframeError as error:
            self.on_fault(error)
            raise

    def _batch(self, positions: Sequence[int]) -> tuple[np.ndarray, ...]:
        indices = [self.part.indices[int(position)] for position in positions]
        read_stacked = getattr(self.dataset, "read_stacked", None)
        stacked = read_stacked(self.part.split, indices, self._buffers.take) if read_stacked else None
        if stacked is not None:
            images, masks = stacked
            sizes = np.tile(np.array(masks.shape[1:], np.int32), (len(masks), 1))
        else:
            samples: list[Sample] = self.dataset.read(self.part.split, indices)
            images = self._stacked([sample.image for sample in samples], 0)
            sizes = np.array([sample.mask.shape for sample in samples], np.int32)
            masks = self._stacked([sample.mask for sample in samples], MASK_PADDING["mask"])
        maps = []
        for maker in self.makers.values():
            made = [
                maker.make(mask[:height, :width]) for mask, (height, width) in zip(masks, sizes, strict=True)
            ]
            maps.append(self._stacked(made, maker.padding))
        return images, masks, *maps, sizes

    def _stacked(self, arrays: Sequence[np.ndarray], padding: Any) -> np.ndarray:
        height, width = (max(array.shape[axis] for array in arrays) for axis in (0, 1))
        first = arrays[0]
        out = self._buffers.take((len(arrays), height, width, *first.shape[2:]), first.dtype)
        for place, array in zip(out, arrays, strict=True):
            rows, columns = array.shape[:2]
            place[rows:], place[:rows, columns:] = padding, padding
            place[:rows, :columns] = array
        return out
