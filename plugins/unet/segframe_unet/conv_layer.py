"""Convolution as a Keras layer, by the compiled op where that stands."""

from __future__ import annotations

import keras
import tensorflow as tf

from segframe_unet import conv, conv_fusion


@keras.saving.register_keras_serializable(package="segframe_unet")
class Conv2D(keras.layers.Conv2D):
    """keras.layers.Conv2D; of 3x3, stride 1 and "same" by the compiled op where that stands.

    That is in a run's own graphs without XLA, on CPUs (segframe_unet.conv). The arguments and the places of
    weights in files are Keras's.
    """

    def build(self, input_shape):
        super().build(input_shape)
        self.is_compiled(input_shape[-1])  # built and loaded now, not in the midst of a trace

    def call(self, images, training=None):
        if not self.is_compiled(images.shape[-1]):
            return super().call(images)
        if training is False:
            maps = conv_fusion.convolve(images, self.kernel)
        else:
            maps = conv.convolve(images, self.kernel, "same")
        return self.finished(maps, training)

    def is_compiled(self, channels: int | None) -> bool:
        """Whether the compiled op is to convolve maps of so many channels here."""
        settings = self.kernel_size, self.strides, self.dilation_rate, self.padding, self.groups
        plain = settings == ((3, 3), (1, 1), (1, 1), "same", 1) and self.data_format == "channels_last"
        return plain and conv.takes(self.compute_dtype, channels, self.filters, "same")

    def finished(self, maps, training):
        """With bias and activation."""
        if self.use_bias:
            bias, joins = tf.convert_to_tensor(self.bias), training is False and conv_fusion.can_finish(maps)
            maps = conv_fusion.finished(maps, add=bias) if joins else maps + bias
        return maps if self.activation is None else self.activation(maps)
