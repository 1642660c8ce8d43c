"""concat as a Keras layer."""

from __future__ import annotations

import keras

from segframe import SegframeError, custom_ops_allowed
from segframe_unet.concat import AXES, concat
from segframe_unet.ops_build import preload
from segframe_unet.transposed_conv_layer import FORMATS


@keras.saving.register_keras_serializable(package="segframe_unet")
class Concat(keras.layers.Layer):
    """Joins two to eight feature maps along their channels: keras.layers.Concatenate, bit for bit.

    A saved model holds no trace of the compiled op and loads where it is not built.

    Args:
        data_format: "channels_last" or "channels_first".
    """

    def __init__(self, *, data_format: str = "channels_last", **kwargs):
        super().__init__(**kwargs)
        if data_format not in FORMATS:
            raise SegframeError(
                "data_format of Concat",
                expected="channels_last or channels_first",
                got=repr(data_format),
                remedy="Give data_format='channels_last'.",
            )
        self.data_format, self.axis = data_format, AXES[FORMATS[data_format]]

    def build(self, input_shapes):
        if custom_ops_allowed():
            # Compiled and loaded before there are batches under way, not in the midst of a trace.
            preload()

    def call(self, parts):
        return concat(parts, data_format=FORMATS[self.data_format])

    def compute_output_shape(self, input_shapes):
        channels = [shape[self.axis] for shape in input_shapes]
        result = [next((size for size in sizes if size), None) for sizes in zip(*input_shapes, strict=True)]
        result[self.axis] = None if None in channels else sum(channels)
        return tuple(result)

    def get_config(self):
        return super().get_config() | {"data_format": self.data_format}
