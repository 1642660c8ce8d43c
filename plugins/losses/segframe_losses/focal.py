"""The focal loss: cross-entropy in which pixels that are right already count little."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from segframe import only_valid


class Focal:
    """Focal loss of each image, the mean over its N valid pixels; the softmax form for several classes.

        L = -1/N sum_ij w_m (1 - p_m)^gamma log p_m,    m = the mask's class id, p = softmax(logits)

    1 - p is computed as the logsumexp of the other classes, so that value and gradient are finite for every
    gamma, also where p rounds to 1.

    Args:
        gamma: at least 0, no unit; 0 is cross-entropy.
        class_weights: w (the paper's alpha), num_classes numbers without unit, or None for 1 everywhere.

    Source:
        Lin et al. 2017, https://arxiv.org/abs/1708.02002.
    """

    maps: tuple[str, ...] = ()

    def __init__(self, num_classes: int, ignore_index: int, gamma: float, class_weights: list[float] | None):
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.gamma, self.class_weights = gamma, class_weights

    def __call__(self, target: Mapping[str, tf.Tensor], logits: tf.Tensor) -> tf.Tensor:
        """(batch,) float32, as segframe_losses in hooks.py says."""
        mask, valid, logits = only_valid(target["mask"], logits, self.num_classes, self.ignore_index)
        one_hot = tf.one_hot(mask, self.num_classes)
        weights = (
            one_hot if self.class_weights is None else one_hot * tf.constant(self.class_weights, tf.float32)
        )
        pixels = -tf.reduce_sum(weights * tf.nn.log_softmax(logits), axis=-1)
        if self.gamma:
            others = tf.where(one_hot > 0, tf.float32.min, logits)
            log_rest = tf.reduce_logsumexp(others, axis=-1) - tf.reduce_logsumexp(logits, axis=-1)
            pixels *= tf.exp(self.gamma * log_rest)
        return tf.reduce_sum(pixels, axis=(1, 2)) / tf.maximum(tf.reduce_sum(valid, axis=(1, 2)), 1.0)
