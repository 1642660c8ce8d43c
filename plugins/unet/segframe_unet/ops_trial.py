"""Tries the compiled operations in a process of their own: are they right, and where are they faster?

    python -m segframe_unet.ops_trial operations.so trial.json

A process of their own, as a wrongly built one may end it, and as times should not depend on what the run has
done before. Of concat right means: bit for bit what tf.concat and tf.split give. Faster is a ratio of times
taken in turn, at three sizes; below 1 the op is used (segframe_unet.concat). For convolutions see conv_trial.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from segframe_unet.ops_build import NO_MEMORY

DTYPES = ("float32", "bfloat16", "float16", "float64")
MEASURED = DTYPES[:3]  # nobody trains in the last one: it stays with tf.concat
# A decoder's case: (batch, height, width, channels of each of two parts). 0.5, 8.4 and 67 MB in float32.
SHAPES = ((4, 16, 16, 64), (4, 128, 128, 16), (2, 256, 256, 64))


class WrongError(Exception):
    """The op gave other bits than TensorFlow's own."""


def main(library: str, result: str) -> int:
    """Write {"ratios": {device: {dtype: {"concat" | "split": [[bytes, ratio], ...]}}}, "conv": ...}."""
    from segframe_unet import conv_trial

    operations = tf.load_op_library(library)
    # Grappler would leave one of several equal calls.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    with_cuda = sys.argv[3:] == ["cuda"]
    gpus = tf.config.list_logical_devices("GPU") if with_cuda else []
    devices = ["CPU", "GPU"][: 2 if gpus else 1]
    for device in devices:
        with tf.device(device):
            check(operations)
    ratios = {}
    for device in devices:
        with tf.device(device):
            ratios[device] = {dtype: measure(operations, dtype) for dtype in MEASURED}
    with tf.device("CPU"):
        conv_trial.check(operations)
        conv = {"code": conv_trial.code(library), **conv_trial.measure(operations)}
    Path(result).write_text(json.dumps({"ratios": ratios, "conv": conv}), encoding="utf-8")
    return 0


def check(operations) -> None:
    """Raise WrongError where a value of the op, or its place, is not tf.concat's."""
    for dtype in DTYPES:
        for data_format, axis in (("NHWC", 3), ("NCHW", 1)):
            for channels in ((3, 5), (16, 16), (64, 32), (0, 4), (1, 2, 3, 4, 5, 6, 7, 8)):
                parts = [distinct(axis, number, dtype, seed) for seed, number in enumerate(channels)]
                whole = operations.segframe_concat(parts=parts, data_format=data_format)
                sizes = tf.constant(channels, tf.int32)
                split = operations.segframe_split(
                    whole=whole, sizes=sizes, N=len(channels), data_format=data_format
                )
                for actual, expected in zip([whole, *split], [tf.concat(parts, axis), *parts], strict=True):
                    if np.asarray(actual).tobytes() != np.asarray(expected).tobytes():
                        raise WrongError(f"{dtype} {data_format} {channels}")


def distinct(axis: int, channels: int, dtype: str, seed: int) -> tf.Tensor:
    """A feature map in which no two neighbours agree."""
    shape = [2, 37, 21]
    shape.insert(axis, channels)
    return tf.cast(np.random.default_rng(seed).normal(size=shape), dtype)


def measure(operations, dtype: str) -> dict[str, list[tuple[int, float]]]:
    """Time of the op over time of TensorFlow's own, for concat and its gradient."""
    result: dict[str, list[tuple[int, float]]] = {"concat": [], "split": []}
    for *shape, channels in SHAPES:
        parts = [tf.cast(tf.fill((*shape, channels), number), dtype) for number in (1, 2)]
        whole, axis = tf.concat(parts, -1), tf.constant(-1)
        sizes = tf.constant((channels, channels), tf.int32)
        starts = [tf.constant((0, 0, 0, start)) for start in (0, channels)]
        part = tf.constant((*shape, channels))
        pairs = {
            "concat": (
                partial(operations.segframe_concat, parts),
                partial(tf.raw_ops.ConcatV2, values=parts, axis=axis),
            ),
            "split": (
                partial(operations.segframe_split, whole, sizes, N=2),
                partial(slices, whole, starts, part),
            ),
        }
        size = int(np.prod(whole.shape)) * whole.dtype.size
        # Enough for a GPU, where launching a call may take longer than a small copy.
        calls = max(1, min(32, (2_000_000_000 if "GPU" in whole.device else 16_000_000) // size))
        for name, pair in pairs.items():
            ours, theirs = (one_after_another(function, calls) for function in pair)
            result[name].append((size, round(ratio(ours, theirs), 3)))
    return result


def one_after_another(function, calls: int):
    """A graph of that many calls: called singly, a small copy costs less than what is around it."""

    @tf.function
    def graph():
        results: list[tf.Tensor] = []
        for _ in range(calls):
            with tf.control_dependencies(results):
                results = tf.nest.flatten(function())
        return results

    return graph


def slices(whole: tf.Tensor, starts: list[tf.Tensor], size: tf.Tensor) -> list[tf.Tensor]:
    """TensorFlow's own gradient of tf.concat."""
    return [tf.raw_ops.Slice(input=whole, begin=start, size=size) for start in starts]


def ratio(ours, theirs, rounds: int = 11) -> float:
    """Median over rounds of ours / theirs, after two rounds that do not count."""
    found = []
    for _ in range(rounds + 2):
        times = []
        for function in (ours, theirs):
            tf.test.experimental.sync_devices()
            start = time.perf_counter()
            function()
            tf.test.experimental.sync_devices()
            times.append(time.perf_counter() - start)
        found.append(times[0] / times[1])
    return statistics.median(found[2:])


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:3]))
    except tf.errors.ResourceExhaustedError as error:
        print(error)
        sys.exit(NO_MEMORY)
