"""Transposed convolution as a Keras layer."""

from __future__ import annotations

import keras

from segframe_unet.transposed_conv import check_settings, conv2d_transpose, output_size


@keras.saving.register_keras_serializable(package="segframe_unet")
class TransposedConv2D(keras.layers.Layer):
    """conv2d_transpose with a trained kernel; doubles height and width by default.

    Args:
        filters: channels of the output.
        kernel_size, stride, padding, output_padding: see conv2d_transpose; in pixels, rows and columns alike.
        use_bias: adds a trained number to each output channel.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        *,
        stride: int = 2,
        padding: int = 1,
        output_padding: int = 1,
        use_bias: bool = False,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_settings(kernel_size, stride, padding, output_padding)
        self.filters, self.kernel_size, self.use_bias = filters, kernel_size, use_bias
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        shape = (self.kernel_size, self.kernel_size, self.filters, input_shape[-1])
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=self.kernel_initializer)
        self.bias = self.add_weight(name="bias", shape=(self.filters,)) if self.use_bias else None

    def call(self, images):
        # As a tensor of the compute dtype: a variable would have to pass through the custom gradient.
        kernel = keras.ops.convert_to_tensor(self.kernel, dtype=self.compute_dtype)
        images = conv2d_transpose(
            images, kernel, stride=self.stride, padding=self.padding, output_padding=self.output_padding
        )
        return images if self.bias is None else images + keras.ops.cast(self.bias, images.dtype)

    def compute_output_shape(self, input_shape):
        settings = self.kernel_size, self.stride, self.padding, self.output_padding
        height, width = (output_size(size, *settings) for size in input_shape[1:3])
        return input_shape[0], height, width, self.filters

    def get_config(self):
        own = ("filters", "kernel_size", "stride", "padding", "output_padding", "use_bias")
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return (
            super().get_config()
            | {key: getattr(self, key) for key in own}
            | {"kernel_initializer": initializer}
        )
