"""The four ways up: twice the height and width, and the channels asked for."""

from __future__ import annotations

from typing import Literal

import keras
import tensorflow as tf
from keras import layers

from segframe_unet.conv_layer import Conv2D
from segframe_unet.subpixel import DepthToSpace2D, SubpixelGlorot
from segframe_unet.transposed_conv_layer import TransposedConv2D


def upsample_double(
    x: keras.KerasTensor,
    filters: int,
    how: Literal["transpose", "bilinear", "nearest", "subpixel"],
    name: str,
) -> keras.KerasTensor:
    """(batch, height, width, channels) -> (batch, 2 * height, 2 * width, filters).

    `transpose` is a transposed 3x3 convolution of stride 2. `bilinear` and `nearest` interpolate, then a 3x3
    convolution sets the channels. These three have 9 * channels * filters weights, Glorot uniform at first.
    `subpixel` (Shi et al., 2016, https://arxiv.org/abs/1609.05158) has four times as many: a 3x3 convolution
    to 4 * filters channels, which become 2x2 pixels, the four alike at first. None has a bias.
    """
    if how == "transpose":
        return TransposedConv2D(filters, name=name)(x)
    if how == "subpixel":
        initial = SubpixelGlorot()
        x = Conv2D(4 * filters, 3, padding="same", use_bias=False, kernel_initializer=initial, name=name)(x)
        return DepthToSpace2D(name=f"{name}_subpixel")(x)
    interpolation = BilinearUpsampling2D if how == "bilinear" else layers.UpSampling2D
    x = interpolation(name=f"{name}_{how}")(x)
    return Conv2D(filters, 3, padding="same", use_bias=False, name=name)(x)


@keras.saving.register_keras_serializable(package="segframe_unet")
class BilinearUpsampling2D(layers.Layer):
    """(batch, height, width, channels) -> (batch, factor * height, factor * width, channels), bilinear.

    Half-pixel centres, edges repeated; with factor 2, out[2i] = (x[i-1] + 3 x[i]) / 4 and out[2i+1] =
    (3 x[i] + x[i+1]) / 4. Keras's UpSampling2D (3.15) refuses sizes that are unknown while a graph is traced.
    """

    def __init__(self, factor: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, images):
        height, width = tf.unstack(tf.shape(images)[1:3])
        size = (self.factor * height, self.factor * width)
        return tf.cast(tf.image.resize(images, size), images.dtype)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, height and self.factor * height, width and self.factor * width, channels

    def get_config(self):
        return super().get_config() | {"factor": self.factor}
