"""A trained model as files: its weights in HDF5, and the whole of it from raw images to logits."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import tensorflow as tf

from segframe.atomic import replacing
from segframe.custom_ops import custom_ops
from segframe.normalisation import Normalisation
from segframe.outputs import first, predictor
from segframe.pipeline import pad_edges
from segframe.step import normalise, two_classes


def save_weights(path: Path, model: keras.Model, attributes: Mapping[str, Any]) -> None:
    """Keras's weights file, with JSON attributes: config, normalisation, class_names, versions."""
    with replacing(path) as temporary:
        model.save_weights(temporary)
        with h5py.File(temporary, "r+") as file:
            for key, value in attributes.items():
                file.attrs[key] = json.dumps(value)


def save_model(
    folder: Path, model: keras.Model, by: Normalisation, *, num_classes: int, channels: int
) -> None:
    """A SavedModel with one function `serve`: raw images -> normalise -> pad -> network -> crop -> logits.

    It takes (batch, height, width, channels) float32 of any height and width, in the range of the data
    set's files, and returns (batch, height, width, num_classes) float32. Of a model with several outputs it
    holds what the first one needs.
    """
    multiple, network = getattr(model, "size_multiple", 1), predictor(model)

    def serve(image: tf.Tensor) -> tf.Tensor:
        size = tf.shape(image)[1:3]
        batch = {
            "image": image,
            "mask": tf.zeros(tf.shape(image)[:3], tf.int32),
            "size": tf.tile(size[None], (tf.shape(image)[0], 1)),
        }
        padded = pad_edges(batch, multiple)["image"]
        logits = tf.cast(first(network(normalise(padded, by), training=False)), tf.float32)
        return two_classes(logits, num_classes)[:, : size[0], : size[1]]

    archive = keras.export.ExportArchive()
    archive.track(network)
    spec = tf.TensorSpec((None, None, None, channels), tf.float32, name="image")
    temporary = folder.with_name(f".{os.getpid()}.{folder.name}")
    try:
        with custom_ops(allowed=False):  # it must load where they are not built
            archive.add_endpoint("serve", serve, input_signature=[spec])
            archive.write_out(str(temporary), verbose=False)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
