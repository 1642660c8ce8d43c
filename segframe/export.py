"""A trained model as files: its weights in HDF5, and the whole of it from raw images to logits."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf

from segframe.atomic import replacing, writable
from segframe.custom_ops import custom_ops
from segframe.normalisation import Normalisation
from segframe.outputs import predictor
from segframe.trained_model import network_logits, padded_and_cropped, size_multiple

EXAMPLE_SIDE = 1024
"""Pixels of an example's height and width: whole, that of a large image is larger than all else of a run."""


class _InMemory(io.BytesIO):
    """What Keras takes for a weights file; its name's ending says which kind."""

    def __str__(self) -> str:
        return "model.weights.h5"


def save_weights(path: Path, model: keras.Model, attributes: Mapping[str, Any]) -> None:
    """Keras's weights file, with JSON attributes (segframe.load_model says which).

    It is made in memory, since HDF5 does not survive a disk that runs full (segframe.hdf5_sink).

    Raises:
        SegframeError: the disk is full or cannot be written; an older file is still there.
    """
    made = _InMemory()
    model.save_weights(made)
    with h5py.File(made, "r+") as file:
        for key, value in attributes.items():
            file.attrs[key] = json.dumps(value)
    remedy = "Make room and give the same command again: it goes on from the last checkpoint."
    with writable(str(path), remedy), replacing(path) as temporary:
        temporary.write_bytes(made.getbuffer())


def save_model(
    folder: Path,
    model: keras.Model,
    by: Normalisation,
    *,
    num_classes: int,
    channels: int,
    example: np.ndarray | None = None,
) -> None:
    """A SavedModel with one function `serve`: raw images -> normalise -> pad -> network -> crop -> logits.

    It takes (batch, height, width, channels) float32 of any height and width, in the range of the data
    set's files, and returns (batch, height, width, num_classes) float32. Of a model with several outputs it
    holds what the first one needs. Loaded by TensorFlow, it can be called as `serve` is.

    Args:
        example: (height, width, channels), an image of the data; kept in assets.extra/input_example.npy as
            (1, height, width, channels) float32.
    """
    network = predictor(model)
    serve = padded_and_cropped(network_logits(network, by, num_classes), size_multiple(model))
    archive = keras.export.ExportArchive()
    archive.track(network)
    spec = tf.TensorSpec((None, None, None, channels), tf.float32, name="image")
    temporary = folder.with_name(f".{os.getpid()}.{folder.name}")
    try:
        with custom_ops(allowed=False):  # it must load where they are not built
            function = archive.add_endpoint("serve", serve, input_signature=[spec])
            archive.add_endpoint("__call__", function)
            archive.write_out(str(temporary), verbose=False)
        if example is not None:
            (temporary / "assets.extra").mkdir()
            np.save(temporary / "assets.extra" / "input_example.npy", example[None].astype(np.float32))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
