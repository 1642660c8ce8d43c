"""segframe_unet.concat_layer: what the layer adds to the function, and models that hold it."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe import SegframeError
from segframe.custom_ops import custom_ops
from segframe_unet import ops_build
from segframe_unet.concat_layer import Concat
from segframe_unet.unet import build_unet


@pytest.mark.parametrize("data_format, axis", [("channels_last", 3), ("channels_first", 1)])
def test_layer_is_keras_concatenate(data_format, axis):
    layer = Concat(data_format=data_format)
    generator = np.random.default_rng(0)
    shapes = [[2, 5, 3], [2, 5, 3]]
    for shape, channels in zip(shapes, (4, 1), strict=True):
        shape.insert(axis, channels)
    parts = [generator.normal(size=shape).astype(np.float32) for shape in shapes]
    expected = keras.layers.Concatenate(axis=axis)(parts)
    np.testing.assert_array_equal(layer(parts), expected)
    assert layer.compute_output_shape(shapes) == expected.shape
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()


def test_output_shape_keeps_what_is_unknown():
    assert Concat().compute_output_shape([(None, None, 7, 3), (None, 5, None, 4)]) == (None, 5, 7, 7)


def test_another_data_format_is_refused():
    with pytest.raises(SegframeError, match="data_format of Concat.*'NHWC'"):
        Concat(data_format="NHWC")


def test_mixed_precision_joins_in_the_compute_dtype():
    parts = [np.ones((1, 2, 3, 4), np.float32)] * 2
    assert Concat(dtype="mixed_bfloat16")(parts).dtype == tf.bfloat16


@pytest.fixture(params=[False, True], ids=["tensorflow", "compiled"])
def graph(request, monkeypatch):
    """The U-Net as a function that holds the op, or not, whatever was measured here."""
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("a GPU does not repeat a network's bits; the op's own: test_concat_gpu.py")
    if request.param and ops_build.build().problem:
        pytest.skip(ops_build.build().problem)
    ratio = 0.5 if request.param else 2.0
    build = ops_build.build()
    ratios = {"CPU": {"float32": {"concat": [(1, ratio)], "split": [(1, ratio)]}}}
    forced = ops_build.Build(ratios=ratios, folder=build.folder, sha256=build.sha256)
    monkeypatch.setattr(ops_build, "build", lambda: forced)
    return request.param


def small_unet():
    keras.utils.set_random_seed(0)
    return build_unet(image_shape=(16, 16, 1), num_classes=2, depth=2, filters=4)


def test_a_training_step_is_the_same_to_the_bit(graph):
    """With the op and without it, against Keras's own layer in place of ours."""
    images = np.random.default_rng(0).normal(size=(2, 16, 24, 1)).astype(np.float32)

    def step(model):
        @tf.function
        def gradients(images):
            with custom_ops(True), tf.GradientTape() as tape:
                loss = tf.reduce_mean(model(images, training=True) ** 2)
                return [loss, *tape.gradient(loss, [each.value for each in model.trainable_variables])]

        operations = {op.type for op in gradients.get_concrete_function(images).graph.get_operations()}
        return operations, gradients(images)

    ours = small_unet()
    theirs = keras.models.clone_model(
        ours, clone_function=lambda layer: keras.layers.Concatenate(name=layer.name)
        if isinstance(layer, Concat) else layer.__class__.from_config(layer.get_config()),
    )  # fmt: skip
    theirs.set_weights(ours.get_weights())
    operations, actual = step(ours)
    assert ({"SegframeConcat", "SegframeSplit"} <= operations) == graph
    for one, other in zip(actual, step(theirs)[1], strict=True):
        np.testing.assert_array_equal(one, other)


LOAD = """
import sys, numpy as np, tensorflow as tf, keras
import segframe_unet.layers
images = np.load(sys.argv[1] + "/images.npy")
saved = tf.saved_model.load(sys.argv[1] + "/saved")
served = saved.serve(images)
loaded = keras.models.load_model(sys.argv[1] + "/model.keras")(images)
np.save(sys.argv[1] + "/out.npy", [served, loaded])
"""


def test_a_model_used_with_the_op_loads_where_it_is_not_built(graph, tmp_path):
    model = small_unet()
    images = np.random.default_rng(0).normal(size=(1, 8, 12, 1)).astype(np.float32)
    with custom_ops(True):
        tf.function(model)(images)
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "saved", verbose=False)
    np.save(tmp_path / "images.npy", images)
    environment = os.environ | {"SEGFRAME_OPS": "off"}
    subprocess.run([sys.executable, "-c", LOAD, str(tmp_path)], check=True, env=environment)
    for out in np.load(tmp_path / "out.npy"):
        np.testing.assert_array_equal(out, model(images))
