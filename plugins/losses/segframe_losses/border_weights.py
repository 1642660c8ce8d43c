"""Cross-entropy with the U-Net paper's weights: gaps between two instances count most."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from segframe import only_valid
from segframe_losses.map_units import MapUnits


class BorderWeightedCrossEntropy:
    """Weighted softmax cross-entropy of each image, the mean over its N valid pixels.

        L = -1/N sum_ij w_ij log p_m,    m = the mask's class id, p = softmax(logits)
        w_ij = w_c(m) + w0 exp(-(d1 + d2)^2 / (2 sigma^2))

    d1 and d2 are the distances from the pixel to the nearest and to the second nearest instance, d1 = 0 on
    an instance; instances are those of the map nearest_instances (segframe_losses.maps): the 8-connected
    components of each class but 0. Where there are fewer than two within 256 px the exponential is 0. As in
    the paper all pixels have the weight, those of instances too.

    Args:
        units: in which d and sigma are measured.
        w0: what a pixel on a border counts above w_c; at least 0, no unit.
        sigma: how fast that fades with d1 + d2, above 0.
        class_weights: w_c, num_classes numbers without unit, or None for 1 everywhere.

    Source:
        Ronneberger, Fischer and Brox 2015, https://arxiv.org/abs/1505.04597, equations 1 and 2.
    """

    maps: tuple[str, ...] = ("nearest_instances",)

    def __init__(
        self,
        num_classes: int,
        ignore_index: int,
        units: MapUnits,
        w0: float,
        sigma: float,
        class_weights: list[float] | None,
    ):
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.units, self.w0, self.sigma, self.class_weights = units, w0, sigma, class_weights

    def __call__(self, target: Mapping[str, tf.Tensor], logits: tf.Tensor) -> tf.Tensor:
        """(batch,) float32, as segframe_losses in hooks.py says."""
        mask, valid, logits = only_valid(target["mask"], logits, self.num_classes, self.ignore_index)
        ids = tf.maximum(mask, 0)
        class_weights = tf.constant(self.class_weights or [1.0] * self.num_classes, tf.float32)
        weights = tf.gather(class_weights, ids) + self.border(target["nearest_instances"])
        pixels = tf.nn.sparse_softmax_cross_entropy_with_logits(ids, logits)
        total = tf.reduce_sum(pixels * weights * valid, axis=(1, 2))
        return total / tf.maximum(tf.reduce_sum(valid, axis=(1, 2)), 1.0)

    def border(self, nearest: tf.Tensor) -> tf.Tensor:
        """(batch, height, width, 2) squared distances -> the weight above w_c, (batch, height, width)."""
        nearest = tf.ensure_shape(nearest, (None, None, None, 2))
        way = tf.reduce_sum(tf.sqrt(self.units.squared(nearest)), axis=-1)  # +inf without two instances
        return self.w0 * tf.exp(-0.5 * tf.square(way / self.sigma))
