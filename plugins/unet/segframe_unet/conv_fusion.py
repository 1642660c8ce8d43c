"""In predictions a compiled convolution takes in what comes before it and after it.

Batch normalisation, bias and ReLU, a concatenation, a transposed convolution: each by itself reads and writes
whole feature maps. A layer looks at what made the tensor that it is given, and where that is a compiled
convolution it returns another operation of both; the first is left without use, and TensorFlow drops it.

A transposed convolution and a convolution right after it are one convolution with other filters, the
composition of both, but for the first row and column. It multiplies four tenths as much. Where that is worth
composing the filters is asked at run time, of the actual sizes (cc/conv_composed.h).

Only where a layer is called with training=False, in a run's own graphs.
"""

from __future__ import annotations

import tensorflow as tf

from segframe_unet import conv


def convolve(images: tf.Tensor, kernel: tf.Tensor, kind: conv.Kind) -> tf.Tensor:
    """conv.convolve, of what `images` were made of where that is possible."""
    made_by = _op(images)
    if kind == "same" and made_by is not None:
        if _is_conv(made_by) and made_by.get_attr("kind") == b"double" and can_finish(images):
            before, doubling = made_by.inputs
            return conv.operation([before], [doubling, kernel], "double_same")
        return conv.operation(_parts(made_by) or [images], [kernel], "same")
    return conv.convolve(images, kernel, kind)


def can_finish(maps: tf.Tensor, relu: bool = False) -> bool:
    """Whether a compiled convolution made the maps that has taken in nothing that comes later.

    Args:
        relu: only a ReLU is to be taken in, which comes last.
    """
    made_by = _op(maps)
    if made_by is None or not _is_conv(made_by) or made_by.get_attr("relu"):
        return False
    return relu or made_by.get_attr("steps") == 0


def finished(
    maps: tf.Tensor,
    *,
    subtract: tf.Tensor | None = None,
    multiply: tf.Tensor | None = None,
    add: tf.Tensor | None = None,
    relu: bool = False,
) -> tf.Tensor:
    """(maps - subtract) * multiply + add, each (channels,); maps + add; or ReLU. can_finish must be True."""
    made_by = _op(maps)
    assert made_by is not None
    images, kernels = made_by.get_attr("parts"), made_by.get_attr("layers")
    inputs = list(made_by.inputs)
    finish = [each for each in (subtract, multiply, add) if each is not None]
    return conv.operation(
        inputs[:images],
        inputs[images : images + kernels],
        made_by.get_attr("kind").decode(),
        finish or inputs[images + kernels :],
        relu,
    )


def _op(tensor: tf.Tensor) -> tf.Operation | None:
    """What made it; None outside of graphs."""
    return getattr(tensor, "op", None)


def _is_conv(op: tf.Operation) -> bool:
    return op.type == "SegframeConv"


def _parts(op: tf.Operation) -> list[tf.Tensor]:
    """What a concatenation along the channels joins, if the compiled op takes each of it; else nothing."""
    if op.type not in ("SegframeConcat", "ConcatV2"):
        return []
    parts = list(op.inputs)
    if op.type == "ConcatV2":
        axis = tf.get_static_value(parts.pop())
        if axis not in (3, -1):
            return []
    elif op.get_attr("data_format") != b"NHWC":
        return []
    taken = (part.shape[-1] is not None and part.shape[-1] % conv.CHANNELS == 0 for part in parts)
    return parts if len(parts) <= conv.MOST_PARTS and all(taken) else []
