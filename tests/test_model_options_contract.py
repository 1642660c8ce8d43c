"""Every network that is installed, with each of its options: sizes, gradients, files, precision, XLA."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_sums import large_sums

from segframe.batch import pad_edges
from segframe.catalog import build, catalog
from segframe.manager import plugin_manager
from segframe.sum_order import gradients, total

PLUGINS = plugin_manager()
BUILDERS = catalog(PLUGINS, "model")
SMALLER = {"filters": 4, "depth": 2}
"""Values for arguments of these names, so that the networks are built quickly."""

VARIANTS = {
    "default": {},
    "deep attention": {"deep_supervision": 1, "attention": True},
    "subpixel split": {"upsample": "subpixel", "skip": "split"},
    "bilinear same dropout": {"upsample": "bilinear", "decoder_filters": "same", "dropout": 0.3},
    "bottleneck stride": {"block": "bottleneck", "downsample": "stride"},
    "pre split deep attention": {
        "activation_order": "pre",
        "skip": "split",
        "deep_supervision": 1,
        "attention": True,
    },
    "pre bottleneck stride": {"activation_order": "pre", "block": "bottleneck", "downsample": "stride"},
}
"""Each network takes those whose keys it has."""

SHAPE, CLASSES = (48, 80, 2), 3
CASES = []
for name, builder in sorted(BUILDERS.items()):
    takes = inspect.signature(builder).parameters
    for label, variant in VARIANTS.items():
        if set(variant) <= set(takes):
            # On a whole classification network an option takes half a minute.
            slow = [pytest.mark.slow] if variant and "encoder" in takes else []
            CASES.append(pytest.param((name, variant), id=f"{name} {label}", marks=slow))


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def model(case):
    """Built once for all tests; none changes its trained weights."""
    return built(*case)


def built(name, variant, seed=0, num_classes=CLASSES, policy="float32"):
    takes = inspect.signature(BUILDERS[name]).parameters
    section = {key: value for key, value in SMALLER.items() if key in takes} | variant
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(policy)
    try:
        section = {"name": name, **section}
        return build(PLUGINS, "model", section, image_shape=SHAPE, num_classes=num_classes)
    finally:
        keras.config.set_dtype_policy("float32")


def images(model, batch=2, rows=2, columns=3):
    multiple = getattr(model, "size_multiple", 1)
    shape = (batch, rows * multiple, columns * multiple, SHAPE[2])
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def outputs(model, image, training=False):
    return keras.tree.flatten(model(image, training=training))


def test_odd_sizes_are_padded_and_every_output_is_as_large(model):
    multiple = getattr(model, "size_multiple", 1)
    weights = getattr(model, "output_weights", (1.0,))
    for height, width in ((1, 1), (multiple + 1, 2 * multiple - 1)):
        image = np.random.default_rng(0).normal(size=(2, height, width, SHAPE[2])).astype(np.float32)
        batch = {
            "image": tf.constant(image),
            "mask": tf.zeros(image.shape[:3], tf.int32),
            "size": tf.constant([[height, width]] * 2),
        }
        padded = pad_edges(batch, multiple)["image"]
        found = outputs(model, padded)
        assert len(found) == len(weights)
        for logits in found:
            assert logits.shape == (*padded.shape[:3], CLASSES) and logits.dtype == tf.float32
            assert np.isfinite(logits[:, :height, :width]).all()


def test_a_gradient_reaches_every_trainable_weight(model):
    image = images(model, rows=4, columns=6)
    ids = np.random.default_rng(1).integers(CLASSES, size=image.shape[:3])
    with tf.GradientTape() as tape:
        loss = tf.add_n(
            [
                tf.reduce_mean(keras.ops.sparse_categorical_crossentropy(ids, logits, from_logits=True))
                for logits in outputs(model, image, training=True)
            ]
        )
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None and np.isfinite(gradient).all() and np.any(gradient), variable.path


def test_its_gradients_are_summed_in_one_order(model):
    def graph(image):
        loss = total([tf.reduce_sum(logits) for logits in outputs(model, image, training=True)])
        return gradients(loss, [variable.value for variable in model.trainable_variables])

    traced = tf.function(graph, autograph=False).get_concrete_function(images(model))
    assert large_sums(traced.graph) == []


def test_files_give_the_same_logits(model, case, tmp_path):
    image = images(model)
    model(image, training=True)  # so that running means are not what they are at first
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = built(*case, seed=1)
    fresh.load_weights(tmp_path / "model.weights.h5")
    for again in (keras.saving.load_model(tmp_path / "model.keras"), fresh):
        for one, other in zip(outputs(again, image), outputs(model, image), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_finite_and_near_float32(model, case, precision):
    half = built(*case, policy=f"mixed_{precision}")
    half.set_weights(model.get_weights())
    image = images(model)
    for logits, wanted in zip(outputs(half, image), outputs(model, image), strict=True):
        assert logits.dtype == tf.float32
        # bfloat16 has 8 bits of mantissa: errors of 0.4 % an operation, added up over the layers
        np.testing.assert_allclose(logits, wanted, atol=0.1 * np.abs(wanted).max())
    for logits in outputs(half, image, training=True):
        assert np.isfinite(logits).all()


@pytest.mark.slow
def test_xla_gives_the_same_logits(model):
    image = images(model)
    compiled = tf.function(lambda image: outputs(model, image), jit_compile=True)
    for logits, wanted in zip(compiled(image), outputs(model, image), strict=True):
        # float32 sums in another order
        np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_nothing_is_random_at_inference(model, case):
    image = images(model)
    for one, other in zip(outputs(model, image), outputs(model, image), strict=True):
        np.testing.assert_array_equal(one, other)
    if case[1].get("dropout"):
        one, other = (outputs(model, image, training=True)[0] for _ in range(2))
        assert not np.array_equal(one, other)
