"""A network's compiled steps, as a run has them, and random images for them."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from segframe import IGNORED
from segframe.catalog import build
from segframe.custom_ops import custom_ops
from segframe.manager import plugin_manager
from segframe.normalisation import Normalisation
from segframe.step import Steps

PLUGINS = plugin_manager()
CLASSES = 2


def steps_of(
    section: dict, size: int, prepare: Callable[[keras.Model], None] = lambda network: None
) -> Steps:
    """Without XLA, by Adam and cross-entropy; `prepare` may change the network first."""
    keras.utils.set_random_seed(0)
    with custom_ops(True):
        model = build(PLUGINS, "model", section, image_shape=(size, size, 3), num_classes=CLASSES)
    prepare(model)
    facts = {"num_classes": CLASSES, "ignore_index": IGNORED, "spacing": None}
    loss = build(PLUGINS, "loss", {"name": "cross_entropy"}, **facts)
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    return Steps(
        model, loss, optimizer, Normalisation(1 / 255, (0.5,) * 3, (0.25,) * 3),
        num_classes=CLASSES, scaled=False, xla=False, full_size=(size, size),
    )  # fmt: skip


def random_batch(batch: int, size: int) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Images and target."""
    random = np.random.default_rng(0)
    image = tf.constant(random.integers(256, size=(batch, size, size, 3), dtype=np.uint8))
    mask = tf.constant(random.integers(CLASSES, size=(batch, size, size), dtype=np.uint8))
    return image, {"mask": mask}
