"""Cross-validation: a data set seen as one fold of it, the fold as test and the rest as train."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.dataset import Dataset, Sample
from segframe.errors import SegframeError
from segframe.fold_table import fold_table, pool
from segframe.split import check_apart

if TYPE_CHECKING:
    import numpy as np

    from segframe.order import StoredBlocks

log = logging.getLogger("segframe")


def check_fold(section: Mapping[str, Any]) -> None:
    """Check conf/split: a fold of those that there are.

    Raises:
        SegframeError: split.fold is missing, is not among the folds, or is given without folds.
    """
    folds, fold = section["folds"], section["fold"]
    if folds is None:
        for key, unused in (("fold", None), ("repeat", 0)):
            if section[key] != unused:
                raise SegframeError(
                    f"split.{key}",
                    expected=f"{'null' if unused is None else unused} without split.folds",
                    got=str(section[key]),
                    remedy="Say how many folds there are: split.folds=5.",
                )
        return
    every = ",".join(map(str, range(folds)))
    if fold is None or fold >= folds:
        raise SegframeError(
            "split.fold",
            expected=f"0 to {folds - 1} with split.folds={folds}",
            got="null" if fold is None else str(fold),
            remedy=f"Give one of them, or sweep over all: -m split.folds={folds} split.fold={every}",
        )
    if "train" not in section["fold_splits"] or len(set(section["fold_splits"])) < len(
        section["fold_splits"]
    ):
        raise SegframeError(
            "split.fold_splits",
            expected="train and further splits, each once",
            got=str(section["fold_splits"]),
            remedy="[train,val] leaves the test split alone; [train,val,test] deals out all samples.",
        )


def seen_as_fold(dataset: Dataset, config: Mapping[str, Any]) -> Dataset:
    """The data set as split.fold sees it; itself where split.folds is null.

    Raises:
        SegframeError: as fold_table, or a sample or group is in two of the file's splits.
    """
    section = config["split"]
    if section["folds"] is None:
        return dataset
    check_apart(dataset)
    table, fold = fold_table(dataset, section, Path(config["runs_dir"])), section["fold"]
    view = Fold(dataset, table, fold)
    log.info(
        "Fold %d of %d, repeat %d: %d of the %d samples of %s are the test part.",
        fold, table["folds"], table["repeat"], len(view.ids("test")), sum(map(len, table["test"])),
        " and ".join(table["splits"]),
    )  # fmt: skip
    for split in dataset.splits:
        if split not in table["splits"]:
            log.info(
                "The file's %s split (%d samples) is kept apart: no fold trains on it or is scored by it "
                "(split.fold_splits).",
                split,
                len(dataset.ids(split)),
            )
    there = table["samples_with"].items()
    missing = [name for name, samples in there if any(samples) and not samples[fold]]
    if missing:
        log.warning(
            "Fold %d has no sample that shows %s: a score of that class is undefined or 0 there.",
            fold,
            ", ".join(missing),
        )
    return view


class Fold:
    """segframe.dataset.Dataset of the same samples: the fold's are "test", the others "train"."""

    def __init__(self, dataset: Dataset, table: Mapping[str, Any], fold: int):
        self.dataset, self.table, self.fold = dataset, dict(table), fold
        self.num_classes, self.class_names = dataset.num_classes, dataset.class_names
        self.ignore_index, self.spacing = dataset.ignore_index, dataset.spacing
        self.image_shape = dataset.image_shape
        held = set(table["test"][fold])
        samples = list(zip(*pool(dataset, table["splits"]), strict=True))
        self._samples = {
            "train": [sample for sample in samples if sample[1] not in held],
            "test": [sample for sample in samples if sample[1] in held],
        }

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._samples)

    @property
    def content_hash(self) -> str:
        """That of the whole data set; the fold is in the config."""
        return self.dataset.content_hash

    def ids(self, split: str) -> Sequence[str]:
        return tuple(name for _, name, _ in self._samples[split])

    def groups(self, split: str) -> Sequence[str]:
        return tuple(group for _, _, group in self._samples[split])

    def read(self, split: str, indices: Sequence[int]) -> list[Sample]:
        places = [self._samples[split][int(index)][0] for index in indices]
        return [self.dataset.read(of, [index])[0] for of, index in places]

    def read_stacked(
        self, split: str, indices: Sequence[int], empty: Callable[..., np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """As segframe.dataset, where the samples are of one split of the data set."""
        read = getattr(self.dataset, "read_stacked", None)
        places = [self._samples[split][int(index)][0] for index in indices]
        if read is None or len({of for of, _ in places}) != 1:
            return None
        return read(places[0][0], [index for _, index in places], empty)

    def stored_blocks(self, split: str, indices: Sequence[int]) -> StoredBlocks | None:
        """As segframe.dataset; blocks of the data set's splits get numbers of their own."""
        import numpy as np

        from segframe.order import StoredBlocks

        find = getattr(self.dataset, "stored_blocks", None)
        if find is None:
            return None
        places = [self._samples[split][int(index)][0] for index in indices]
        of, held, first = np.arange(len(places)), [], 0
        for name in dict.fromkeys(name for name, _ in places):
            mine = np.array([name == other for other, _ in places])
            found = find(name, [index for other, index in places if other == name])
            apart = np.arange(int(mine.sum()))  # each sample by itself
            of[mine] = first + np.unique(found.of if found else apart, return_inverse=True)[1]
            first = int(of[mine].max()) + 1
            held += [(found.together, found.window_bytes)] if found else []
        return StoredBlocks(of, *map(min, zip(*held, strict=True))) if held else None

    def windowed(self, split: str, index: int) -> tuple[int, int] | None:
        """As segframe.dataset.Windows, where the data set offers that."""
        windowed = getattr(self.dataset, "windowed", None)
        return windowed(*self._samples[split][index][0]) if windowed else None

    def read_window(self, split: str, index: int, window: tuple[slice, slice]) -> Sample:
        of, place = self._samples[split][index][0]
        return self.dataset.read_window(of, place, window)  # type: ignore[attr-defined]


def fold_facts(dataset: Dataset) -> dict[str, Any]:
    """What record.json says of the folds: the whole table, and which of them is this run's."""
    return {"folds": {**dataset.table, "fold": dataset.fold}} if isinstance(dataset, Fold) else {}
