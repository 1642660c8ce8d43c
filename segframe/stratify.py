"""Samples dealt into parts: groups whole, each class spread as evenly as the groups allow."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ALGORITHM = 1
"""Raised when another deal comes out for the same samples."""


def even_sizes(samples: int, folds: int) -> list[int]:
    """Samples of each fold: they differ by one at most."""
    return [samples // folds + (fold < samples % folds) for fold in range(folds)]


def share(labels: np.ndarray, groups: Sequence[str], samples: int, key: str) -> np.ndarray:
    """Which samples make up a part of all: of a larger number they are among the chosen ones too.

    All are dealt into two halves, the half in which the number falls into two again, and so on, so that
    every part has its share of each class; `deal` says how well.

    Args:
        labels: (samples, labels) bool.
        groups: one per sample: what must not be divided.
        samples: how many, as nearly as whole groups allow.

    Returns:
        (samples,) bool.
    """
    import numpy as np

    names = np.asarray(groups, dtype=object).astype(str)
    chosen, left, wanted, path = np.zeros(len(names), bool), np.arange(len(names)), samples, ""
    while len(set(names[left])) > 1:
        half = deal(labels[left], names[left].tolist(), even_sizes(len(left), 2), f"{key}/half {path}")
        first = left[half == 0]
        if wanted < len(first):
            left, path = first, f"{path}0"
        else:
            chosen[first] = True
            left, wanted, path = left[half == 1], wanted - len(first), f"{path}1"
    chosen[left] = 2 * wanted >= max(len(left), 1)
    return chosen


def deal(labels: np.ndarray, groups: Sequence[str], sizes: Sequence[int], key: str) -> np.ndarray:
    """The part (a fold, or a split) of each sample.

    The rarest label's groups are dealt first, the largest of them before the others, each to the part that
    lacks most of that label, among those with room for it; then the next rarest. scikit-learn's
    StratifiedGroupKFold deals one label a sample; an image shows several classes. The deal depends on names
    and key, not on the order of the samples.

    Args:
        labels: (samples, labels) bool: which classes a sample shows.
        groups: one per sample: what must not be divided.
        sizes: the samples that each part is to have, above 0; not more parts than there are groups.
        key: another one gives another deal, among equals.

    Returns:
        (samples,) int, 0 to len(sizes) - 1. Without groups, and with sizes that sum to the samples, the parts
        have these sizes.

    Source:
        Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label Data (2011),
        https://doi.org/10.1007/978-3-642-23808-6_10, with groups for samples and a limit to a part's size.
    """
    import numpy as np

    names, which = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    samples = len(which)
    # The last label is everybody's: it deals those that show nothing, and counts the samples.
    shown = np.concatenate([labels.astype(np.int64), np.ones((samples, 1), np.int64)], axis=1)
    counts = np.zeros((len(names), shown.shape[1]), np.int64)
    np.add.at(counts, which, shown)
    chance = [hashlib.sha256(f"{key}/{name}".encode()).digest() for name in names]
    by_chance = np.argsort(np.array(chance, dtype=object))

    size = np.array(sizes)
    # Whole numbers, so that ties are ties: how much of each label a part lacks, times `samples`.
    lacks = counts.sum(0) * size[:, None]
    room, part_of = size.copy(), np.full(len(names), -1)
    having = (counts > 0).sum(0)  # of the groups that are left
    queues: dict[int, Iterator[int]] = {}  # sorted once for each label: sets may have 100,000 groups
    for dealt in range(len(names)):
        label = int(np.argmin(np.where(having > 0, having, len(names) + 1)))
        if label not in queues:
            order = by_chance[np.lexsort((-counts[by_chance, -1], -counts[by_chance, label]))]
            queues[label] = iter(order.tolist())
        group = next(group for group in queues[label] if part_of[group] < 0)
        empty = np.flatnonzero(room == size)
        fits = np.flatnonzero(room >= counts[group, -1])
        if len(names) - dealt <= len(empty):
            candidates = empty  # no part stays empty
        else:
            candidates = fits if len(fits) else np.flatnonzero(room == room.max())
        part = max(
            candidates,
            key=lambda part: (
                lacks[part, label],
                room[part],
                hashlib.sha256(f"{key}/{names[group]}/{part}".encode()).digest(),
            ),
        )
        part_of[group] = part
        lacks[part] -= samples * counts[group]
        room[part] -= counts[group, -1]
        having -= counts[group] > 0
    return part_of[which]
