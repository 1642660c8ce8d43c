"""Floating-point operations of a network, counted by TensorFlow's profiler on its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def forward_flops(network: keras.Model, image_shape: tuple[int, int, int]) -> int:
    """Of the prediction of one image: nothing is computed, the graph is traced and its operations added up.

    A multiplication and an addition are two. The profiler knows convolutions, matrix products, pooling,
    biases and arithmetic element by element; it counts nothing for activations, copies, resizing and
    operations that it does not know: little beside the convolutions.

    Args:
        network: maps (1, height, width, channels) float32 to anything.

    Raises:
        ValueError: a size in the graph is not known.

    Source: tf.compat.v1.profiler, ProfileOptionBuilder.float_operation.
    """
    import tensorflow as tf

    from segframe.custom_ops import custom_ops

    profiler = tf.compat.v1.profiler
    with custom_ops(allowed=False):
        graph = (
            tf.function(lambda image: network(image, training=False), autograph=False)
            .get_concrete_function(tf.TensorSpec((1, *image_shape), tf.float32))
            .graph
        )
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    log, level = tf.get_logger(), tf.get_logger().level
    log.setLevel("ERROR")  # the profiler calls a function that is deprecated
    try:
        return int(profiler.profile(graph, options=options.with_empty_output().build()).total_float_ops)
    finally:
        log.setLevel(level)
