"""What segframe_models promises, checked for every network that is installed."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe.catalog import build, catalog
from segframe.manager import plugin_manager

PLUGINS = plugin_manager()
BUILDERS = catalog(PLUGINS, "model")
SMALLER = {"filters": 2, "depth": 2}
"""Values for arguments of these names, so that the networks are built quickly."""

SHAPE, CLASSES = (48, 80, 2), 3


@pytest.fixture(params=sorted(BUILDERS))
def name(request):
    return request.param


@pytest.fixture(autouse=True)
def float32_again():
    yield
    keras.config.set_dtype_policy("float32")


def built(name, seed=0, num_classes=CLASSES):
    takes = inspect.signature(BUILDERS[name]).parameters
    section = {key: value for key, value in SMALLER.items() if key in takes}
    keras.utils.set_random_seed(seed)
    return build(PLUGINS, "model", {"name": name, **section}, image_shape=SHAPE, num_classes=num_classes)


def images(batch, height, width, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, height, width, SHAPE[2])).astype(np.float32)


def test_logits_are_float32_of_any_multiple_of_its_size(name):
    model = built(name)
    multiple = getattr(model, "size_multiple", 1)
    assert isinstance(multiple, int) and multiple >= 1
    assert model.output_shape == (None, None, None, CLASSES)
    for batch, rows, columns in ((2, 3, 5), (1, 1, 1), (1, 1, 4)):  # the smallest size too
        height, width = rows * multiple, columns * multiple
        logits = model(images(batch, height, width), training=False)
        assert logits.shape == (batch, height, width, CLASSES) and logits.dtype == tf.float32
        assert np.isfinite(logits).all()


def test_a_graph_of_unknown_sizes_gives_what_eager_gives(name):
    model = built(name)
    multiple = getattr(model, "size_multiple", 1)
    spec = tf.TensorSpec((None, None, None, SHAPE[2]), tf.float32)
    graph = tf.function(lambda image: model(image, training=False), input_signature=[spec])
    for height, width in ((multiple, 3 * multiple), (4 * multiple, multiple)):
        image = images(2, height, width)
        # float32 sums in another order
        np.testing.assert_allclose(graph(image), model(image, training=False), rtol=1e-4, atol=1e-4)


def test_a_binary_mask_needs_one_logit_or_two(name):
    assert built(name, num_classes=2).output_shape[-1] in (1, 2)


def test_every_trainable_weight_gets_a_finite_gradient(name):
    model = built(name)
    multiple = getattr(model, "size_multiple", 1)
    for batch in (1, 2):
        image = images(batch, 4 * multiple, 6 * multiple)
        ids = np.random.default_rng(1).integers(CLASSES, size=image.shape[:3])
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                keras.ops.sparse_categorical_crossentropy(ids, model(image, training=True), from_logits=True)
            )
        weights = [variable.value for variable in model.trainable_variables]
        gradients = tape.gradient(loss, weights)
        assert weights and all(gradient is not None for gradient in gradients)
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        assert any(np.abs(gradient).max() > 0 for gradient in gradients)


def test_the_seed_fixes_the_weights(name):
    one, same, other = built(name, 5), built(name, 5), built(name, 6)
    for first, second in zip(one.weights, same.weights, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    pairs = zip(one.weights, other.weights, strict=True)
    assert any(not np.array_equal(first.numpy(), second.numpy()) for first, second in pairs)


def test_an_image_is_predicted_the_same_alone_and_in_a_batch(name):
    model = built(name)
    multiple = getattr(model, "size_multiple", 1)
    batch = images(3, 2 * multiple, 3 * multiple)
    together = model(batch, training=False)
    for number in range(3):
        alone = model(batch[number : number + 1], training=False)
        np.testing.assert_allclose(alone[0], together[number], rtol=1e-4, atol=1e-4)


def test_half_precision_keeps_float32_logits_and_weights(name):
    whole = built(name)
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = built(name)
    multiple = getattr(whole, "size_multiple", 1)
    image = images(2, 3 * multiple, 2 * multiple)
    logits = half(image, training=False)
    assert logits.dtype == tf.float32
    assert {variable.dtype for variable in half.trainable_variables} == {"float32"}
    expected = whole(image, training=False).numpy()
    # bfloat16 has 8 bits of mantissa: errors of 0.4 % an operation, added up over the layers
    np.testing.assert_allclose(logits, expected, atol=0.1 * np.abs(expected).max())
