"""ReLU as a Keras layer that a compiled convolution takes in."""

from __future__ import annotations

import keras

from segframe_unet import conv_fusion


@keras.saving.register_keras_serializable(package="segframe_unet")
class ReLU(keras.layers.Layer):
    """max(x, 0); in predictions part of a compiled convolution before it (conv_fusion)."""

    def call(self, inputs, training=None):
        if training is False and conv_fusion.can_finish(inputs, relu=True):
            return conv_fusion.finished(inputs, relu=True)
        return keras.ops.relu(inputs)

    def compute_output_shape(self, input_shape):
        return input_shape
