"""Samples dealt into folds: groups whole, each class spread as evenly as the groups allow."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ALGORITHM = 1
"""Raised when another deal comes out for the same samples."""


def deal(labels: np.ndarray, groups: Sequence[str], folds: int, key: str) -> np.ndarray:
    """The fold of each sample.

    The rarest label's groups are dealt first, the largest of them before the others, each to the fold that
    lacks most of that label, among those with room for it; then the next rarest. scikit-learn's
    StratifiedGroupKFold deals one label a sample; an image shows several classes. The deal depends on names
    and key, not on the order of the samples.

    Args:
        labels: (samples, labels) bool: which classes a sample shows.
        groups: one per sample: what must not be divided.
        folds: how many; not more than there are groups.
        key: another one gives another deal, among equals.

    Returns:
        (samples,) int, 0 to folds - 1. Without groups the sizes of folds differ by one at most.

    Source:
        Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label Data (2011),
        https://doi.org/10.1007/978-3-642-23808-6_10, with groups for samples and a limit to a fold's size.
    """
    import numpy as np

    names, which = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    samples = len(which)
    # The last label is everybody's: it deals those that show nothing, and counts the samples.
    shown = np.concatenate([labels.astype(np.int64), np.ones((samples, 1), np.int64)], axis=1)
    counts = np.zeros((len(names), shown.shape[1]), np.int64)
    np.add.at(counts, which, shown)
    chance = [hashlib.sha256(f"{key}/{name}".encode()).digest() for name in names]

    size = np.array([samples // folds + (fold < samples % folds) for fold in range(folds)])
    # Whole numbers, so that ties are ties: how much of each label a fold lacks, times `samples`.
    lacks = counts.sum(0) * size[:, None]
    room, fold_of = size.copy(), np.full(len(names), -1)
    while (fold_of < 0).any():
        left = np.flatnonzero(fold_of < 0)
        having = (counts[left] > 0).sum(0)
        label = int(np.argmin(np.where(having > 0, having, len(names) + 1)))
        group = min(
            (index for index in left if counts[index, label]),
            key=lambda index: (-counts[index, label], -counts[index, -1], chance[index]),
        )
        empty = np.flatnonzero(room == size)
        fits = np.flatnonzero(room >= counts[group, -1])
        if len(left) <= len(empty):
            candidates = empty  # no fold stays empty
        else:
            candidates = fits if len(fits) else np.flatnonzero(room == room.max())
        fold = max(
            candidates,
            key=lambda fold: (
                lacks[fold, label],
                room[fold],
                hashlib.sha256(f"{key}/{names[group]}/{fold}".encode()).digest(),
            ),
        )
        fold_of[group] = fold
        lacks[fold] -= samples * counts[group]
        room[fold] -= counts[group, -1]
    return fold_of[which]
