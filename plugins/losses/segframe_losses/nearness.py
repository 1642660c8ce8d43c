"""How near the nearest pixel of a class is, made in the graph: for masks that no stored map can follow."""

from __future__ import annotations

import math

import tensorflow as tf

FAR = 1e30
"""Squared distance where no pixel of the class is within the reach; finite, as inf - inf is no number."""


def squared_distance_within(
    there: tf.Tensor, reach: float, spacing: tuple[float, float] = (1.0, 1.0)
) -> tf.Tensor:
    """Squared distance to the nearest pixel of each class, exact up to `reach`.

        d2[b, i, j, c] = min over pixels (k, l) of class c of  (row * (i - k))^2 + (column * (j - l))^2

    Two one-dimensional passes, along rows and then columns, of a running minimum: the logarithm of the
    running maximum of a separable Gaussian. The first doubles its step, as distances along a line add up.
    Whatever is further than `reach` along a row or a column may come out as anything above reach^2.

    Args:
        there: (batch, height, width, classes) bool, where the class is.
        reach: in the unit of spacing, above 0; the second pass takes time in proportion to it.
        spacing: (row, column), size of a pixel.

    Returns:
        (batch, height, width, classes) float32 in that unit squared, FAR or more where nothing is near. No
        gradient flows to it.
    """
    rows, columns = (math.ceil(reach / size) for size in spacing)
    # The axis that is moved along comes first: slices of it are views. (width, height, batch, classes)
    along = tf.transpose(tf.where(there, 0.0, math.sqrt(FAR)), (2, 1, 0, 3))
    step = 1
    while step <= columns:
        before, behind = _neighbours(along, step)(step)
        along = tf.minimum(along, tf.minimum(before, behind) + float(step))
        step *= 2
    squared = tf.transpose(tf.square(along * spacing[1]), (1, 0, 2, 3))
    result, neighbours = squared, _neighbours(squared, rows)
    for step in range(1, rows + 1):
        result = tf.minimum(result, tf.minimum(*neighbours(step)) + (step * spacing[0]) ** 2)
    return tf.stop_gradient(tf.transpose(result, (2, 0, 1, 3)))


def _neighbours(values: tf.Tensor, most: int):
    """A function of a step up to `most`: the values that many before and behind along the first axis."""
    padded = tf.pad(values, [[most, most], [0, 0], [0, 0], [0, 0]], constant_values=FAR)
    size = tf.shape(values)[0]
    return lambda step: (padded[most - step : most - step + size], padded[most + step : most + step + size])
