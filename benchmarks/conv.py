"""The compiled 3x3 convolutions beside TensorFlow's, on a CPU, by turns.

Operations: values, gradient to the images and to the filters at a U-Net's maps, float32; with the error of
each against float64: the largest of any number, over the root mean square of all. The transposed one has
padding and output_padding 1, TensorFlow's "same" padding, which is its fastest and lies one pixel off; its
errors are not compared. Networks: whole training steps and predictions, as a run has them. A ratio is ours /
TensorFlow's, the median over the rounds with its quartiles.

    python benchmarks/conv.py [--rounds 15] [--out benchmarks/results/conv_cpu.json]
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import tensorflow as tf
from network_steps import random_batch, steps_of
from timing import by_turns, over, write

from segframe.sum_order import keep_sums
from segframe_unet import conv, conv_trial, ops_build

# batch, height, width, channels, filters: of U-Nets with 16 filters at 128 x 128, with 64 at 512 x 512
SHAPES = [
    (4, 128, 128, 16, 16), (4, 128, 128, 32, 16), (4, 64, 64, 32, 32), (4, 32, 32, 64, 64),
    (4, 8, 8, 256, 256),
    (1, 512, 512, 64, 64), (1, 256, 256, 256, 128), (1, 64, 64, 512, 512), (1, 32, 32, 1024, 1024),
]  # fmt: skip
NETWORKS = [
    ({"name": "unet", "filters": 16}, 128, 4),
    ({"name": "unet", "filters": 16}, 256, 4),
    ({"name": "unet", "filters": 64}, 256, 1),
    ({"name": "uresnet", "filters": 16}, 256, 4),
    ({"name": "resnet_unet", "encoder": "resnet18"}, 256, 4),
]
"""Section, size of the images, images in a batch."""


def operation(kind: str, shape: tuple[int, ...], rounds: int) -> dict:
    operations = ops_build.operations()
    given = conv_trial.tensors(kind, *shape)
    row = {"operation": conv.NAMES[kind], "shape": shape}
    pairs = zip(conv_trial.ours(operations, kind, *given), conv_trial.theirs(kind, *given), strict=True)
    exact = conv_trial.exact(kind, *shape) if kind == "same" and np.prod(shape) < 2**30 else None
    for number, (name, pair) in enumerate(zip(("values", "to images", "to filters"), pairs, strict=True)):
        graphs = {which: tf.function(way) for which, way in zip(("ours", "tensorflow"), pair, strict=True)}
        times = by_turns(graphs, rounds)
        row[name] = {"ours / tensorflow": over(times, "ours", "tensorflow")}
        if exact:
            scale = np.sqrt(np.mean(np.square(exact[number])))
            row[name]["largest error"] = {
                which: float(f"{np.abs(graph().numpy() - exact[number]).max() / scale:.2g}")
                for which, graph in graphs.items()
            }
    return row


def network(section: dict, size: int, batch: int, rounds: int) -> dict:
    image, target = random_batch(batch, size)
    row = {"network": section, "size": size, "batch": batch}
    made = {}
    for which in ("ours", "tensorflow"):
        with mock.patch.object(conv, "takes", conv.takes if which == "ours" else lambda *_: False):
            made[which] = steps_of(section, size)
            made[which].train(image, target)  # traced while it holds
            made[which].evaluate(image, target)
    ways = {which: partial(steps.train, image, target) for which, steps in made.items()}
    row["training step, ours / tensorflow"] = over(by_turns(ways, rounds), "ours", "tensorflow")
    ways = {which: partial(steps.evaluate, image, target) for which, steps in made.items()}
    row["prediction, ours / tensorflow"] = over(by_turns(ways, rounds), "ours", "tensorflow")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    keep_sums()
    rows = [operation(kind, shape, arguments.rounds) for kind in conv.NAMES for shape in SHAPES]
    rows += [network(*case, arguments.rounds) for case in NETWORKS]
    for row in rows:
        print(row, flush=True)
    write(arguments.out, rows)


if __name__ == "__main__":
    main()
