"""The Lovász-softmax loss: the convex surrogate of 1 - intersection over union."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from segframe import only_valid


class LovaszSoftmax:
    """Lovász-softmax loss of each image: the mean over the classes that its mask has of

        sum_k e_(k) (J(k) - J(k - 1))
        e = |y - p|, sorted downwards: e_(1) >= e_(2) >= ...;    y = one_hot(mask), p = softmax(logits)
        J(k) = 1 - (pixels of the class that are not among the first k) / (pixels that are in the class or
               among the first k): the Jaccard loss when exactly the first k pixels are wrong; J(0) = 0

    over valid pixels: the Lovász extension of the Jaccard loss, equal to it where every e is 0 or 1. Time
    goes with N log N for the sorting.

    Source:
        Berman, Triki and Blaschko 2018, https://arxiv.org/abs/1705.08790; per image,
        classes present in the mask, as in the authors' code.
    """

    maps: tuple[str, ...] = ()

    def __init__(self, num_classes: int, ignore_index: int):
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def __call__(self, target: Mapping[str, tf.Tensor], logits: tf.Tensor) -> tf.Tensor:
        """(batch,) float32, as segframe_losses in hooks.py says."""
        mask, valid, logits = only_valid(target["mask"], logits, self.num_classes, self.ignore_index)
        one_hot = tf.one_hot(mask, self.num_classes)
        errors = tf.abs(one_hot - tf.nn.softmax(logits)) * valid[..., None]
        batch = tf.shape(mask)[0]
        by_class = (tf.transpose(tensor, (0, 3, 1, 2)) for tensor in (errors, one_hot))
        errors, one_hot = (tf.reshape(tensor, (batch, self.num_classes, -1)) for tensor in by_class)
        valid = tf.reshape(valid, (batch, 1, -1))
        # Ignored pixels come last, where their error of 0 meets a weight that counts for nothing.
        order = tf.argsort(tf.stop_gradient(tf.where(valid > 0, errors, -1.0)), direction="DESCENDING")
        errors = tf.gather(errors, order, batch_dims=2)
        steps = jaccard_steps(tf.gather(one_hot, order, batch_dims=2))
        present = tf.cast(tf.reduce_any(one_hot > 0, axis=-1), tf.float32)
        total = tf.reduce_sum(tf.reduce_sum(errors * steps, axis=-1) * present, axis=1)
        return total / tf.maximum(tf.reduce_sum(present, axis=1), 1.0)


def jaccard_steps(members: tf.Tensor) -> tf.Tensor:
    """J(k) - J(k - 1) for k = 1, 2, ... along the last axis.

    With I pixels of the class left and a union of U after k pixels, J(k) = 1 - I / U. A pixel of the class
    takes one from I, another one adds one to U: written out, so that no two numbers near 1 are subtracted.

    Args:
        members: (..., pixels) float32, 1 where the pixel is of the class, else 0, in the order of the errors.
    """
    left = tf.reduce_sum(members, axis=-1, keepdims=True) - tf.cumsum(members, axis=-1)
    union = tf.reduce_sum(members, axis=-1, keepdims=True) + tf.cumsum(1.0 - members, axis=-1)
    union = tf.maximum(union, 1.0)
    return tf.where(members > 0, 1.0 / union, left / (union * tf.maximum(union - 1.0, 1.0)))
