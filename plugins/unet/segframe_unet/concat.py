"""Concatenation of feature maps along their channels, by a compiled op where that is faster."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from typing import Literal

import tensorflow as tf

from segframe import SegframeError, custom_ops_allowed
from segframe_unet import ops_build

log = logging.getLogger("segframe.unet")
AXES = {"NHWC": 3, "NCHW": 1}
PASSES = ("concat", "split")  # forward, and its gradient


def concat(
    parts: Sequence[tf.Tensor],
    *,
    data_format: Literal["NHWC", "NCHW"] = "NHWC",
    implementation: Literal["auto", "tensorflow", "compiled"] = "auto",
) -> tf.Tensor:
    """tf.concat(parts, channel axis), bit for bit, whichever implementation computes it.

    TensorFlow's gradient takes each part in a pass of its own; the compiled one writes all parts in one.
    "auto" takes the compiled op, forward and backward each by itself, where it may stand
    (segframe.custom_ops_allowed), can be built, and was measured to be at least as fast on this device for
    this dtype and size. Derivatives exist to any order.

    Args:
        parts: two to eight of (batch, height, width, channels) or, in NCHW, (batch, channels, height, width);
            one dtype of float32, float64, float16 and bfloat16; equal but for their channels, which may be 0.
        data_format: where the channels are.
        implementation: "compiled" insists on the op.

    Returns:
        (batch, height, width, sum of channels) or (batch, sum of channels, height, width), of the same dtype.

    Raises:
        SegframeError: parts that do not fit together; "compiled" where there is no op.
    """
    parts = [tf.convert_to_tensor(part) for part in parts]
    _check(parts, data_format)
    if implementation == "compiled":
        ops_build.operations()
        return _concat(parts, data_format, PASSES)
    if implementation == "auto" and custom_ops_allowed():
        return _concat(parts, data_format, compiled_passes(parts, data_format))
    return tf.concat(parts, AXES[data_format])


def compiled_passes(parts: Sequence[tf.Tensor], data_format: str = "NHWC") -> tuple[str, ...]:
    """Which of forward ("concat") and backward ("split") the compiled op computes here; says it once.

    On a CPU not forward where a pixel of a part is no multiple of 16 bytes: such maps cannot be stored past
    the cache, and the op takes 0.97 to 1.05 of tf.concat's time (benchmarks/results/concat_cpu.json).
    """
    build = ops_build.build()
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if build.problem or device not in build.ratios:
        why = build.problem or f"no CUDA part: {build.without_cuda}"
        _say(f"Concat: tf.concat (no compiled op: {why}; `python -m segframe ops build` shows more).")
        return ()
    elements = [part.shape.num_elements() for part in parts]
    size = None if None in elements else sum(elements) * parts[0].dtype.size
    ratios = build.ratios[device].get(parts[0].dtype.name, {})
    uneven = data_format == "NHWC" and any((part.shape[3] or 1) * part.dtype.size % 16 for part in parts)
    if uneven and device == "CPU":
        ratios = {"split": ratios.get("split", [])}
    passes = tuple(name for name in PASSES if faster(ratios.get(name, []), size))
    kind = f"{'uneven parts, ' if uneven else ''}{parts[0].dtype.name} on the {device}"
    _say(f"Concat, {kind}: {describe(ratios)} (measured: segframe ops).")
    return passes


def faster(measured: Sequence[tuple[int, float]], size: int | None) -> bool:
    """Whether the op takes no longer than TensorFlow's, by the trial at the nearest size.

    Args:
        measured: (bytes of the whole, time of the op / time of TensorFlow's).
        size: bytes of the whole; None: not known, then it must be so at every size.
    """
    if size is not None:
        measured = sorted(measured, key=lambda each: abs(each[0].bit_length() - size.bit_length()))[:1]
    return bool(measured) and all(ratio <= 1 for _, ratio in measured)


def describe(ratios: dict[str, Sequence[tuple[int, float]]]) -> str:
    """ "forward tf.concat for large maps and compiled for others, gradient compiled", say."""
    told = []
    for name, words in zip(PASSES, ("forward", "gradient"), strict=True):
        won = [ratio <= 1 for _, ratio in ratios.get(name, [])]
        told.append(
            f"{words} {'compiled' if won and all(won) else 'compiled or tf by size' if any(won) else 'tf'}"
        )
    return ", ".join(told)


def _concat(parts, data_format, passes) -> tf.Tensor:
    if "concat" in passes:
        return ops_build.operations().segframe_concat(
            parts=parts, data_format=data_format, compiled_gradient="split" in passes
        )
    if "split" not in passes:
        return tf.concat(parts, AXES[data_format])

    @tf.custom_gradient
    def with_compiled_gradient(*parts):
        sizes = _channels(parts, data_format)
        return tf.concat(parts, AXES[data_format]), lambda upstream: _split(upstream, sizes, data_format)

    return with_compiled_gradient(*parts)


def _split(whole, sizes, data_format) -> list[tf.Tensor]:
    return ops_build.operations().segframe_split(
        whole=whole, sizes=sizes, N=len(sizes), data_format=data_format
    )


# Each is the other's gradient. Registered, as tf.custom_gradient adds a node for every tensor.


@tf.RegisterGradient("SegframeConcat")
def _gradient_of_concat(op, upstream):
    data_format = op.get_attr("data_format")
    data_format = data_format.decode() if isinstance(data_format, bytes) else data_format
    sizes = _channels(op.inputs, data_format)
    if op.get_attr("compiled_gradient"):
        return _split(upstream, sizes, data_format)
    return tf.split(upstream, sizes, AXES[data_format])


@tf.RegisterGradient("SegframeSplit")
def _gradient_of_split(op, *upstreams):
    whole = ops_build.operations().segframe_concat(parts=upstreams, data_format=op.get_attr("data_format"))
    return whole, None


def _channels(parts, data_format):
    """Of each part: numbers where they are known, else tensors."""
    axis = AXES[data_format]
    return [tf.shape(part)[axis] if part.shape[axis] is None else part.shape[axis] for part in parts]


def _check(parts, data_format) -> None:
    if data_format not in AXES:
        raise SegframeError("data_format", "NHWC or NCHW", repr(data_format), "Give data_format='NHWC'.")
    shapes = [tuple(part.shape) if part.shape.rank is not None else None for part in parts]
    dtypes = [part.dtype.name for part in parts]
    others = [
        shape and tuple(size for axis, size in enumerate(shape) if axis != AXES[data_format])
        for shape in shapes
    ]
    known = [shape for shape in others if shape is not None]
    fits = all(len({size for size in sizes if size is not None}) <= 1 for sizes in zip(*known, strict=False))
    faults = [
        ("two to eight parts", str(len(parts)), 2 <= len(parts) <= 8),
        (f"parts of rank 4 ({data_format})", str(shapes), all(s is None or len(s) == 4 for s in shapes)),
        (
            "parts of one floating point dtype",
            str(dtypes),
            len({*dtypes}) == 1 and parts[0].dtype.is_floating,
        ),
        (f"parts that differ in channels alone ({data_format})", str(shapes), fits),
    ]
    for expected, got, right in faults:
        if not right:
            raise SegframeError(
                "concat", expected=expected, got=got, remedy="Look at the shapes of what is joined."
            )


@cache
def _say(line: str) -> None:
    """Once a process."""
    log.info("%s", line)
