"""Sizes of a transposed convolution: its settings checked, and turned into two numbers for each axis."""

from __future__ import annotations

import operator
from typing import Literal, NamedTuple

import tensorflow as tf

from segframe import SegframeError

Pair = int | tuple[int, int]
Padding = Pair | Literal["same", "valid"]

FORMULAS = {
    "number": (
        "(in - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 + output_padding",
        "({size} - 1) * {stride} - 2 * {padding} + {dilation} * ({kernel} - 1) + 1 + {output_padding}",
    ),
    "same": ("in * stride", "{size} * {stride}"),
    "valid": (
        "in * stride + max(dilation * (kernel - 1) + 1 - stride, 0)",
        "{size} * {stride} + max({dilation} * ({kernel} - 1) + 1 - {stride}, 0)",
    ),
}


class Axis(NamedTuple):
    """Height or width. Its output is `start` to -`end` of the full transposed convolution, which is
    (in_size - 1) * stride + kernel_size pixels long; with `end` below 0, -`end` zeros follow.

    kernel_size is that of the dilated kernel; `padding` says which of FORMULAS; `settings` are its numbers.
    """

    name: str
    kernel_size: int
    stride: int
    start: int
    end: int
    padding: str
    settings: dict[str, int]

    @property
    def is_same(self) -> bool:
        """TensorFlow's SAME drops the same pixels, for every size."""
        dropped = self.start + self.end
        return (
            self.start == dropped // 2
            and max(self.kernel_size - self.stride, 0) <= dropped < self.kernel_size
        )

    @property
    def output_size_is_never_below_1(self) -> bool:
        return self.kernel_size - self.start - self.end >= 1

    def output_size(self, size: int | tf.Tensor | None) -> int | tf.Tensor | None:
        """Size of the output in pixels from the input's; None where that is unknown.

        Raises:
            SegframeError: it would be below 1. For a tensor, TensorFlow's InvalidArgumentError when the graph
                runs; under XLA, which drops assertions, the error is that of the operation itself.
        """
        if size is None:
            return None
        result = (size - 1) * self.stride + self.kernel_size - self.start - self.end
        subject = f"output {self.name} of the transposed convolution"
        symbols, numbers = FORMULAS[self.padding]
        if tf.is_tensor(result):
            if self.output_size_is_never_below_1:
                return result
            message = f"{subject}: expected {symbols} >= 1, got {numbers.format(size='in', **self.settings)}"
            checked = tf.debugging.Assert(result >= 1, [message, "with in =", size, "that is", result])
            with tf.control_dependencies([checked]):
                # -2 is a size that no operation takes, as -1 and 0 may be: XLA drops the assertion.
                return tf.where(result < 1, -2, result)
        if result < 1:
            raise SegframeError(
                subject,
                expected=f"{symbols} >= 1",
                got=f"{numbers.format(size=size, **self.settings)} = {result}",
                remedy="Lower padding, or give it a larger image or kernel.",
            )
        return result


def axes(
    kernel_size: Pair, strides: Pair, padding: Padding, output_padding: Pair | None, dilation: Pair
) -> tuple[Axis, Axis]:
    """(height, width) from the settings of conv2d_transpose; a number stands for both.

    Raises:
        SegframeError: a setting is out of its range.
    """
    word = padding if isinstance(padding, str) else None
    if word not in (None, "same", "valid"):
        raise _error("padding", padding, 'a number >= 0, two of them, "same" or "valid"')
    if word and output_padding is not None:
        raise _error("output_padding", output_padding, f'None with padding="{word}", which sets the size')
    if output_padding is None:
        output_padding = 0 if word else 1
    columns = [
        _pair("kernel_size", kernel_size, 1),
        _pair("strides", strides, 1),
        _pair("dilation", dilation, 1),
        (0, 0) if word else _pair("padding", padding, 0),
        _pair("output_padding", output_padding, 0),
    ]
    return tuple(
        _axis(name, word, *numbers) for name, *numbers in zip(("height", "width"), *columns, strict=True)
    )


def _axis(name, word, kernel, stride, dilation, padding, output_padding) -> Axis:
    limit = max(stride, dilation)
    if output_padding >= limit:
        expected = f"a number in 0..{limit - 1}, below max(stride, dilation)"
        raise _error("output_padding", output_padding, expected)
    dilated = dilation * (kernel - 1) + 1
    start, end = padding, padding - output_padding
    if word == "same":  # TensorFlow's rule: the odd pixel is dropped at the end
        start = max(dilated - stride, 0) // 2
        end = dilated - stride - start
    elif word == "valid":
        end = min(dilated - stride, 0)
    settings = {"kernel": kernel, "stride": stride, "dilation": dilation}
    settings |= {"padding": padding, "output_padding": output_padding}
    return Axis(name, dilated, stride, start, end, word or "number", settings)


def _pair(key: str, value, at_least: int) -> tuple[int, int]:
    expected = f"a number >= {at_least}, or two of them (rows, columns)"
    try:
        rows, columns = map(operator.index, value if isinstance(value, (tuple, list)) else (value, value))
    except (TypeError, ValueError) as error:
        raise _error(key, value, expected) from error
    if min(rows, columns) < at_least:
        raise _error(key, value, expected)
    return rows, columns


def _error(key: str, value, expected: str) -> SegframeError:
    return SegframeError(
        f"{key} of the transposed convolution",
        expected=expected,
        got=repr(value),
        remedy="For twice the size: kernel 3, strides 2, padding 1, output_padding 1, dilation 1.",
    )
