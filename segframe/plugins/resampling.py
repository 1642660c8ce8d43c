"""An image and its target, read at other places: the image between its pixels, the target at the nearest."""

from __future__ import annotations

import tensorflow as tf

Target = dict[str, tf.Tensor]


def resample(
    image: tf.Tensor, target: Target, rows: tf.Tensor, columns: tf.Tensor
) -> tuple[tf.Tensor, Target]:
    """Pixel (i, j) of the result is what stands at (rows[i, j], columns[i, j]).

    The image is interpolated bilinearly. Every entry of the target takes the value of the nearest pixel, so
    class ids stay class ids. Outside, image and target go on as their mirror image, the edge pixel included
    (d c b a | a b c d | d c b a), so that no pixel comes to be unknown.

    Args:
        image: (height, width, channels) float32.
        target: entries of (height, width, ...), any dtype.
        rows, columns: (height, width) float32, in pixels; (0, 0) is the centre of the first one.

    Source:
        scipy.ndimage.map_coordinates does the same with mode="reflect" and order 1 and 0 (the tests compare).
    """
    height, width = tf.unstack(tf.shape(image)[:2])
    rows, columns = _mirrored(rows, height), _mirrored(columns, width)
    top, left = tf.cast(rows, tf.int32), tf.cast(columns, tf.int32)
    down, across = (
        (rows - tf.cast(top, tf.float32))[..., None],
        (columns - tf.cast(left, tf.float32))[..., None],
    )
    right = tf.minimum(left + 1, width - 1)

    def read(values: tf.Tensor, row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        # One number a pixel: gather_nd takes longer.
        flat = tf.reshape(values, tf.concat([[height * width], tf.shape(values)[2:]], axis=0))
        return tf.ensure_shape(tf.gather(flat, row * width + column), values.shape)

    def between(first: tf.Tensor, second: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        return first + (second - first) * share

    upper, lower = (
        between(read(image, row, left), read(image, row, right), across)
        for row in (top, tf.minimum(top + 1, height - 1))
    )
    nearest = tf.cast(rows + 0.5, tf.int32), tf.cast(columns + 0.5, tf.int32)
    return between(upper, lower, down), {name: read(entry, *nearest) for name, entry in target.items()}


def grid(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(height, 1) and (1, width) float32: each pixel's own row and column."""
    shape = tf.shape(image)
    rows, columns = (tf.range(tf.cast(size, tf.float32)) for size in (shape[0], shape[1]))
    return rows[:, None], columns[None, :]


def _mirrored(places: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Folded to -0.5 .. size - 0.5; the half pixels at the ends have the value of the last pixel's centre."""
    length = tf.cast(size, tf.float32)
    period = 2 * length
    inside = places + 0.5
    inside -= period * tf.floor(inside / period)  # floormod takes twice as long
    return tf.clip_by_value(length - tf.abs(inside - length) - 0.5, 0.0, length - 1)
