"""The three ways up: twice the height and width, and the channels asked for."""

from __future__ import annotations

from typing import Literal

import keras
import tensorflow as tf
from keras import layers

from segframe_unet.transposed_conv_layer import TransposedConv2D


def upsample_double(
    x: keras.KerasTensor, filters: int, how: Literal["transpose", "bilinear", "nearest"], name: str
) -> keras.KerasTensor:
    """(batch, height, width, channels) -> (batch, 2 * height, 2 * width, filters).

    `transpose` is a transposed 3x3 convolution of stride 2. `bilinear` and `nearest` interpolate, then a 3x3
    convolution sets the channels. All three have 9 * channels * filters weights, Glorot uniform at first, and
    no bias.
    """
    if how == "transpose":
        return TransposedConv2D(filters, name=name)(x)
    interpolation = BilinearUpsampling2D if how == "bilinear" else layers.UpSampling2D
    x = interpolation(name=f"{name}_{how}")(x)
    return layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(x)


@keras.saving.register_keras_serializable(package="segframe_unet")
class BilinearUpsampling2D(layers.Layer):
    """(batch, height, width, channels) -> (batch, 2 * height, 2 * width, channels), bilinear.

    Half-pixel centres, edges repeated: out[2i] = (x[i-1] + 3 x[i]) / 4, out[2i+1] = (3 x[i] + x[i+1]) / 4.
    Keras's UpSampling2D (3.15) refuses sizes that are unknown while a graph is traced.
    """

    def call(self, images):
        height, width = tf.unstack(tf.shape(images)[1:3])
        return tf.cast(tf.image.resize(images, (2 * height, 2 * width)), images.dtype)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, height and 2 * height, width and 2 * width, channels
