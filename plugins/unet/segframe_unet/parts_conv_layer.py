"""A convolution over feature maps that need not be concatenated first."""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable(package="segframe_unet")
class PartsConv2D(keras.layers.Conv2D):
    """keras.layers.Conv2D of the parts' concatenation, without making it.

        conv(concat(a, b), W) = conv(a, W[:, :, :channels of a]) + conv(b, W[:, :, channels of a:])

    One kernel holds W whole, so the weights are those of Conv2D on the concatenation, as is the result to
    rounding. With one part it is Conv2D. On a CPU a step at the two largest of a decoder's maps grows
    the memory by 0.5 to 0.65 of the concatenation's and takes 0.9 to 1.0 of its time; at the smallest it
    saves nothing and takes 1.2 (benchmarks/concat.py --split, results/concat_split_cpu.json).

    Arguments are Conv2D's; channels last, one group. It is called with a list of (batch, height, width,
    channels), equal but for their channels.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.input_spec = None  # Conv2D's speaks of one tensor

    def build(self, input_shapes):
        channels = [shape[-1] for shape in input_shapes]
        super().build((*tuple(input_shapes[0])[:-1], sum(channels)))
        self.input_spec = None  # build made it again
        self.starts = [sum(channels[:index]) for index in range(len(channels) + 1)]

    def call(self, parts):
        if len(parts) == 1:
            return super().call(parts[0])
        result = None
        for part, start, stop in zip(parts, self.starts, self.starts[1:], strict=False):
            kernel = self.kernel[:, :, start:stop]
            own = keras.ops.conv(part, kernel, list(self.strides), self.padding, None, self.dilation_rate)
            result = own if result is None else result + own
        if self.use_bias:
            result += self.bias
        return result if self.activation is None else self.activation(result)

    def compute_output_shape(self, input_shapes):
        of_whole = input_shapes[0] is None or isinstance(input_shapes[0], int)  # so Conv2D.build asks
        return super().compute_output_shape(input_shapes if of_whole else tuple(input_shapes[0]))
