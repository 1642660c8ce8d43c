"""The forms of a transposed convolution, from start, end and size of each axis (transposed_conv_size.Axis).

They stand where the compiled op (segframe_unet.conv) does not.

Measured on two CPU cores against Keras's SAME, at a U-Net's shapes (benchmarks/conv_transpose.py, before
there was that op): EXPLICIT takes 1.2 to 2.3 times as long forward, VALID and the crop 1.06 to 1.25; a step
with the crop 1.03 to 1.2. VALID alone is as quick as SAME: what remains is one copy forward, the crop, and
one backward, the pad. What would spare the copies costs more: a kernel with a fourth row and column of
zeros, whose pads are SAME's (forward 1.3 to 1.6); SAME on everything mirrored (1.2 to 1.3); the four phases
as convolutions, interleaved (1.3 to 2.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from segframe_unet.transposed_conv_size import Axis

Axes = tuple[Axis, Axis]


def with_zeros(images: tf.Tensor, height_width: Axes, data_format: str) -> tuple[tf.Tensor, Axes]:
    """(images, axes) of the same result, where each axis ends in fewer zeros than its stride: the operation
    adds no more itself. A row of zeros after the images adds `stride` rows to the output."""
    zeros = [max(-axis.end // axis.stride, 0) for axis in height_width]
    if any(zeros):
        images = tf.pad(images, arranged(data_format, (0, 0), [(0, count) for count in zeros], (0, 0)))
    height, width = (
        axis._replace(end=axis.end + count * axis.stride)
        for axis, count in zip(height_width, zeros, strict=True)
    )
    return images, (height, width)


def explicit_form(
    images: tf.Tensor,
    kernel: tf.Tensor,
    height_width: Axes,
    sides: Sequence[int | tf.Tensor],
    data_format: str,
) -> tf.Tensor:
    """One operation. `sides` are the output's height and width; axes as with_zeros gives them."""
    return _operation(images, kernel, height_width, sides, data_format, _padding(height_width))


def cropped_form(
    images: tf.Tensor,
    kernel: tf.Tensor,
    height_width: Axes,
    sides: Sequence[int | tf.Tensor],
    data_format: str,
) -> tf.Tensor:
    """The full transposed convolution, then a crop; one operation where its pads are SAME's or VALID's.
    NHWC alone."""
    if _padding(height_width) != "EXPLICIT":
        return explicit_form(images, kernel, height_width, sides, data_format)
    whole = []
    for axis, side in zip(height_width, sides, strict=True):
        full = axis.start + side + axis.end
        # A multiple of the stride: oneDNN takes 0.90 of the time for 258 pixels that it takes for 257.
        whole.append(full - axis.end if axis.end < 0 else full + -full % axis.stride)
    out = _operation(images, kernel, height_width, whole, data_format, "VALID")
    # Not out[...]: the gradient of a strided slice is slow, that of a slice is one pad.
    return tf.slice(out, [0, *(axis.start for axis in height_width), 0], tf.stack([-1, *sides, -1]))


def arranged(data_format: str, batch, height_width, channels) -> list:
    """What belongs to the axes, in the order of data_format."""
    return [batch, *height_width, channels] if data_format == "NHWC" else [batch, channels, *height_width]


def _padding(height_width: Axes) -> str:
    if all(axis.start == 0 and axis.end <= 0 for axis in height_width):
        return "VALID"
    return "SAME" if all(axis.is_same for axis in height_width) else "EXPLICIT"


def _operation(images, kernel, height_width, sides, data_format, padding):
    pads = [(axis.start, max(axis.end, 0)) for axis in height_width] if padding == "EXPLICIT" else []
    pads = arranged(data_format, (0, 0), pads, (0, 0)) if pads else []
    return tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.stack(arranged(data_format, tf.shape(images)[0], sides, tf.shape(kernel)[2])),
        filter=kernel,
        out_backprop=images,
        strides=arranged(data_format, 1, [axis.stride for axis in height_width], 1),
        padding=padding,
        explicit_paddings=[count for pair in pads for count in pair],
        data_format=data_format,
    )
