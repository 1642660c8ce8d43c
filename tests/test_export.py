"""segframe.export: what a run leaves predicts the same elsewhere, from raw images of any size."""

import json
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe.batch import pad_edges
from segframe.export import save_model, save_weights
from segframe.normalisation import Normalisation
from segframe.step import Steps

BY = Normalisation(1 / 255, (0.4, 0.1), (0.2, 0.5))
SIZES = [(13, 21), (1, 1), (7, 30), (16, 8)]


def network(outputs, size_multiple=4):
    """Pools twice, so that padding is needed."""
    keras.utils.set_random_seed(2)
    layers = keras.layers
    image = keras.Input((None, None, 2))
    x = layers.Conv2D(3, 3, padding="same")(image)
    x = layers.UpSampling2D(4)(layers.MaxPooling2D(4)(layers.BatchNormalization()(x)))
    model = keras.Model(image, layers.Conv2D(outputs, 3, padding="same")(x))
    model.size_multiple = size_multiple
    return model


def images(size):
    return np.random.default_rng(0).integers(256, size=(2, *size, 2)).astype(np.float32)


def expected(model, image):
    """Steps.logits on the image, padded as the pipeline pads it, cropped."""
    steps = Steps(model, None, keras.optimizers.SGD(), BY, num_classes=2, scaled=False, xla=False)
    height, width = image.shape[1:3]
    batch = {
        "image": tf.constant(image),
        "mask": tf.zeros(image.shape[:3], tf.int32),
        "size": tf.constant([[height, width]] * len(image)),
    }
    padded = pad_edges(batch, model.size_multiple)["image"]
    return steps.logits(padded)[:, :height, :width].numpy()


@pytest.mark.parametrize("outputs", [1, 2], ids=["sigmoid", "softmax"])
def test_the_saved_model_gives_the_same_logits_from_raw_images_of_any_size(tmp_path, outputs):
    model = network(outputs)
    save_model(tmp_path / "saved_model", model, BY, num_classes=2, channels=2)
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    for size in SIZES:
        found = loaded.serve(tf.constant(images(size))).numpy()
        assert found.shape == (2, *size, 2) and found.dtype == np.float32
        np.testing.assert_allclose(found, expected(model, images(size)), rtol=1e-4, atol=1e-4)


def test_it_predicts_in_a_process_that_never_imports_segframe(tmp_path):
    model = network(2)
    save_model(tmp_path / "saved_model", model, BY, num_classes=2, channels=2)
    np.save(tmp_path / "images.npy", images((13, 21)))
    code = (
        "import sys, numpy, tensorflow as tf\n"
        "loaded = tf.saved_model.load('saved_model')\n"
        "numpy.save('logits.npy', loaded.serve(tf.constant(numpy.load('images.npy'))).numpy())\n"
        "sys.exit(any(name.partition('.')[0] == 'segframe' for name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(
        np.load(tmp_path / "logits.npy"), expected(model, images((13, 21))), rtol=1e-4, atol=1e-4
    )


def test_an_older_export_is_replaced_whole(tmp_path):
    folder = tmp_path / "saved_model"
    folder.mkdir()
    (folder / "of before.txt").write_text("x")
    save_model(folder, network(2), BY, num_classes=2, channels=2)
    assert not (folder / "of before.txt").exists() and (folder / "saved_model.pb").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["saved_model"]


def test_an_export_that_fails_leaves_the_older_one_and_nothing_else(tmp_path):
    folder = tmp_path / "saved_model"
    save_model(folder, network(2), BY, num_classes=2, channels=2)
    before = (folder / "saved_model.pb").read_bytes()
    with pytest.raises(ValueError, match="shape|channel|axis"):
        save_model(folder, network(2), BY, num_classes=2, channels=3)
    assert (folder / "saved_model.pb").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["saved_model"]


def test_the_weights_file_is_keras_with_our_facts_as_attributes(tmp_path):
    path, model, facts = tmp_path / "model.weights.h5", network(2), {
        "class_names": ["background", "Zelle ß"], "config": {"seed": 0, "model": {"name": "tiny"}},
        "normalisation": BY.as_json(),
    }  # fmt: skip
    path.write_text("of before")
    save_weights(path, model, facts)
    with h5py.File(path) as file:
        assert {key: json.loads(file.attrs[key]) for key in facts} == facts
    again = network(2)
    for weight in again.weights:
        weight.assign(weight.numpy() + 1)
    again.load_weights(path)
    for one, other in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


FULL_DISK = """
import resource, sys
from pathlib import Path
import keras
from segframe import SegframeError
from segframe.export import save_weights
path, made = Path(sys.argv[1]), keras.Sequential([keras.Input((9,)), keras.layers.Dense(400)])
save_weights(path, made, {"number": 1})
before = path.read_bytes()
for size in (0, 700, 14_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        save_weights(path, made, {"number": 2})
    except SegframeError as error:
        print(error.got)
assert path.read_bytes() == before
"""


def test_a_full_disk_is_an_error_and_leaves_the_older_weights(tmp_path):
    """A limit on the size of files stands for the disk."""
    words = [sys.executable, "-c", FULL_DISK, str(tmp_path / "model.weights.h5")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == 3 * "[Errno 27] File too large\n"
    assert [file.name for file in tmp_path.iterdir()] == ["model.weights.h5"]
