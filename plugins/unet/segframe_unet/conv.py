"""3x3 convolutions by a compiled op that multiplies less, on CPUs.

Of stride 1 it takes a quarter of the multiplications, transposed of stride 2 nine sixteenths (cc/conv.h).
Whole training steps take 0.44 to 0.61 of the time, predictions, with what conv_fusion joins, 0.39 to 0.57
(two cores, benchmarks/conv.py, results/conv_cpu.json). Its results are TensorFlow's to rounding: the largest
error of any number is up to 6e-5 of the root mean square of all, where TensorFlow's is up to 1e-5.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Sequence
from functools import cache
from typing import Literal

import tensorflow as tf

from segframe import custom_ops_allowed, tell_operation
from segframe_unet import ops_build

log = logging.getLogger("segframe.unet")
Kind = Literal["same", "double"]
BACK = {"same": "same_back", "same_back": "same", "double": "double_back", "double_back": "double"}
"""Each is the other's gradient to the images."""
NAMES: dict[Kind, str] = {"same": "convolution", "double": "transposed convolution"}
CHANNELS = 16
"""What all channels are multiples of."""
MOST_PARTS = 8
"""That the op takes for their concatenation."""


def takes(dtype: str, channels: int | None, filters: int, kind: Kind) -> bool:
    """Whether the compiled op is to convolve maps of so many channels, in a graph that is traced now.

    It is where it may stand (segframe.custom_ops_allowed), on a CPU, in float32, for channels in multiples of
    16, if it can be built and was measured to be faster on this machine. Sizes are not asked for: its last
    bits are not TensorFlow's, and a run's must not depend on what a graph happens to know of a batch.

    Args:
        filters: channels of the result.
        kind: "same": 3x3, stride 1, zeros around. "double": 3x3 transposed, stride 2, padding and
            output_padding 1.
    """
    if not custom_ops_allowed() or dtype != "float32" or tf.config.list_physical_devices("GPU"):
        return False
    return bool(channels) and channels % CHANNELS == 0 and filters % CHANNELS == 0 and in_use(kind)


def in_use(kind: Kind) -> bool:
    """Whether this machine has the op and it is faster here; says it once."""
    build = ops_build.build()
    ratio = mean_ratio(build, kind)
    used = ratio <= 1
    why = build.problem or ("" if used else f"the compiled op takes {ratio:.2f} of its time")
    name = NAMES[kind]
    _say(f"{name.capitalize()} 3x3, float32 on the CPU: {f'TensorFlow ({why})' if why else 'compiled'}.")
    tell_operation(name, f"compiled, {build.conv['code']}" if used else "TensorFlow")
    return used


def mean_ratio(build: ops_build.Build, kind: Kind) -> float:
    """Geometric mean of all times of the op / time of TensorFlow's; infinite without an op."""
    found = [ratio for _, *ratios in build.conv.get(kind, []) for ratio in ratios]
    return statistics.geometric_mean(found) if found else math.inf


def convolve(images: tf.Tensor, kernel: tf.Tensor, kind: str) -> tf.Tensor:
    """By the compiled op; derivatives exist to any order. What is not finite spreads over a few pixels more.

    Args:
        images: (batch, height, width, channels) float32.
        kernel: (3, 3, channels, filters) for "same", (3, 3, filters, channels) for "double", float32; all
            channels in multiples of 16.

    Returns:
        (batch, height, width, filters), of twice the height and width for "double".

    Raises:
        SegframeError: there is no compiled op here.
    """
    return operation([images], [kernel], kind)


def operation(
    parts: Sequence[tf.Tensor],
    kernels: Sequence[tf.Tensor],
    kind: str,
    finish: Sequence[tf.Tensor] = (),
    relu: bool = False,
) -> tf.Tensor:
    """What the compiled op can do in one, as conv_fusion joins it; where nothing is joined it is convolve.

    Args:
        parts: images, taken for their concatenation along the channels; more than one for "same" alone.
        kernels: one; for "double_same", "double" and after it "same", two.
        finish: nothing; an addend; or what is subtracted, multiplied and added, each (filters,).
    """
    return ops_build.operations().segframe_conv(
        images=parts, filters=kernels, finish=finish, kind=kind, relu=relu
    )


@tf.RegisterGradient("SegframeConv")
def _gradients(op, upstream):
    kind = _kind(op)
    if len(op.inputs) > 2 or op.get_attr("relu"):
        with tf.GradientTape() as tape:
            tape.watch(op.inputs)
            out = _one_by_one(op, kind)
        return tape.gradient(out, op.inputs, upstream)
    images, kernel = op.inputs
    to_images = operation([upstream], [kernel], BACK[kind])
    forward = kind in ("same", "double")
    to_kernel = ops_build.operations().segframe_conv_filters(
        images=images if forward else upstream,
        upstream=upstream if forward else images,
        kind=kind if forward else BACK[kind],
    )
    return to_images, to_kernel


def _one_by_one(op, kind: str) -> tf.Tensor:
    """The same by operations that do one thing each."""
    inputs, images, kernels = list(op.inputs), op.get_attr("parts"), op.get_attr("layers")
    finish = inputs[images + kernels :]
    first = "double" if kind == "double_same" else kind
    out = convolve(tf.concat(inputs[:images], -1), inputs[images], first)
    if kernels > 1:
        out = convolve(out, inputs[images + 1], "same")
    if len(finish) == 3:
        out = (out - finish[0]) * finish[1] + finish[2]
    elif finish:
        out = out + finish[0]
    return tf.nn.relu(out) if op.get_attr("relu") else out


@tf.RegisterGradient("SegframeConvFilters")
def _gradients_of_filters(op, upstream):
    images, of_output = op.inputs
    kind = _kind(op)
    return operation([of_output], [upstream], BACK[kind]), operation([images], [upstream], kind)


def _kind(op) -> str:
    kind = op.get_attr("kind")
    return kind.decode() if isinstance(kind, bytes) else kind


@cache
def _say(line: str) -> None:
    """Once a process."""
    log.info("%s", line)
