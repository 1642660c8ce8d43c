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
from network_steps import random_batch, steps_of
from timing import GPU, by_turns, over, write

from segframe.norm_statistics import batch_norms
from segframe.sum_order import keep_sums

SIZE = 256
CASES = [
    ({"name": "unet", "filters": 16}, 4),
    ({"name": "unet", "filters": 64}, 1),
    ({"name": "uresnet", "filters": 16}, 4),
    ({"name": "resnet_unet", "encoder": "resnet18"}, 4),
    ({"name": "resnet_unet", "encoder": "EfficientNetV2B0"}, 4),
]
"""Network, images in a batch."""


def by_keras(model: keras.Model) -> None:
    for layer in batch_norms(model):
        layer.__class__ = keras.layers.BatchNormalization


def measured(section: dict, batch: int, rounds: int) -> dict:
    image, target = random_batch(batch, SIZE)
    made = {"ours": steps_of(section, SIZE), "keras": steps_of(section, SIZE, by_keras)}
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
