"""A convolution over feature maps that need not be concatenated first."""

from __future__ import annotations

import keras

from segframe_unet import conv
from segframe_unet.conv_layer import Conv2D


@keras.saving.register_keras_serializable(package="segframe_unet")
class PartsConv2D(Conv2D):
    """keras.layers.Conv2D of the parts' concatenation, without making it.

        conv(concat(a, b), W) = conv(a, W[:, :, :channels of a]) + conv(b, W[:, :, channels of a:])

    One kernel holds W whole, so the weights are those of Conv2D on the concatenation, as is the result to
    rounding. With one part it is Conv2D. A 3x3 convolution is the compiled op's where that stands
    (segframe_unet.conv). For what parts save and cost see benchmarks/concat.py --split.

    Arguments are Conv2D's; channels last, one group. It is called with a list of (batch, height, width,
    channels), equal but for their channels.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.input_spec = None  # Conv2D's speaks of one tensor

    def build(self, input_shapes):
        channels = [shape[-1] for shape in input_shapes]
        super().build((*tuple(input_shapes[0])[:-1], sum(channels)))
        for number in channels:
            self.is_compiled(number)
        self.input_spec = None  # build made it again
        self.starts = [sum(channels[:index]) for index in range(len(channels) + 1)]

    def call(self, parts, training=None):
        if len(parts) == 1:
            return super().call(parts[0], training=training)
        result = None
        for part, start, stop in zip(parts, self.starts, self.starts[1:], strict=False):
            kernel = self.kernel[:, :, start:stop]
            if self.is_compiled(part.shape[-1]):
                own = conv.convolve(part, kernel, "same")
            else:
                own = keras.ops.conv(part, kernel, list(self.strides), self.padding, None, self.dilation_rate)
            result = own if result is None else result + own
        return self.finished(result, training)

    def compute_output_shape(self, input_shapes):
        of_whole = input_shapes[0] is None or isinstance(input_shapes[0], int)  # so Conv2D.build asks
        return super().compute_output_shape(input_shapes if of_whole else tuple(input_shapes[0]))
