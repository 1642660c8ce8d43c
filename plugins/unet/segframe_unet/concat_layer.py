"""concat as a Keras layer."""

from __future__ import annotations

import keras

from segframe import custom_ops_allowed
from segframe_unet.concat import concat
from segframe_unet.concat_build import preload


@keras.saving.register_keras_serializable(package="segframe_unet")
class Concat(keras.layers.Layer):
    """Joins two to eight feature maps along their channels: keras.layers.Concatenate, bit for bit.

    A saved model holds no trace of the compiled op and loads where it is not built.

    Args:
        data_format: "channels_last" or "channels_first".
    """

    def __init__(self, *, data_format: str = "channels_last", **kwargs):
        super().__init__(**kwargs)
        self.data_format = keras.config.image_data_format() if data_format is None else data_format
        self.axis = {"channels_last": 3, "channels_first": 1}[self.data_format]

    def build(self, input_shapes):
        if custom_ops_allowed():
            # Compiled and loaded before there are batches under way, not in the midst of a trace.
            preload()

    def call(self, parts):
        return concat(parts, data_format="NHWC" if self.axis == 3 else "NCHW")

    def compute_output_shape(self, input_shapes):
        channels = [shape[self.axis] for shape in input_shapes]
        result = [next((size for size in sizes if size), None) for sizes in zip(*input_shapes, strict=True)]
        result[self.axis] = None if None in channels else sum(channels)
        return tuple(result)

    def get_config(self):
        return super().get_config() | {"data_format": self.data_format}
