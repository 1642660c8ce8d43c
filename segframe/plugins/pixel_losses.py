"""Cross-entropy, soft Dice and weighted sums of losses, each image by itself and over its valid pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from segframe.sum_order import total
from segframe.terms import WeightSchedule, weight_at
from segframe.valid import only_valid


class CrossEntropy:
    """Softmax cross-entropy of each image, the mean over its N valid pixels.

        L = -1/N sum_ij sum_c w_c q_c log p_c,    q = (1 - s) one_hot(mask) + s / num_classes

    N counts pixels, not weights: a class's weight scales its share of the gradient whatever the others are.

    Args:
        class_weights: w, num_classes numbers without unit, or None for 1 everywhere.
        label_smoothing: s, share of a target that is spread evenly over all classes, from 0 to below 1.

    Source:
        Label smoothing: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567.
    """

    maps: tuple[str, ...] = ()

    def __init__(
        self, num_classes: int, ignore_index: int, class_weights: list[float] | None, label_smoothing: float
    ):
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.class_weights, self.label_smoothing = class_weights, label_smoothing

    def __call__(self, target: Mapping[str, tf.Tensor], logits: tf.Tensor) -> tf.Tensor:
        """(batch,) float32, as segframe_losses in hooks.py says."""
        mask, valid, logits = only_valid(target["mask"], logits, self.num_classes, self.ignore_index)
        weights = tf.constant(self.class_weights or [1.0] * self.num_classes, tf.float32)
        pixels = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(mask, 0), logits)
        if self.class_weights is not None:
            pixels *= tf.gather(weights, tf.maximum(mask, 0))
        if self.label_smoothing:
            spread = -tf.reduce_mean(weights * tf.nn.log_softmax(logits), axis=-1)
            pixels = (1.0 - self.label_smoothing) * pixels + self.label_smoothing * spread
        total = tf.reduce_sum(pixels * valid, axis=(1, 2))
        return total / tf.maximum(tf.reduce_sum(valid, axis=(1, 2)), 1.0)


class Dice:
    """Soft Dice loss of each image: the mean over classes of

        1 - (2 sum_ij p y + smooth) / (sum_ij p + sum_ij y + smooth)
        y = one_hot(mask), p = softmax(logits)

    over valid pixels. A class absent from the image costs what is predicted of it.

    Args:
        include_background: False leaves class 0 out of the mean.
        smooth: in pixels, above 0; keeps the ratio defined where a class is absent.

    Source:
        Drozdzal et al. 2016, https://arxiv.org/abs/1608.04117 (without V-Net's squares), with `smooth` added.
    """

    maps: tuple[str, ...] = ()

    def __init__(self, num_classes: int, ignore_index: int, include_background: bool, smooth: float):
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.include_background, self.smooth = include_background, smooth

    def __call__(self, target: Mapping[str, tf.Tensor], logits: tf.Tensor) -> tf.Tensor:
        """(batch,) float32, as segframe_losses in hooks.py says."""
        mask, valid, logits = only_valid(target["mask"], logits, self.num_classes, self.ignore_index)
        one_hot = tf.one_hot(mask, self.num_classes)
        probabilities = tf.nn.softmax(logits) * valid[..., None]
        hit = tf.reduce_sum(probabilities * one_hot, axis=(1, 2))
        # The formula's numerator and denominator, subtracted: a sum of parts of one sign is exactly 0 where
        # nothing is valid, and small losses do not drown in 1 - 0.9999999.
        wrong = tf.reduce_sum(tf.abs(probabilities - one_hot), axis=(1, 2))
        first = 0 if self.include_background else 1
        return tf.reduce_mean((wrong / (2.0 * hit + wrong + self.smooth))[:, first:], axis=1)


class Sum:
    """Weighted sum of losses: sum over terms t of w_t(epoch) L_t, of each image.

    A weight that follows a schedule is a variable, so that a step need not be compiled anew. It changes
    between epochs: an epoch is validated with the weights that it was trained with.

    Args:
        terms: {label: (weight, loss)}; a weight is a number or a segframe.terms.WeightSchedule.
    """

    def __init__(self, terms: Mapping[str, tuple[float | WeightSchedule, Any]]):
        self.terms = dict(terms)
        self.maps: tuple[str, ...] = tuple(
            dict.fromkeys(name for _, loss in self.terms.values() for name in getattr(loss, "maps", ()))
        )
        self._weights: dict[str, Any] = {
            label: tf.Variable(weight_at(weight, 0), trainable=False, dtype=tf.float32)
            if isinstance(weight, Mapping)
            else weight
            for label, (weight, _) in self.terms.items()
        }

    def begin_epoch(self, epoch: int) -> None:
        """Set the weights, and the terms' own, to those of an epoch, counted from 0."""
        for label, (weight, loss) in self.terms.items():
            if isinstance(weight, Mapping):
                self._weights[label].assign(weight_at(weight, epoch))
            if hasattr(loss, "begin_epoch"):
                loss.begin_epoch(epoch)

    def __call__(self, target: Mapping[str, tf.Tensor], logits: tf.Tensor) -> tf.Tensor:
        """(batch,) float32; target has the maps of all terms."""
        return total([self._weights[label] * loss(target, logits) for label, (_, loss) in self.terms.items()])
