"""Generalised Dice: one overlap over all classes, small classes weighted up."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from segframe import only_valid


class GeneralisedDice:
    """Generalised Dice loss of each image:

        L = 1 - 2 sum_c w_c sum_ij p_c y_c / sum_c w_c sum_ij (p_c + y_c),    w_c = 1 / (sum_ij y_c)^2
        y = one_hot(mask), p = softmax(logits)

    over valid pixels, the background included as in the paper. Where the image lacks a class its weight
    would be infinite: it gets the largest of the others, as in the authors' code (NiftyNet).

    Source:
        Sudre et al. 2017, https://arxiv.org/abs/1707.03237.
    """

    maps: tuple[str, ...] = ()

    def __init__(self, num_classes: int, ignore_index: int):
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def __call__(self, target: Mapping[str, tf.Tensor], logits: tf.Tensor) -> tf.Tensor:
        """(batch,) float32, as segframe_losses in hooks.py says."""
        mask, valid, logits = only_valid(target["mask"], logits, self.num_classes, self.ignore_index)
        one_hot = tf.one_hot(mask, self.num_classes)
        probabilities = tf.nn.softmax(logits) * valid[..., None]
        volume = tf.reduce_sum(one_hot, axis=(1, 2))
        # Relative to the smallest class there is: only ratios of weights count, and these are at most 1.
        smallest = tf.reduce_min(tf.where(volume > 0, volume, tf.float32.max), axis=1, keepdims=True)
        weights = tf.where(volume > 0, tf.square(smallest / tf.maximum(volume, 1.0)), 1.0)
        hit = tf.reduce_sum(weights * tf.reduce_sum(probabilities * one_hot, axis=(1, 2)), axis=1)
        # Numerator and denominator subtracted, as in Dice: exactly 0 where nothing is valid.
        wrong = weights * tf.reduce_sum(tf.abs(probabilities - one_hot), axis=(1, 2))
        wrong = tf.reduce_sum(wrong, axis=1)
        return tf.math.divide_no_nan(wrong, 2.0 * hit + wrong)
