"""Data whose classes are named or ordered otherwise than a run's: their masks with the run's class ids."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from segframe.dataset import IGNORED, Dataset, Sample
from segframe.errors import SegframeError, nearest

log = logging.getLogger("segframe")


class WithClassesOf:
    """segframe.dataset.Dataset of the same samples, its class ids in the order of other names."""

    def __init__(self, dataset: Dataset, class_names: Sequence[str], new_ids: Sequence[int]):
        import numpy as np

        self.dataset = dataset
        self.class_names, self.num_classes = tuple(class_names), len(class_names)
        self.splits, self.ignore_index, self.spacing = dataset.splits, IGNORED, dataset.spacing
        self.image_shape = dataset.image_shape
        self._table = np.full(256, IGNORED, np.uint8)
        self._table[: len(new_ids)] = new_ids

    @property
    def content_hash(self) -> str:
        """That of the data as they are: the classes are said besides."""
        return self.dataset.content_hash

    def ids(self, split: str) -> Sequence[str]:
        return self.dataset.ids(split)

    def groups(self, split: str) -> Sequence[str]:
        return self.dataset.groups(split)

    def read(self, split: str, indices: Sequence[int]) -> list[Sample]:
        return [Sample(image, self._table[mask]) for image, mask in self.dataset.read(split, indices)]


def with_classes(
    dataset: Dataset, ours: Sequence[str], renamed: Sequence[tuple[str, str]]
) -> tuple[Dataset, dict[str, str]]:
    """The data with the run's classes, and {their name: ours} where they are not the same list.

    Raises:
        SegframeError: a class of the data is none of the run's, or `renamed` names one that is not there.
    """
    theirs, given = list(dataset.class_names), dict(renamed)
    for name, of in given.items():
        for one, names, whose in ((name, theirs, "the data"), (of, ours, "the run")):
            if one and one not in names:
                raise SegframeError(
                    f"--class {name}={of}",
                    expected=f"a class of {whose} ({', '.join(names)})",
                    got=repr(one),
                    remedy=nearest(one, names),
                )
    to = {name: given.get(name, name) for name in theirs}
    unknown = [name for name, of in to.items() if of and of not in ours]
    if unknown:
        raise SegframeError(
            "the classes of the data",
            expected=f"those of the run ({', '.join(ours)})",
            got=f"{', '.join(theirs)}",
            remedy=" ".join(f"--class {name}={_free(ours, to)}" for name in unknown)
            + f" says which class of the run it is; --class {unknown[0]}= leaves its pixels out.",
        )
    if theirs == list(ours) and not given:
        return dataset, {}
    lacking = [name for name in ours if name not in to.values()]
    if lacking:
        log.warning("The data have no %s: where the run predicts it, it is wrong.", ", ".join(lacking))
    log.info("Classes by name: %s", ", ".join(f"{name} is {of or 'left out'}" for name, of in to.items()))
    ids = [list(ours).index(of) if of else IGNORED for of in to.values()]
    return WithClassesOf(dataset, ours, ids), to


def _free(ours: Sequence[str], to: Mapping[str, str]) -> str:
    """A class of the run that no class of the data has yet; of several any may be meant."""
    free = [name for name in ours if name not in to.values()]
    return free[0] if len(free) == 1 else "OURS"
