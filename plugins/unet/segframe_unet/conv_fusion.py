"""In predictions a compiled convolution takes in what comes before it and after it.

Batch normalisation, bias and ReLU, a concatenation, a transposed convolution: each by itself reads and writes
whole feature maps. A layer looks at what made the tensor that it is given, and where that is a compiled
convolution it returns another operation of both. The first is left without use and dropped, unless something
else looks at it too: then it is computed by itself as well. A gradient to what lies between the two is None;
to images and weights it is whole.

A transposed convolution and a convolution right after it are one convolution with other filters, the
composition of both, but for the first row and column. It multiplies four tenths as much. Where that is worth
composing the filters is asked at run time, of the actual sizes (cc/conv_composed.h); they are kept,
which takes up to half as much memory again as a U-Net's weights.

Only where nothing is learned (a layer is called with training=False; normalisation, too, with None), in a
run's own graphs, and within one graph.
"""

from __future__ import annotations

import tensorflow as tf

from segframe_unet import conv


def convolve(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """conv.convolve of kind "same", of what `images` were made of where that is possible."""
    made_by = _op(images)
    if made_by is not None and can_finish(images) and made_by.get_attr("kind") == b"double":
        before, doubling = made_by.inputs
        return conv.operation([before], [doubling, kernel], "double_same")
    return conv.operation(_parts(made_by) or [images], [kernel], "same")


def can_finish(maps: tf.Tensor, relu: bool = False) -> bool:
    """Whether a compiled convolution made the maps that has taken in nothing that comes later.

    Args:
        relu: only a ReLU is to be taken in, which comes last.
    """
    made_by = _op(maps)
    if made_by is None or made_by.type != "SegframeConv" or made_by.get_attr("relu"):
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
    """What made it in the graph that is traced now; None outside of graphs."""
    op = getattr(tensor, "op", None)
    return op if op is not None and op.graph is tf.compat.v1.get_default_graph() else None


def _parts(op: tf.Operation | None) -> list[tf.Tensor]:
    """What a concatenation along the channels joins, if the compiled op takes each of it; else nothing."""
    if op is None or op.type not in ("SegframeConcat", "ConcatV2"):
        return []
    parts = list(op.inputs)
    if op.type == "ConcatV2":
        axis = tf.get_static_value(parts.pop())
        if axis not in (3, -1):
            return []
    elif op.get_attr("data_format") != b"NHWC":
        return []
    taken = (part.shape[-1] and part.shape[-1] % conv.CHANNELS == 0 for part in parts)
    return parts if len(parts) <= conv.MOST_PARTS and all(taken) else []
