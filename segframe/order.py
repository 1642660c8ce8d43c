"""In which order training samples come: shuffled, by windows where many are stored together."""

from __future__ import annotations

import hashlib
import logging
from typing import NamedTuple

import numpy as np

from segframe.dataset import Dataset
from segframe.split import Part

log = logging.getLogger("segframe")


class StoredBlocks(NamedTuple):
    """Which samples are stored together, so that reading one costs as much as reading all of them."""

    of: np.ndarray
    """(samples,) int64: the number of each sample's block."""
    together: int
    """So many blocks can be held in memory while samples are taken from them."""
    window_bytes: int
    """Of these."""


def blocks_of(dataset: Dataset, part: Part) -> StoredBlocks | None:
    """Those of a part; None where any order is read as fast: each sample by itself, or all blocks fit."""
    find = getattr(dataset, "stored_blocks", None)
    found: StoredBlocks | None = find(part.split, part.indices) if find else None
    return None if found is None or len(np.unique(found.of)) <= found.together else found


def order_facts(dataset: Dataset, part: Part) -> dict[str, str]:
    """What the order depends on besides seed and epoch, for a run's identity; {} for a plain shuffle."""
    blocks = blocks_of(dataset, part)
    if blocks is None:
        return {}
    count = len(np.unique(blocks.of))
    log.info(
        "train: chunks hold several samples (%.1f on average): shuffled within windows of %d of %d chunks.",
        len(blocks.of) / count, blocks.together, count,
    )  # fmt: skip
    digest = hashlib.sha256(np.ascontiguousarray(blocks.of, "<i8").data).hexdigest()[:12]
    return {"order": f"windows of {blocks.together} of {count} chunks ({digest})"}


def shuffled(random: np.random.Generator, samples: int, blocks: StoredBlocks | None) -> np.ndarray:
    """(samples,) positions in the order of a pass: each once.

    With blocks: they are shuffled and dealt into windows of `together`; samples are shuffled in each window.
    """
    if blocks is None:
        return random.permutation(samples)
    names, number = np.unique(blocks.of, return_inverse=True)
    window = random.permutation(len(names))[number] // blocks.together
    mixed = random.permutation(samples)
    return mixed[np.argsort(window[mixed], kind="stable")]
