"""The metric contract: what a score is, per image and pooled, and what is left out of it.

Everything follows from confusion counts: counts[t, p] is the number of pixels of true class t that were
predicted as p. Ignored pixels (IGNORED in the mask, padding too) are never counted. For class c

    tp = counts[c, c]    fp = sum_t counts[t, c] - tp    fn = sum_p counts[c, p] - tp
    IoU  = tp / (tp + fp + fn)
    Dice = 2 tp / (2 tp + fp + fn)
    pixel accuracy = sum_c counts[c, c] / sum counts

A class that is in neither mask nor prediction has no score: it is undefined (nan) and left out of every
mean. Absent from one of the two gives 0. Two ways to one number for a split:

    per image   each image's score, then the mean over the images where it is defined
    pooled      the counts of all images added up, then the score (keys end in `_pooled`)

Foreground is every class but "background" (segframe.dataset.foreground). An image's `dice` or `iou` is the
mean over its defined foreground classes; `val/dice`, the objective, is the mean of that over images.
What a config asks for besides is in segframe.requested_metrics.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from segframe.dataset import IGNORED, foreground

CONTRACT: dict[str, Any] = {
    "per_image": "score of each image, mean over the images where it is defined",
    "pooled": "counts of all images added up, then the score",
    "undefined": "class in neither mask nor prediction: left out of means; in one of the two: 0",
    "ignored": "pixels of the ignored class and padding are not counted",
    "version": 1,
}
"""Stored with every result: numbers of different contracts are not compared."""


def confusion(mask: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Confusion counts of one image.

    Args:
        mask: (height, width) integer class ids, IGNORED where nothing is known.
        prediction: (height, width) integer class ids below num_classes.

    Returns:
        (num_classes, num_classes) int64, true class by predicted class.
    """
    counts = np.zeros(num_classes**2, np.int64)
    rows = max(1, 2**20 // mask.shape[1])  # a megapixel at a time: its pairs take 24 bytes a pixel
    for top in range(0, mask.shape[0], rows):
        part = mask[top : top + rows]
        valid = part != IGNORED
        pairs = part[valid].astype(np.intp) * num_classes + prediction[top : top + rows][valid]
        counts += np.bincount(pairs, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def class_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """IoU and Dice of each class: (..., num_classes, num_classes) counts -> (..., num_classes) float64."""
    tp = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    union = counts.sum(-1) + counts.sum(-2) - tp
    return {"iou": _ratio(tp, union), "dice": _ratio(2 * tp, union + tp)}


def pixel_accuracy(counts: np.ndarray) -> np.ndarray:
    """(..., num_classes, num_classes) counts -> (...) float64."""
    return _ratio(np.trace(counts, axis1=-2, axis2=-1).astype(np.float64), counts.sum((-2, -1)))


def image_scores(counts: np.ndarray, class_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores of each image.

    Args:
        counts: (images, num_classes, num_classes).

    Returns:
        {"pixel_accuracy", "iou", "dice", "iou/CLASS", "dice/CLASS"}: (images,) float64, nan where undefined.
    """
    chosen = foreground(class_names)
    scores = {"pixel_accuracy": pixel_accuracy(counts)}
    by_class = class_scores(counts)
    for metric, values in by_class.items():
        scores[metric] = mean_defined(values[:, chosen], axis=1)
    for metric, values in by_class.items():
        scores |= {f"{metric}/{name}": values[:, c] for c, name in enumerate(class_names)}
    return scores


def split_scores(counts: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """Scores of a split: `image_scores` averaged over images, and the pooled ones as KEY_pooled.

    Keys: pixel_accuracy, iou, dice, iou/CLASS, dice/CLASS, each also with _pooled behind the metric's name.
    """
    scores = {key: float(mean_defined(values)) for key, values in image_scores(counts, class_names).items()}
    pooled = image_scores(counts.sum(0, keepdims=True), class_names)
    for key, values in pooled.items():
        metric, _, name = key.partition("/")
        scores[f"{metric}_pooled/{name}" if name else f"{metric}_pooled"] = float(values[0])
    return scores


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


def mean_defined(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The mean of what is not nan; nan where everything is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all undefined: the mean is undefined too
        return np.nanmean(values, axis=axis)
