"""Sub-pixel convolution: channels become pixels, and an initialiser that starts it without a checkerboard."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers


@keras.saving.register_keras_serializable(package="segframe_unet")
class DepthToSpace2D(layers.Layer):
    """(batch, height, width, 4 * channels) -> (batch, 2 * height, 2 * width, channels).

    out[:, 2i + r, 2j + s, c] = x[:, i, j, (2r + s) * channels + c], as tf.nn.depth_to_space. That op has
    no bfloat16 kernel for GPUs and one thread on CPUs; a transposition gives the same bits.
    """

    def call(self, features):
        batch, height, width = tf.unstack(tf.shape(features)[:3])
        channels = features.shape[-1] // 4
        pixels = tf.reshape(features, (batch, height, width, 2, 2, channels))
        pixels = tf.transpose(pixels, (0, 1, 3, 2, 4, 5))
        return tf.reshape(pixels, (batch, 2 * height, 2 * width, channels))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, height and 2 * height, width and 2 * width, channels // 4


@keras.saving.register_keras_serializable(package="segframe_unet")
class SubpixelGlorot(keras.initializers.GlorotUniform):
    """Glorot uniform for one of the four sub-kernels of (rows, columns, channels, 4 * filters), and the same
    for the others.

    The four pixels that a place becomes start equal, so the convolution starts as nearest-neighbour
    upsampling after a convolution to `filters`, without a checkerboard.

    Source:
        ICNR of Aitken et al., 2017, https://arxiv.org/abs/1707.02937.
    """

    def __call__(self, shape, dtype=None):
        *kernel, outputs = shape
        return keras.ops.tile(super().__call__((*kernel, outputs // 4), dtype), (1, 1, 1, 4))
