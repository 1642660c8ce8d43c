"""The Tversky loss, its special case soft Jaccard, and its focal form."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from segframe import only_valid


class Tversky:
    """Tversky loss of each image: the mean over classes of

        1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth)
        TP = sum_ij p y,  FP = sum_ij p (1 - y),  FN = sum_ij (1 - p) y
        y = one_hot(mask), p = softmax(logits)

    over valid pixels. alpha = beta = 1 is soft Jaccard, alpha = beta = 0.5 soft Dice with twice the smooth.

    Args:
        alpha: what a false positive costs, at least 0, no unit.
        beta: what a false negative costs, at least 0, no unit; above alpha for recall.
        include_background: False leaves class 0 out of the mean.
        smooth: in pixels, above 0; keeps the ratio defined where a class is absent.

    Source:
        Salehi, Erdogmus and Gholipour 2017, https://arxiv.org/abs/1706.05721.
        Jaccard: Rahman and Wang 2016, https://doi.org/10.1007/978-3-319-50835-1_22.
    """

    maps: tuple[str, ...] = ()

    def __init__(
        self,
        num_classes: int,
        ignore_index: int,
        alpha: float,
        beta: float,
        include_background: bool,
        smooth: float,
    ):
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.alpha, self.beta = alpha, beta
        self.include_background, self.smooth = include_background, smooth

    def __call__(self, target: Mapping[str, tf.Tensor], logits: tf.Tensor) -> tf.Tensor:
        """(batch,) float32, as segframe_losses in hooks.py says."""
        return tf.reduce_mean(self.by_class(target, logits), axis=1)

    def by_class(self, target: Mapping[str, tf.Tensor], logits: tf.Tensor) -> tf.Tensor:
        """(batch, classes) float32: 1 - the ratio of each class that counts."""
        mask, valid, logits = only_valid(target["mask"], logits, self.num_classes, self.ignore_index)
        one_hot = tf.one_hot(mask, self.num_classes)
        probabilities = tf.nn.softmax(logits) * valid[..., None]
        hit = tf.reduce_sum(probabilities * one_hot, axis=(1, 2))
        false_positive = tf.reduce_sum(probabilities * (1.0 - one_hot), axis=(1, 2))
        false_negative = tf.reduce_sum((1.0 - probabilities) * one_hot, axis=(1, 2))
        # The formula's numerator and denominator, subtracted: exactly 0 where nothing is valid.
        wrong = self.alpha * false_positive + self.beta * false_negative
        first = 0 if self.include_background else 1
        return (wrong / (hit + wrong + self.smooth))[:, first:]


class FocalTversky(Tversky):
    """Focal Tversky loss of each image: the mean over classes of L_c^(1 / gamma), L_c as in Tversky.

    Above 1, gamma lifts small losses: a class that is nearly right still gets a gradient. The paper sums
    over classes; its indices are the other way round (its alpha weighs false negatives).

    Args:
        gamma: at least 1, no unit; 1 is the Tversky loss.

    Source:
        Abraham and Khan 2019, https://arxiv.org/abs/1810.07842.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_index: int,
        alpha: float,
        beta: float,
        include_background: bool,
        smooth: float,
        gamma: float,
    ):
        super().__init__(num_classes, ignore_index, alpha, beta, include_background, smooth)
        self.gamma = gamma

    def __call__(self, target: Mapping[str, tf.Tensor], logits: tf.Tensor) -> tf.Tensor:
        """(batch,) float32, as segframe_losses in hooks.py says."""
        losses = self.by_class(target, logits)
        # The root has no slope at 0, and 0 times infinity is no gradient.
        powers = tf.pow(tf.where(losses > 0, losses, 1.0), 1.0 / self.gamma)
        return tf.reduce_mean(tf.where(losses > 0, powers, 0.0), axis=1)
