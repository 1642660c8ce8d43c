"""Transposed convolution as a Keras layer, and MagmaDNN's initialiser."""

from __future__ import annotations

from typing import Literal

import keras
import tensorflow as tf

from segframe import SegframeError
from segframe_unet import conv
from segframe_unet.transposed_conv import conv2d_transpose
from segframe_unet.transposed_conv_size import Padding, Pair, axes

FORMATS = {"channels_last": "NHWC", "channels_first": "NCHW"}


@keras.saving.register_keras_serializable(package="segframe_unet")
class MagmaDNNNormal(keras.initializers.RandomNormal):
    """Normal of mean 0 and deviation 0.2, as MagmaDNN's layer; by name "magmadnn_normal"."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.2, seed: int | None = None):
        super().__init__(mean, stddev, seed)


keras.saving.get_custom_objects()["magmadnn_normal"] = MagmaDNNNormal


@keras.saving.register_keras_serializable(package="segframe_unet")
class TransposedConv2D(keras.layers.Layer):
    """conv2d_transpose with a trained kernel; doubles height and width by default.

    Args:
        filters: channels of the output, >= 1.
        kernel_size: height and width of the kernel in pixels, >= 1: a number, or (rows, columns).
        strides, padding, output_padding, dilation, use_cross_correlation: see conv2d_transpose.
        use_bias: adds a trained number to each output channel.
        data_format: "channels_last" (NHWC), "channels_first" (NCHW), or None for what Keras is set to.
        kernel_initializer: of the kernel (rows, columns, filters, channels). The layout is that of Keras's
            Conv2DTranspose, so Glorot sees its fans: rows * columns * filters in, rows * columns * channels
            out.
        bias_initializer, kernel_regularizer, kernel_constraint: as in Keras's layers.

    Raises:
        SegframeError: a setting is out of its range. An output without a pixel is one too, with the formula;
            Keras makes a RuntimeError of what a layer's call raises, and keeps the words.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Pair = 3,
        *,
        strides: Pair = 2,
        padding: Padding = 1,
        output_padding: Pair | None = None,
        dilation: Pair = 1,
        use_bias: bool = False,
        use_cross_correlation: bool = True,
        data_format: Literal["channels_last", "channels_first"] | None = None,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        kernel_constraint=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        data_format = data_format or keras.config.image_data_format()
        self._axes = axes(kernel_size, strides, padding, output_padding, dilation)
        for key, value, expected, right in [
            ("filters", filters, "a number >= 1", filters >= 1),
            ("data_format", data_format, "channels_last or channels_first", data_format in FORMATS),
        ]:
            if not right:
                remedy = "TransposedConv2D(16), say, doubles the size."
                raise SegframeError(
                    f"{key} of the transposed convolution", expected=expected, got=repr(value), remedy=remedy
                )
        self.filters, self.kernel_size, self.data_format = filters, kernel_size, data_format
        self.use_bias, self.use_cross_correlation = use_bias, use_cross_correlation
        self.strides, self.padding, self.dilation = strides, padding, dilation
        self.output_padding = 1 if output_padding is None and not isinstance(padding, str) else output_padding
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        channel_axis = FORMATS[self.data_format].index("C")
        channels = input_shape[channel_axis]
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={channel_axis: channels})
        rows, columns = (axis.settings["kernel"] for axis in self._axes)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(rows, columns, self.filters, channels),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        if self._axes == axes(3, 2, 1, 1, 1) and self.data_format == "channels_last":
            conv.takes(self.compute_dtype, channels, self.filters, "double")  # built and loaded now
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer=self.bias_initializer)

    def call(self, images):
        data_format = FORMATS[self.data_format]
        images = conv2d_transpose(
            images,
            self.kernel,
            strides=self.strides,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation,
            use_cross_correlation=self.use_cross_correlation,
            data_format=data_format,
        )
        return images if self.bias is None else tf.nn.bias_add(images, self.bias, data_format)

    def compute_output_shape(self, input_shape):
        first = FORMATS[self.data_format].index("H")
        sides = input_shape[first : first + 2]
        sides = [axis.output_size(side) for axis, side in zip(self._axes, sides, strict=True)]
        shape = dict(zip("NHWC", (input_shape[0], *sides, self.filters), strict=True))
        return tuple(shape[letter] for letter in FORMATS[self.data_format])

    def get_config(self):
        own = ("filters", "kernel_size", "strides", "padding", "output_padding", "dilation", "use_bias")
        own += ("use_cross_correlation", "data_format")
        return super().get_config() | {
            **{key: getattr(self, key) for key in own},
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
        }
