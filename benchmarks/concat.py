"""The compiled concat beside tf.concat and beside a bare copy of as many bytes; and no concat at all.

Forward, gradient, and both, as graphs of calls one after another, timed in turn in one process; a number is
the median over the rounds with its quartiles. "ceiling" copies the whole tensor (TensorFlow's DeepCopy on a
GPU, threads with memcpy on a CPU): every byte read and written once, as the op must; Python starts the
threads, so that small tensors may come out above 1. --split measures a decoder's 3x3 convolution (value and
all gradients) over a concat and without one, as the sum of two convolutions: time, and peak memory.

    python benchmarks/concat.py [--split] [--out benchmarks/results/concat_cpu.json]

Goals: gradient on a CPU at most 0.7 of TensorFlow's time; on a GPU at least 0.95 of the ceiling (0.90 for
uneven parts) and forward with gradient at most 0.8 of TensorFlow's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from timing import GPU, by_turns, over, share_gpus, write

from segframe_unet import ops_build
from segframe_unet.concat import concat
from segframe_unet.ops_trial import one_after_another

# (batch, height, width), channels of the parts
SHAPES = [
    ((1, 512, 512), (64, 64)),
    ((4, 256, 256), (16, 16)),
    ((16, 128, 128), (32, 32)),
    ((16, 256, 256), (128, 128)),
]
UNEVEN = [((4, 256, 256), (17, 16)), ((16, 128, 128), (63, 32))]
DECODER = [((4, 128, 128), (16, 16), 16), ((4, 64, 64), (32, 32), 32), ((4, 32, 32), (64, 64), 64),
           ((4, 16, 16), (128, 128), 128), ((1, 256, 256), (64, 64), 64)]  # fmt: skip


def copier(whole: np.ndarray, pool: ThreadPoolExecutor, threads: int):
    """A function that copies the whole with as many threads as TensorFlow has, to memory that is there."""
    source, target = whole.reshape(-1), np.zeros_like(whole).reshape(-1)
    edges = np.linspace(0, len(source), threads + 1).astype(int)

    def share(i):
        np.copyto(target[edges[i] : edges[i + 1]], source[edges[i] : edges[i + 1]])

    return lambda: list(pool.map(share, range(threads)))


def one_case(shape, channels, dtype: str, rounds: int, pool: ThreadPoolExecutor) -> dict:
    parts = [tf.cast(tf.random.normal((*shape, number)), dtype) for number in channels]
    whole = tf.concat(parts, -1)
    size = int(np.prod(whole.shape)) * whole.dtype.size
    calls = max(1, min(64 if GPU else 8, (4_000_000_000 if GPU else 64_000_000) // size))

    def both(join):
        with tf.GradientTape() as tape:
            tape.watch(parts)
            joined = join(parts)
        return joined, *tape.gradient(joined, parts, output_gradients=whole)

    ours = partial(concat, implementation="compiled")
    theirs = partial(tf.concat, axis=-1)
    split = ops_build.operations().segframe_split
    sizes = tf.constant(channels, tf.int32)
    begins = np.cumsum([0, *channels])[:-1]
    slices = [
        ((0, 0, 0, int(begin)), (*shape, number)) for begin, number in zip(begins, channels, strict=True)
    ]
    functions = {
        "forward compiled": one_after_another(lambda: ours(parts), calls),
        "forward tensorflow": one_after_another(lambda: theirs(parts), calls),
        "gradient compiled": one_after_another(lambda: split(whole, sizes, N=len(channels)), calls),
        "gradient tensorflow": one_after_another(lambda: [tf.slice(whole, *each) for each in slices], calls),
        "both compiled": one_after_another(lambda: both(ours), calls),
        "both tensorflow": one_after_another(lambda: both(theirs), calls),
    }
    if GPU:
        functions["ceiling"] = one_after_another(lambda: tf.raw_ops.DeepCopy(x=whole), calls)
    else:
        copy = copier(whole.numpy().view(np.uint8), pool, pool._max_workers)
        functions["ceiling"] = lambda: [copy() for _ in range(calls)]
    times = by_turns(functions, rounds)
    row = {"shape": list(shape), "channels": list(channels), "dtype": dtype, "MB": round(size / 1e6, 1)}
    for name in ("forward", "gradient", "both"):
        row[f"{name} / tensorflow"] = over(times, f"{name} compiled", f"{name} tensorflow")
    for name in ("forward", "gradient"):
        row[f"{name}, share of the ceiling"] = over(times, "ceiling", f"{name} compiled")
        row[f"tensorflow's {name}, share of the ceiling"] = over(times, "ceiling", f"{name} tensorflow")
    if GPU:
        row["ceiling GB/s"] = round(2e-9 * size * calls / statistics.median(times["ceiling"]))
    return row


def decoder_steps(shape, channels, filters: int, dtype: str, calls: int):
    """{way: graph of value and all gradients of relu(conv(concat(a, b), W))}."""
    a, b = (tf.cast(tf.random.normal((*shape, number)), dtype) for number in channels)
    kernel = tf.cast(tf.random.normal((3, 3, sum(channels), filters)) / 30, dtype)
    upstream = tf.cast(tf.random.normal((*shape, filters)), dtype)

    def conv(images, kernel):
        return tf.nn.conv2d(images, kernel, 1, "SAME")

    ways = {
        "concat": lambda: conv(tf.concat([a, b], -1), kernel),
        "compiled": lambda: conv(concat([a, b], implementation="compiled"), kernel),
        "split": lambda: conv(a, kernel[:, :, : channels[0]]) + conv(b, kernel[:, :, channels[0] :]),
    }

    def step(way):
        with tf.GradientTape() as tape:
            tape.watch([a, b, kernel])
            out = tf.nn.relu(way())
        return out, *tape.gradient(out, [a, b, kernel], output_gradients=upstream)

    return {name: one_after_another(partial(step, way), calls) for name, way in ways.items()}


def peak_mb(way: str, index: int, dtype: str) -> float:
    """Growth of the peak memory by a step: on a CPU of a process of its own, on a GPU of the allocator."""
    shape, channels, filters = DECODER[index]
    if GPU:
        step = decoder_steps(shape, channels, filters, dtype, 1)[way]
        step()
        tf.config.experimental.reset_memory_stats("GPU:0")
        before = tf.config.experimental.get_memory_info("GPU:0")["current"]
        step()
        return (tf.config.experimental.get_memory_info("GPU:0")["peak"] - before) / 1e6
    command = [sys.executable, __file__, "--peak", way, str(index), dtype]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def own_peak(way: str, index: str, dtype: str) -> None:
    shape, channels, filters = DECODER[int(index)]
    step = decoder_steps(shape, channels, filters, dtype, 1)[way].get_concrete_function()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the start
    before = memory_mb("VmRSS")
    step()
    print(memory_mb("VmHWM") - before)


def memory_mb(key: str) -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
    return int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--split", action="store_true", help="measure convolution without concat instead")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--quick", action="store_true", help="one shape, for a rehearsal")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        return own_peak(*options.peak)
    share_gpus()
    # Grappler would leave one of several equal calls.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    threads = len(os.sched_getaffinity(0))
    rows = []
    with ThreadPoolExecutor(threads) as pool:
        if options.split:
            for index, (shape, channels, filters) in enumerate(DECODER[: 1 if options.quick else None]):
                for dtype in ("float32", "bfloat16")[: 2 if GPU else 1]:
                    steps = decoder_steps(shape, channels, filters, dtype, 20 if GPU else 1)
                    times = by_turns(steps, options.rounds)
                    row = {
                        "shape": list(shape),
                        "channels": list(channels),
                        "filters": filters,
                        "dtype": dtype,
                    }
                    for way in ("compiled", "split"):
                        row[f"{way} / concat, time"] = over(times, way, "concat")
                    memory = {way: peak_mb(way, index, dtype) for way in steps}
                    row["peak growth MB"] = {way: round(value, 1) for way, value in memory.items()}
                    print(json.dumps(row), flush=True)
                    rows.append(row)
        else:
            cases = [*SHAPES, *UNEVEN][: 1 if options.quick else None]
            for (shape, channels), dtype in [
                (c, d) for c in cases for d in ("float32", "bfloat16", "float16")
            ]:
                rows.append(one_case(shape, channels, dtype, options.rounds, pool))
                print(json.dumps(rows[-1]), flush=True)
    write(options.out, rows)


if __name__ == "__main__":
    main()
