"""Tries the compiled convolutions, as ops_trial does for concat: are they right, and how fast?

Right means: within rounding of TensorFlow's in float64, for values and both gradients.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from segframe_unet.ops_trial import WrongError, ratio

# batch, height, width, channels, filters: maps of a U-Net on its way up, from the first level to the last.
SHAPES = ((4, 64, 64, 32, 16), (4, 32, 32, 64, 64), (1, 64, 64, 256, 128))
TRIED = ((2, 1, 3, 16, 16), (1, 9, 14, 48, 80), (3, 8, 8, 144, 32))
LARGEST_ERROR = 1e-3
"""Of any number, against the root mean square of all: a wrong index is off by about 1."""


def code(library: str) -> str:
    """For which instruction set the op computes here: Base, Avx2 or Avx512."""
    named = ctypes.CDLL(library).segframe_conv_code
    named.restype = ctypes.c_char_p
    return named().decode()


def check(operations) -> None:
    """Raise WrongError where the op gives other numbers than TensorFlow."""
    for kind in ("same", "double"):
        for shape in TRIED:
            found = (compute().numpy() for compute in ours(operations, kind, *tensors(kind, *shape)))
            names = ("values", "images", "filters")
            for name, one, other in zip(names, found, exact(kind, *shape), strict=True):
                _compare(one, other, f"{kind} {shape}: {name}")
    _check_joined(operations)


def _check_joined(operations) -> None:
    """What conv_fusion joins: two parts, two convolutions by composed filters, and what comes after."""
    images, doubling, _ = tensors("double", 2, 40, 52, 32, 48)
    kernel = tensors("same", 1, 1, 1, 48, 16)[1]
    finish = list(tensors("same", 1, 1, 1, 16, 16)[1][0, 0, :3])
    apart = _in_float64("same", _in_float64("double", *_float64(images, doubling)), *_float64(kernel))
    subtract, multiply, add = _float64(*finish)
    joined = operations.segframe_conv(
        images=[images], filters=[doubling, kernel], finish=finish, kind="double_same", relu=True
    )
    wanted = tf.nn.relu((apart - subtract) * multiply + add)
    _compare(joined.numpy(), wanted.numpy(), "joined, composed")
    parts = [images[..., :16], images[..., 16:]]
    kernel = tensors("same", 1, 1, 1, 32, 48)[1]
    joined = operations.segframe_conv(images=parts, filters=[kernel], finish=[], kind="same", relu=False)
    _compare(joined.numpy(), _in_float64("same", *_float64(images, kernel)).numpy(), "joined, parts")


def _compare(one: np.ndarray, other: np.ndarray, what: str) -> None:
    scale = np.sqrt(np.mean(np.square(other)))
    if one.shape != other.shape or not np.abs(one - other).max() <= LARGEST_ERROR * scale:
        raise WrongError(f"convolution, {what}")


def _float64(*given: tf.Tensor) -> list[tf.Tensor]:
    return [tf.cast(each, tf.float64) for each in given]


def measure(operations) -> dict[str, list[list[Any]]]:
    """{kind: [[shape, ratios of time to TensorFlow's: values, gradient to images, to filters]]}."""
    return {
        kind: [[list(shape), *_ratios(operations, kind, shape)] for shape in SHAPES]
        for kind in ("same", "double")
    }


def tensors(kind: str, batch, height, width, channels, filters, dtype="float32") -> list[tf.Tensor]:
    """Images, kernel and a gradient to the result."""
    times = 2 if kind == "double" else 1
    last = (channels, filters) if kind == "same" else (filters, channels)
    sizes = (
        (batch, height, width, channels),
        (3, 3, *last),
        (batch, times * height, times * width, filters),
    )
    generator = np.random.default_rng(0)
    return [tf.cast(generator.normal(size=size).astype("float32"), dtype) for size in sizes]


def ours(operations, kind: str, images, kernel, upstream) -> list[Callable[[], tf.Tensor]]:
    """What computes values, gradient to images and gradient to filters."""
    convolve = partial(operations.segframe_conv, filters=[kernel], finish=[])
    return [
        partial(convolve, images=[images], kind=kind),
        partial(convolve, images=[upstream], kind=f"{kind}_back"),
        partial(operations.segframe_conv_filters, images=images, upstream=upstream, kind=kind),
    ]


def theirs(kind: str, images, kernel, upstream) -> list[Callable[[], tf.Tensor]]:
    """The same by TensorFlow's fastest: "same" padding, which for "double" lies one pixel off."""
    if kind == "double":  # each is the other way round
        images, upstream = upstream, images
    stride = 2 if kind == "double" else 1
    settings = {"strides": [1, stride, stride, 1], "padding": "SAME"}
    forward = partial(tf.raw_ops.Conv2D, input=images, filter=kernel, **settings)
    back = partial(
        tf.raw_ops.Conv2DBackpropInput,
        input_sizes=images.shape, filter=kernel, out_backprop=upstream, **settings,
    )  # fmt: skip
    to_filters = partial(
        tf.raw_ops.Conv2DBackpropFilter,
        input=images, filter_sizes=kernel.shape, out_backprop=upstream, **settings,
    )  # fmt: skip
    return [back, forward, to_filters] if kind == "double" else [forward, back, to_filters]


def exact(kind: str, *shape) -> list[np.ndarray]:
    """The same in float64, by TensorFlow."""
    images, kernel, upstream = tensors(kind, *shape, dtype="float64")
    with tf.GradientTape() as tape:
        tape.watch([images, kernel])
        out = _in_float64(kind, images, kernel)
    return [each.numpy() for each in (out, *tape.gradient(out, [images, kernel], upstream))]


def _in_float64(kind, images, kernel):
    if kind == "same":
        return tf.nn.conv2d(images, kernel, 1, "SAME")
    from segframe_unet.transposed_conv import conv2d_transpose

    return conv2d_transpose(images, kernel)


def _ratios(operations, kind: str, shape) -> list[float]:
    given = tensors(kind, *shape)
    pairs = zip(ours(operations, kind, *given), theirs(kind, *given), strict=True)
    return [round(ratio(tf.function(one), tf.function(other)), 3) for one, other in pairs]
