"""What the distance-aware cross-entropy costs, beside plain cross-entropy and beside a search for distances.

The loss alone (value and gradient) and a whole training step of a U-Net (16 filters), for squares of some
sizes, one and three foreground classes; discs as masks. Ways to the distances:

    stored      the map that is made once a mask and comes with the batch
    in_graph    made in the graph at each step
    exact       SciPy's exact transform at each step
    search      each pixel searches all pixels of the class at each step, the MagmaDNN way; above 128 px
                measured on some rows and scaled up

All in one process, by turns; a ratio is the median over the rounds with its quartiles.

    python benchmarks/distance_aware.py [--out benchmarks/results/distance_aware_cpu.json]

Goals: a whole step at most 1.05 times that with cross-entropy on a CPU, 1.02 on a GPU; the loss alone at most
2 times; the search at least 1,000 times the stored at 512 px.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage
from timing import GPU, by_turns, over, share_gpus, write

from segframe import IGNORED
from segframe.catalog import build
from segframe.manager import plugin_manager

PLUGINS = plugin_manager()


def discs(batch: int, size: int, classes: int) -> np.ndarray:
    """(batch, size, size) uint8: background, and two discs of each class."""
    generator = np.random.default_rng(0)
    rows, columns = np.ogrid[:size, :size]
    masks = np.zeros((batch, size, size), np.uint8)
    for mask in masks:
        for c in range(1, classes + 1):
            for row, column in generator.integers(size, size=(2, 2)):
                mask[(rows - row) ** 2 + (columns - column) ** 2 < (size / 8) ** 2] = c
    return masks


def exact(masks: np.ndarray, num_classes: int) -> np.ndarray:
    """Squared distances by SciPy, as the stored map has them."""
    found = np.full((*masks.shape, num_classes), 65535, np.uint16)
    for b, c in np.ndindex(len(masks), num_classes):
        there = masks[b] == c
        if there.any():
            squared = np.rint(ndimage.distance_transform_edt(~there) ** 2)
            found[b, ..., c] = np.minimum(squared, 65535)
    return found


def search_seconds(mask: np.ndarray, num_classes: int, rows: int) -> float:
    """Time to search every foreground pixel for every pixel of one mask, from that of some rows."""
    start = time.perf_counter()
    for c in range(1, num_classes):
        wanted = np.argwhere(mask == c).astype(np.float32)
        for row in np.linspace(0, len(mask) - 1, rows).astype(int):
            pixels = np.stack([np.full(len(mask), row), np.arange(len(mask))], -1).astype(np.float32)
            np.square(pixels[:, None] - wanted).sum(-1).min(1)
    return (time.perf_counter() - start) * len(mask) / rows


def losses(num_classes: int) -> dict:
    facts = {"num_classes": num_classes, "ignore_index": IGNORED, "spacing": None}
    sections = {
        "cross_entropy": {"name": "cross_entropy"},
        "stored": {"name": "distance_aware", "map_source": "stored"},
        "in_graph": {"name": "distance_aware", "map_source": "in_graph"},
    }
    return {name: build(PLUGINS, "loss", section, **facts) for name, section in sections.items()}


def alone(loss, xla: bool):
    @tf.function(jit_compile=xla)
    def value_and_gradient(target, logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = tf.reduce_mean(loss(target, logits))
        return value, tape.gradient(value, logits)

    return value_and_gradient


def whole_step(loss, num_classes: int, size: int, xla: bool):
    """A training step of a network of its own, with Adam."""
    keras.utils.set_random_seed(0)
    model = build(PLUGINS, "model", {"name": "unet"}, image_shape=(size, size, 1), num_classes=num_classes)
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=xla)
    def step(target, images):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss(target, model(images, training=True)))
        gradients = tape.gradient(value, [variable.value for variable in model.trainable_variables])
        optimizer.apply(gradients, model.trainable_variables)
        return value

    return step


def ratios(times: dict[str, list[float]], base: str) -> dict[str, list[float]]:
    return {name: over(times, name, base) for name in times if name != base}


def measure(size: int, classes: int, batch: int, rounds: int, xla: bool) -> dict:
    num_classes = classes + 1
    masks = discs(batch, size, classes)
    maps = tf.constant(exact(masks, num_classes))
    mask = tf.constant(masks.astype(np.int32))
    logits = tf.random.stateless_normal((*masks.shape, num_classes), (0, 1))
    images = tf.random.stateless_normal((*masks.shape, 1), (2, 3))
    calls = 30 if GPU else 1
    chosen = losses(num_classes)
    targets = {
        name: {"mask": mask} | ({"squared_distance": maps} if name == "stored" else {}) for name in chosen
    }
    compiled = {name: alone(loss, xla) for name, loss in chosen.items()}
    functions = {name: (lambda name=name: compiled[name](targets[name], logits)) for name in chosen}
    times = by_turns(functions, rounds, calls)
    transforms = by_turns({"exact": lambda: exact(masks, num_classes)}, rounds, 1)["exact"]
    times["exact"] = [sum(both) for both in zip(times["stored"], transforms, strict=True)]
    row = {"size": size, "foreground classes": classes, "batch": batch, "xla": xla}
    row["loss alone / cross_entropy"] = ratios(times, "cross_entropy")
    searched = batch * search_seconds(masks[0], num_classes, rows=size if size <= 128 else 4)
    row["search / stored, loss alone"] = round(searched / statistics.median(times["stored"]))
    if GPU:
        row["ms, loss alone"] = {
            name: round(1e3 * statistics.median(each), 4) for name, each in times.items()
        }
    steps = {name: whole_step(loss, num_classes, size, xla) for name, loss in chosen.items()}
    functions = {name: (lambda name=name: steps[name](targets[name], images)) for name in chosen}
    times = by_turns(functions, rounds, max(1, calls // 3))
    row["whole step / cross_entropy"] = ratios(times, "cross_entropy")
    if GPU:
        row["ms, whole step"] = {
            name: round(1e3 * statistics.median(each), 3) for name, each in times.items()
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--classes", type=int, nargs="+", default=[1, 3], help="foreground classes")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    share_gpus()
    rows = []
    for size in options.sizes:
        for classes in options.classes:
            batch = max(1, 4 * 128**2 // size**2) if not GPU else max(1, 16 * 256**2 // size**2)
            rows.append(measure(size, classes, batch, options.rounds, xla=GPU))
            print(json.dumps(rows[-1]), flush=True)
    write(options.out, rows)


if __name__ == "__main__":
    main()
