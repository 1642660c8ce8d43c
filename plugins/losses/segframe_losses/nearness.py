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

        d2[c, b, i, j] = min over pixels (k, l) of class c of  (row * (i - k))^2 + (column * (j - l))^2

    Two one-dimensional passes, along rows and then columns, of a running minimum: the logarithm of the
    running maximum of a separable Gaussian. The first doubles its step, as distances along a line add up.
    Whatever is further than `reach` along a row or a column may come out as anything above reach^2.

    Args:
        there: (classes, batch, height, width) bool, where the class is.
        reach: in the unit of spacing, above 0; the second pass takes time in proportion to it.
        spacing: (row, column), size of a pixel.

    Returns:
        (classes, batch, height, width) float32 in that unit squared, above reach^2 where nothing is near. No
        gradient flows to it.
    """
    rows, columns = (math.ceil(reach / size) for size in spacing)
    # identity is there for its device: that of the scope while tracing, where the values are otherwise.
    if tf.config.list_physical_devices("GPU") and "CPU" not in tf.identity(there).device:
        along = _along_a_line(_far(there), columns, axis=3)
        return tf.stop_gradient(_parabolas(tf.square(along * spacing[1]), rows, spacing[0], axis=2))

    def of_one_class(there: tf.Tensor) -> tf.Tensor:
        along = _along_a_line(tf.transpose(_far(there), (2, 0, 1)), columns, axis=0)
        squared = tf.transpose(tf.square(along * spacing[1]), (2, 1, 0))
        return tf.transpose(_parabolas(squared, rows, spacing[0], axis=0), (1, 0, 2))

    # A CPU copies slices, but for those of the first axis, which are views; a GPU minds the transposing. One
    # class at a time, as more of them leave the caches.
    by_class = tf.map_fn(of_one_class, there, fn_output_signature=tf.float32, parallel_iterations=1)
    return tf.stop_gradient(tf.ensure_shape(by_class, there.shape))


def _far(there: tf.Tensor) -> tf.Tensor:
    """0 where the class is, sqrt(FAR) elsewhere."""
    return (1.0 - tf.cast(there, tf.float32)) * math.sqrt(FAR)


def _along_a_line(distance: tf.Tensor, reach: int, axis: int) -> tf.Tensor:
    """Distance in pixels to the nearest 0 along an axis, right up to `reach`, from 0 and sqrt(FAR)."""
    step = 1
    while step <= reach:
        before, behind = _neighbours(distance, step, axis)(step)
        distance = tf.minimum(distance, tf.minimum(before, behind) + float(step))
        step *= 2
    return distance


def _parabolas(squared: tf.Tensor, reach: int, pixel: float, axis: int) -> tf.Tensor:
    """min over k of squared at i + k, plus (k * pixel)^2, for |k| up to `reach` along an axis."""
    result, neighbours = squared, _neighbours(squared, reach, axis)
    for step in range(1, reach + 1):
        result = tf.minimum(result, tf.minimum(*neighbours(step)) + (step * pixel) ** 2)
    return result


def _neighbours(values: tf.Tensor, most: int, axis: int):
    """A function of a step up to `most`: the values that many before and behind along an axis."""
    pads = [[most, most] if dimension == axis else [0, 0] for dimension in range(values.shape.rank)]
    padded = tf.pad(values, pads, constant_values=FAR)
    length, whole = tf.shape(values)[axis], (slice(None),) * axis

    def neighbours(step: int) -> tuple[tf.Tensor, tf.Tensor]:
        before, behind = most - step, most + step
        return padded[(*whole, slice(before, before + length))], padded[
            (*whole, slice(behind, behind + length))
        ]

    return neighbours
