"""Class weights of a loss: given as numbers, or made from how often each class occurs in training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from segframe.errors import SegframeError

if TYPE_CHECKING:
    import numpy as np

    from segframe.dataset import Dataset
    from segframe.split import Part

log = logging.getLogger("segframe")

ClassWeights = list[float] | Literal["balanced", "median_frequency"] | None
"""What a builder's `class_weights` takes: num_classes numbers, a rule of make_class_weights, None for 1."""

ClassPixels = Callable[[], "np.ndarray"]
"""The fact `class_pixels`: counts when it is called, so that only a loss that asks pays for the reading."""


def check_class_weights(weights: ClassWeights, num_classes: int) -> None:
    """What can be said without the data; for the time before TensorFlow is imported.

    Raises:
        SegframeError: numbers that are not num_classes finite ones of at least 0 with one above it.
    """
    if not isinstance(weights, list):
        return
    if len(weights) != num_classes or not any(weights):
        raise SegframeError(
            "loss.class_weights",
            expected=f"{num_classes} numbers, one a class in the order of the ids, at least one above 0",
            got=repr(weights),
            remedy=f"Give loss.class_weights={[1.0] * num_classes}, balanced, median_frequency or null.",
        )
    for class_id, weight in enumerate(weights):
        if not 0 <= weight < float("inf"):
            key = f"loss.class_weights.{class_id}"
            expected = "a number of at least 0"
            raise SegframeError(key, expected=expected, got=repr(weight), remedy=f"Give {expected}.")


def make_class_weights(weights: ClassWeights, class_pixels: ClassPixels | None) -> list[float] | None:
    """The weights as numbers, or None for 1 everywhere. With n_c the training part's pixels of class c:

        balanced            w_c = sum_k n_k / (C n_c), C = classes that occur: the mean over pixels is 1
        median_frequency    w_c = median_k f_k / f_c,  f_c = n_c / valid pixels of the images that have c

    A class that does not occur in the training part gets 1 and is left out of C and of the median.

    Args:
        class_pixels: the fact of that name (segframe/hooks.py).

    Raises:
        SegframeError: weights are to be made, and there is nothing to count in.

    Source:
        balanced: King and Zeng 2001, https://doi.org/10.1093/oxfordjournals.pan.a004868, as in scikit-learn.
        median_frequency: Eigen and Fergus 2015, https://arxiv.org/abs/1411.4734.
    """
    if weights is None or isinstance(weights, list):
        return weights
    import numpy as np

    counts = np.zeros((0, 0), np.int64) if class_pixels is None else class_pixels()
    if not counts.any():
        raise SegframeError(
            "loss.class_weights",
            expected="numbers, as there are no training masks to count in",
            got=repr(weights),
            remedy="Give one number a class, or null.",
        )
    pixels = counts.sum(axis=0)
    occurs = pixels > 0
    if weights == "balanced":
        frequency = pixels * np.count_nonzero(occurs) / pixels.sum()
        level = 1.0
    else:
        frequency = pixels / np.maximum((counts.sum(axis=1)[:, None] * (counts > 0)).sum(axis=0), 1)
        level = float(np.median(frequency[occurs]))
    found = [float(w) for w in np.where(occurs, level / np.where(occurs, frequency, 1.0), 1.0)]
    log.info("Class weights (%s): %s.", weights, ", ".join(f"{weight:.4g}" for weight in found))
    return found


def count_class_pixels(dataset: Dataset, part: Part) -> np.ndarray:
    """(samples, num_classes) int64: valid pixels of each class in each sample."""
    import numpy as np

    from segframe.dataset import at_once

    block = at_once(dataset)
    counts = np.zeros((len(part.indices), dataset.num_classes), np.int64)
    for start in range(0, len(counts), block):
        samples = dataset.read(part.split, part.indices[start : start + block])
        for row, sample in enumerate(samples, start):
            counts[row] = np.bincount(sample.mask.ravel(), minlength=256)[: dataset.num_classes]
    return counts
