"""Transposed convolution that doubles the size: ours beside those of Keras and PyTorch, in one run.

Kernel 3, stride 2, no bias, at the five shapes of a U-Net's way up; Keras's padding is "same". Forward, and
step: forward and the gradients to images and kernel. float32; on a GPU also bfloat16, and each without and
with XLA. The ways are timed by turns; a ratio is the median over the rounds of ours / theirs, with its
quartiles: where these lie far apart, the machine was not quiet enough to conclude anything.

    python benchmarks/conv_transpose.py [--out benchmarks/results/conv_transpose_cpu.json] [--rounds 25]

PyTorch (channels-last) takes its turns in a process of its own (conv_transpose_torch.py). Where that does not
start, or has no GPU while TensorFlow has, the others go on without it; why is printed, and stands in the JSON
as "torch_left_out". Its times can be trusted on a quiet machine alone: another program on the same two cores
made it 15 times slower.
`load_before` is the load average before the start. "ours_same" is ours with Keras's padding, where both are
the same operation: how far its ratio is from 1 is what noise there is.
On a GPU a graph holds CALLS of them one after another, as the call of a graph costs more than a small
convolution. "launch" does next to nothing so often: a cost that is in the times of all TensorFlow ways.
Goal: ours / Keras at most 1.0.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from conv_transpose_torch import Torch
from timing import GPU, over, share_gpus

from segframe.custom_ops import custom_ops
from segframe.manager import plugin_manager
from segframe.provenance import machine, versions
from segframe_unet.ops_trial import one_after_another
from segframe_unet.transposed_conv_layer import TransposedConv2D

# batch, height, width, channels, filters: batch 4 of 128 x 128 pixels with 16 filters at the first level, the
# decoder that goes straight to the level's width; and the widest of the slides' network at 256 x 256.
SHAPES = [
    (4, 8, 8, 256, 128),
    (4, 16, 16, 128, 64),
    (4, 32, 32, 64, 32),
    (4, 64, 64, 32, 16),
    (1, 128, 128, 128, 64),
]
CALLS = 32 if GPU else 1
SECONDS = 0.05  # at least, of one measurement: many times the cost of starting and of waiting for it


def tensorflow_way(layer, images, upstream, step: bool, xla: bool) -> Callable[[int], None]:
    """Runs it so many times, and waits for the last."""
    layer.build(images.shape)

    @tf.function(jit_compile=xla)
    def once():
        if not step:
            return layer(images)
        with tf.GradientTape() as tape:
            tape.watch(images)
            out = layer(images)
        return out, *tape.gradient(out, [images, layer.kernel.value], output_gradients=upstream)

    with custom_ops(not xla):  # as in a run's own graphs
        once.get_concrete_function()
        return chained(once)


def launch_way(images) -> Callable[[int], None]:
    return chained(lambda: tf.identity(images[:1, :1, :1, :1]))


def chained(once: Callable[[], object]) -> Callable[[int], None]:
    """Runs it so many times, a multiple of CALLS, and waits for the last."""
    graph = one_after_another(once, CALLS)

    def run(count):
        assert count % CALLS == 0
        for _ in range(count // CALLS):
            result = graph()
        result[-1][(0,) * 4].numpy()  # one number: it is there when all that was queued before it is done

    return run


def seconds_of(run: Callable[[int], float | None], count: int) -> float:
    """By this process's clock, unless the way has measured by itself."""
    start = time.perf_counter()
    own = run(count)
    return time.perf_counter() - start if own is None else own


def compare(ways: dict[str, Callable[[int], float | None]], rounds: int) -> dict:
    """Ratios of `ours` to each other way, and the seconds of each run."""
    counts = {}
    for name, run in ways.items():
        run(3 * CALLS)  # the first compiles, and chooses kernels
        five = 5 * CALLS
        counts[name] = max(5, int(SECONDS / seconds_of(run, five) * 5)) * CALLS
    times = {name: [] for name in ways}
    for number in range(rounds):
        # Forwards and backwards, so that no way always follows the same one.
        for name in list(ways) if number % 2 else reversed(list(ways)):
            times[name].append(seconds_of(ways[name], counts[name]) / counts[name])

    report = {"milliseconds": {n: round(statistics.median(each) * 1e3, 4) for n, each in times.items()}}
    pairs = [("ours", "keras"), ("ours_same", "keras"), ("ours", "torch"), ("keras", "torch")]
    for name, base in pairs:
        if base in ways:
            low, median, high = over(times, name, base)
            report[f"{name} / {base}"] = {"ratio": median, "quartiles": [low, high]}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]
    share_gpus()
    torch = Torch(GPU)
    if torch.left_out:
        print(f"PyTorch is left out: {torch.left_out}", file=sys.stderr, flush=True)
    results = []
    for dtype in ["float32", "bfloat16"] if GPU else ["float32"]:
        for shape in SHAPES:
            batch, height, width, channels, filters = shape
            generator = np.random.default_rng(0)
            images = tf.cast(generator.normal(size=shape[:4]), dtype)
            upstream = tf.cast(generator.normal(size=(batch, 2 * height, 2 * width, filters)), dtype)
            for xla in [False, True] if GPU else [False]:
                for step in (False, True):
                    policy = dtype if dtype == "float32" else f"mixed_{dtype}"
                    theirs = {"strides": 2, "padding": "same", "use_bias": False, "dtype": policy}
                    layers = {
                        "ours": TransposedConv2D(filters, dtype=policy),
                        "keras": keras.layers.Conv2DTranspose(filters, 3, **theirs),
                        "ours_same": TransposedConv2D(filters, **theirs),
                    }
                    ways = {
                        name: tensorflow_way(layer, images, upstream, step, xla)
                        for name, layer in layers.items()
                    }
                    ways["launch"] = launch_way(images)
                    if not torch.left_out:
                        ways["torch"] = torch.way(shape, dtype, step)
                    what = {"shape": shape, "dtype": dtype, "xla": xla, "what": "step" if step else "forward"}
                    results.append(what | compare(ways, arguments.rounds))
                    print(json.dumps(results[-1]), flush=True)
    torch.close()
    report = {
        "command": f"python benchmarks/conv_transpose.py --rounds {arguments.rounds}",
        "shapes": "batch, height, width, channels, filters",
        "load_before": load_before,
        "results": results,
        "versions": versions(plugin_manager()) | ({"torch": torch.version} if torch.version else {}),
        "torch_left_out": torch.left_out,
        "machine": {key: value for key, value in machine().items() if key != "command"},
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
