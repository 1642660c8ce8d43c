"""Every sample of a data set looked at once: its content hash, and the faults that only pixels show."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segframe.cache import remembered
from segframe.dataset import Dataset
from segframe.errors import SegframeError

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")

ALGORITHM = 1
"""Raised when the hash, a check, or how a file is read changes: older results are then not believed."""

QUIET_SECONDS = 2.0


def cached_content_hash(dataset: Dataset, path: Path) -> str:
    """As content_hash, remembered in the user's cache folder for as long as the file stays the same.

    Raises:
        SegframeError: as content_hash.
    """
    file = path.resolve()
    known = file.stat()
    key = [str(file), known.st_size, known.st_mtime_ns, known.st_ino, ALGORITHM]
    return str(remembered("verified", key, lambda: content_hash(dataset, str(path))))


def content_hash(dataset: Dataset, name: str) -> str:
    """sha256 over all samples and facts, each sample checked on the way.

    Args:
        name: what the data set is called in messages.

    Returns:
        64 hexadecimal digits. The same pixels, ids, groups and facts give the same, however stored.

    Raises:
        SegframeError: an image is not finite, or what `dataset.read` finds wrong.
    """
    samples = sum(len(dataset.ids(split)) for split in dataset.splits)
    start, told = time.monotonic(), False
    whole = hashlib.sha256()
    _add(whole, [dataset.num_classes, list(dataset.class_names), dataset.ignore_index])
    _add(whole, [dataset.spacing and list(dataset.spacing), list(dataset.image_shape)])
    for split in dataset.splits:
        ids = dataset.ids(split)
        _add(whole, [split, list(ids), list(dataset.groups(split))])
        for index in range(len(ids)):
            if not told and time.monotonic() - start > QUIET_SECONDS:
                log.info("checking %d samples of %s, once", samples, name)
                told = True
            _add_sample(whole, dataset, split, index, name)
    return whole.hexdigest()


def check_finite(image: np.ndarray, where: str) -> None:
    """Raises SegframeError: a value is NaN or infinite."""
    import numpy as np

    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise SegframeError(
            where,
            expected="finite numbers",
            got=f"{int((~np.isfinite(image)).sum())} values that are NaN or infinite",
            remedy="Replace them (np.nan_to_num) or leave the sample out; mark such pixels as void.",
        )


def _add_sample(whole: hashlib._Hash, dataset: Dataset, split: str, index: int, name: str) -> None:
    import numpy as np

    (image, mask) = dataset.read(split, [index])[0]
    check_finite(image, f"data file {name}, {split} sample {dataset.ids(split)[index]!r}, image")
    for array in (image, mask):
        _add(whole, [str(array.dtype), list(array.shape)])
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        whole.update(np.ascontiguousarray(little).data)


def _add(whole: hashlib._Hash, facts: Sequence[object]) -> None:
    text = json.dumps(facts).encode()
    whole.update(len(text).to_bytes(8, "little") + text)
