"""What the U-Net's ways up cost: its training step and its prediction with each, in turn in one process.

The network, loss and optimizer of conf/experiment/upsampling.yaml, random images, the framework's own
compiled steps. A ratio is over `transpose`, the median over the rounds with its quartiles; milliseconds mean
something on a GPU only.

    python benchmarks/upsampling_time.py [--size 256] [--batch 8] [--out FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from study_grids import WAYS_UP
from timing import GPU, by_turns, over, share_gpus, write

from segframe import IGNORED
from segframe.catalog import build
from segframe.manager import plugin_manager
from segframe.normalisation import Normalisation
from segframe.step import Steps

PLUGINS = plugin_manager()
CLASSES = 2


def steps_with(up: str, size: int) -> Steps:
    keras.utils.set_random_seed(0)
    section = {"name": "unet", "filters": 16, "depth": 4, "upsample": up}
    model = build(PLUGINS, "model", section, image_shape=(size, size, 3), num_classes=CLASSES)
    facts = {"num_classes": CLASSES, "ignore_index": IGNORED, "spacing": None}
    terms = [{"name": "cross_entropy", "weight": 1.0}, {"name": "dice", "weight": 1.0}]
    loss = build(PLUGINS, "loss", {"name": "sum", "terms": terms}, **facts)
    optimizer = keras.optimizers.AdamW(1e-3)
    optimizer.build(model.trainable_variables)
    normalisation = Normalisation(1 / 255, (0.5,) * 3, (0.25,) * 3)
    return Steps(
        model,
        loss,
        optimizer,
        normalisation,
        num_classes=CLASSES,
        scaled=False,
        xla=GPU,
        full_size=(size, size),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    share_gpus()
    random = np.random.default_rng(0)
    shape = (arguments.batch, arguments.size, arguments.size)
    image = tf.constant(random.integers(256, size=(*shape, 3), dtype=np.uint8))
    target = {"mask": tf.constant(random.integers(CLASSES, size=shape, dtype=np.uint8))}
    made = {up: steps_with(up, arguments.size) for up in WAYS_UP}
    calls = 20 if GPU else 1

    def trainings(up: str):
        return lambda: made[up].train(image, target)

    def predictions(up: str):
        return lambda: made[up].evaluate(image, target)

    train = by_turns({up: trainings(up) for up in WAYS_UP}, arguments.rounds, calls)
    predict = by_turns({up: predictions(up) for up in WAYS_UP}, arguments.rounds, calls)
    rows = [
        {
            "upsample": up,
            "size": arguments.size,
            "batch": arguments.batch,
            "xla": GPU,
            "parameters": int(made[up].model.count_params()),
            "ms, step": round(1000 * float(np.median(train[up])), 3),
            "ms, prediction": round(1000 * float(np.median(predict[up])), 3),
            "step / transpose": over(train, up, "transpose"),
            "prediction / transpose": over(predict, up, "transpose"),
        }
        for up in WAYS_UP
    ]
    for row in rows:
        print(row)
    write(arguments.out, rows)


if __name__ == "__main__":
    main()
