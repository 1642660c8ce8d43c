"""Data sets whose samples are kept: what segframe.sample_cache gives a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from segframe.dataset import Dataset, Sample
from segframe.sample_file import Damaged, SampleFile

log = logging.getLogger("segframe")


class Cached:
    """A data set whose samples come from elsewhere; all else is as it was."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)


class InMemory(Cached):
    """Keeps each sample when it is first read."""

    read_stacked = None

    def __init__(self, dataset: Dataset):
        super().__init__(dataset)
        self._kept: dict[tuple[str, int], Sample] = {}

    def read(self, split: str, indices: Sequence[int]) -> list[Sample]:
        keys = [(split, int(index)) for index in indices]
        missing = [key for key in dict.fromkeys(keys) if key not in self._kept]
        if missing:
            found = self.dataset.read(split, [index for _, index in missing])
            for key, sample in zip(missing, found, strict=True):
                for array in sample:
                    array.flags.writeable = False
                self._kept[key] = sample
        return [self._kept[key] for key in keys]


class OnDisk(Cached):
    """Reads samples from a SampleFile; from the data set where that is damaged."""

    def __init__(self, dataset: Dataset, file: SampleFile):
        super().__init__(dataset)
        self.file = file
        self._ids = {split: tuple(dataset.ids(split)) for split in dataset.splits}
        self._damaged = False

    def read(self, split: str, indices: Sequence[int]) -> list[Sample]:
        return [self._one(split, int(index), np.empty, None) for index in indices]

    def read_stacked(
        self, split: str, indices: Sequence[int], empty: Callable[..., np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """As segframe.dataset."""
        kinds = {self.file.shape(self._ids[split][int(index)]) for index in indices}
        if len(kinds) != 1:
            return None
        ((shape, dtype),) = kinds
        images, masks = empty((len(indices), *shape), dtype), empty((len(indices), *shape[:2]), np.uint8)
        for index, *places in zip(indices, images, masks, strict=True):
            self._one(split, int(index), np.empty, Sample(*places))
        return images, masks

    def _one(self, split: str, index: int, empty: Callable[..., np.ndarray], out: Sample | None) -> Sample:
        name = self._ids[split][index]
        shape, dtype = self.file.shape(name)
        out = out or Sample(empty(shape, dtype), empty(shape[:2], np.uint8))
        try:
            self.file.read(name, *out)
        except Damaged as error:
            if not self._damaged:
                self._damaged = True
                log.warning(
                    "Kept samples are damaged (%s): decoded again, the file anew in the next run.", error
                )
                self.file.path.unlink(missing_ok=True)
            for place, values in zip(out, self.dataset.read(split, [index])[0], strict=True):
                place[...] = values
        return out
