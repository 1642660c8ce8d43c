"""Batch normalisation as one operation beside Keras's dozen: whole training steps and predictions, by turns.

Networks with the defaults of their plugins, but for `filters`; random images of 256 x 256; the compiled steps
of a run, without XLA. A ratio is ours / Keras's, the median over the rounds with its quartiles.

    python benchmarks/batch_norm.py [--rounds 9] [--precision float32 mixed_float16] [--out FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from timing import GPU, by_turns, over, write

from segframe import IGNORED
from segframe.catalog import build
from segframe.custom_ops import custom_ops
from segframe.manager import plugin_manager
from segframe.norm_statistics import batch_norms
from segframe.normalisation import Normalisation
from segframe.step import Steps
from segframe.sum_order import keep_sums

PLUGINS = plugin_manager()
CLASSES, SIZE = 2, 256
CASES = [
    ({"name": "unet", "filters": 16}, 4),
    ({"name": "unet", "filters": 64}, 1),
    ({"name": "uresnet", "filters": 16}, 4),
    ({"name": "resnet_unet", "encoder": "resnet18"}, 4),
    ({"name": "resnet_unet", "encoder": "EfficientNetV2B0"}, 4),
]
"""Network, images in a batch."""


def steps_of(section: dict, *, by_keras: bool) -> Steps:
    keras.utils.set_random_seed(0)
    with custom_ops(True):
        model = build(PLUGINS, "model", section, image_shape=(SIZE, SIZE, 3), num_classes=CLASSES)
    for layer in batch_norms(model) if by_keras else ():
        layer.__class__ = keras.layers.BatchNormalization
    facts = {"num_classes": CLASSES, "ignore_index": IGNORED, "spacing": None}
    loss = build(PLUGINS, "loss", {"name": "cross_entropy"}, **facts)
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    return Steps(
        model, loss, optimizer, Normalisation(1 / 255, (0.5,) * 3, (0.25,) * 3),
        num_classes=CLASSES, scaled=False, xla=False, full_size=(SIZE, SIZE),
    )  # fmt: skip


def measured(section: dict, batch: int, rounds: int) -> dict:
    random = np.random.default_rng(0)
    image = tf.constant(random.integers(256, size=(batch, SIZE, SIZE, 3), dtype=np.uint8))
    target = {"mask": tf.constant(random.integers(CLASSES, size=(batch, SIZE, SIZE), dtype=np.uint8))}
    made = {name: steps_of(section, by_keras=name == "keras") for name in ("ours", "keras")}
    calls = 20 if GPU else 1
    train = by_turns({n: lambda s=s: s.train(image, target) for n, s in made.items()}, rounds, calls)
    predict = by_turns({n: lambda s=s: s.evaluate(image, target) for n, s in made.items()}, rounds, calls)
    return {
        "model": section,
        "batch": batch,
        "step, ours / Keras's": over(train, "ours", "keras"),
        "prediction, ours / Keras's": over(predict, "ours", "keras"),
        "ms, step": {name: round(1000 * float(np.median(times)), 2) for name, times in train.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", nargs="+", default=["float32"])
    arguments = parser.parse_args()
    keep_sums()
    rows = []
    for precision in arguments.precision:
        keras.config.set_dtype_policy(precision)
        for section, batch in CASES:
            rows.append({"precision": precision} | measured(section, batch, arguments.rounds))
            print(rows[-1], flush=True)
    write(arguments.out, rows)


if __name__ == "__main__":
    main()
