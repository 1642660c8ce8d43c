"""Transposed convolution, in two forms with equal results."""

from __future__ import annotations

from typing import Literal

import tensorflow as tf

from segframe import SegframeError
from segframe_unet import conv
from segframe_unet.transposed_conv_forms import arranged, cropped_form, explicit_form, with_zeros
from segframe_unet.transposed_conv_size import Padding, Pair, axes

DOUBLING = {"kernel": 3, "stride": 2, "dilation": 1, "padding": 1, "output_padding": 1}


def conv2d_transpose(
    images: tf.Tensor,
    kernel: tf.Tensor,
    *,
    strides: Pair = 2,
    padding: Padding = 1,
    output_padding: Pair | None = None,
    dilation: Pair = 1,
    use_cross_correlation: bool = True,
    data_format: Literal["NHWC", "NCHW"] = "NHWC",
    cropped: bool | None = None,
) -> tf.Tensor:
    """Transposed convolution, as PyTorch and MagmaDNN define it.

        out[b, i * stride - padding + dilation * k, ...] += images[b, i] * kernel[k]    rows and columns alike
        out_size = (in_size - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + 1 + output_padding

    What falls outside is dropped; output_padding adds rows and columns at the end. The defaults with a
    kernel of 3 double the size. padding="same" and "valid" are Keras's: in_size * stride, and that plus
    max(dilation * (kernel_size - 1) + 1 - stride, 0). With a kernel of 3 and stride 2, "same" has the size of
    the defaults and lies one pixel off them. Sizes may be unknown while a graph is traced; derivatives exist
    to any order.

    In a run's own steps on a CPU the compiled op computes the defaults (segframe_unet.conv). Elsewhere two
    forms give the same numbers. One is a single tf.raw_ops.Conv2DBackpropInput with explicit pads. On a
    CPU that takes a slower kernel unless the pads are those of SAME or VALID, so the other leaves the pads
    out and crops. `cropped=None` takes the second form where the operation runs on a CPU, the first where it
    runs on a GPU; a graph traced on one runs right on the other, except NCHW: traced on a GPU it stays there.
    On CPUs, NCHW is transposed to NHWC and back. Dilation puts zeros into the kernel, on any device.

    Args:
        images: (batch, height, width, channels), or (batch, channels, height, width) for NCHW; floats.
        kernel: (kernel_height, kernel_width, filters, channels), of the same dtype.
        strides: distance of neighbouring input pixels in the output, >= 1. A number, or (rows, columns), as
            in the next three.
        padding: rows and columns dropped at each border, >= 0; or "same" or "valid".
        output_padding: rows and columns added at the end, from 0 to below max(stride, dilation), as in
            PyTorch. None is 1, MagmaDNN's default; "same" and "valid" allow None alone.
        dilation: distance of neighbouring kernel pixels in the output, >= 1.
        use_cross_correlation: False flips the kernel's rows and columns first.
        data_format: which of the two orders images and result have.
        cropped: which form; None chooses, the compiled op among them.

    Returns:
        (batch, out_height, out_width, filters), or (batch, filters, out_height, out_width) for NCHW, of the
        same dtype.

    Raises:
        SegframeError: a setting is out of its range, images and kernel do not fit, or the output would have
            no pixel (see Axis.output_size for sizes unknown while tracing).

    Example:
        >>> corners = tf.reshape([1.0, 2.0, 3.0, 4.0], (1, 2, 2, 1))
        >>> conv2d_transpose(corners, tf.ones((1, 1, 1, 1)), padding=0)[0, :, :, 0].numpy()
        array([[1., 0., 2., 0.],
               [0., 0., 0., 0.],
               [3., 0., 4., 0.],
               [0., 0., 0., 0.]], dtype=float32)

    Source:
        Dumoulin and Visin, A guide to convolution arithmetic for deep learning, 2016,
        https://arxiv.org/abs/1603.07285.
    """
    images, kernel = tf.convert_to_tensor(images), tf.convert_to_tensor(kernel)
    _check(images, kernel, data_format)
    height_width = axes(tuple(kernel.shape[:2]), strides, padding, output_padding, dilation)
    if not use_cross_correlation:
        kernel = tf.reverse(kernel, [0, 1])
    kernel = _dilated(kernel, *(axis.settings["dilation"] for axis in height_width))

    doubles = data_format == "NHWC" and all(axis.settings == DOUBLING for axis in height_width)
    filters, channels = kernel.shape[2:]
    if cropped is None and doubles and conv.takes(images.dtype.name, channels, filters or 1, "double"):
        return conv.convolve(images, kernel, "double")

    # identity is there for its device: that of the scope while tracing, where the numbers are otherwise.
    on_gpu = bool(tf.config.list_physical_devices("GPU")) and "CPU" not in tf.identity(images).device
    if cropped is None:
        cropped = not on_gpu
    turned = data_format == "NCHW" and (cropped or not on_gpu)
    if turned:
        images, data_format = tf.transpose(images, (0, 2, 3, 1)), "NHWC"

    first = data_format.index("H")
    sizes = zip(images.shape[first : first + 2], tf.unstack(tf.shape(images)[first : first + 2]), strict=True)
    sides = [
        axis.output_size(unknown if size is None else size)
        for axis, (size, unknown) in zip(height_width, sizes, strict=True)
    ]
    images, height_width = with_zeros(images, height_width, data_format)
    out = (cropped_form if cropped else explicit_form)(images, kernel, height_width, sides, data_format)
    known = [None if tf.is_tensor(side) else side for side in sides]
    out.set_shape(arranged(data_format, images.shape[0], known, kernel.shape[2]))
    return tf.transpose(out, (0, 3, 1, 2)) if turned else out


def _check(images: tf.Tensor, kernel: tf.Tensor, data_format: str) -> None:
    if data_format not in ("NHWC", "NCHW"):
        raise _error("data_format", "NHWC or NCHW", repr(data_format))
    if images.shape.rank != 4:
        raise _error("images", f"four axes, {data_format}", f"shape {images.shape}")
    if kernel.shape.rank != 4 or None in kernel.shape[:2]:
        raise _error("kernel", "shape (kernel_height, kernel_width, filters, channels)", str(kernel.shape))
    channels = images.shape[data_format.index("C")]
    if not kernel.shape[3:].is_compatible_with([channels]):
        raise _error("channels", f"{channels} in the kernel's last axis, as in the images", str(kernel.shape))


def _error(key: str, expected: str, got: str) -> SegframeError:
    remedy = "Give it images in that order, and the kernel of Keras's Conv2DTranspose."
    return SegframeError(f"{key} of the transposed convolution", expected=expected, got=got, remedy=remedy)


def _dilated(kernel: tf.Tensor, row_step: int, column_step: int) -> tf.Tensor:
    """Zeros between the kernel's pixels: TensorFlow's CPU kernels know no dilation."""
    if row_step == column_step == 1:
        return kernel
    height, width, filters, channels = tf.unstack(tf.shape(kernel))
    cells = tf.reshape(kernel, (height, 1, width, 1, filters, channels))
    cells = tf.pad(cells, [(0, 0), (0, row_step - 1), (0, 0), (0, column_step - 1), (0, 0), (0, 0)])
    whole = tf.reshape(cells, (height * row_step, width * column_step, filters, channels))
    rows, columns = (kernel.shape[0] - 1) * row_step + 1, (kernel.shape[1] - 1) * column_step + 1
    return tf.slice(whole, (0, 0, 0, 0), (rows, columns, -1, -1))
