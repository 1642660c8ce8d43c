"""segframe_unet.norm_layer: Keras's batch normalisation to rounding, by one operation in a run's graphs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe.custom_ops import custom_ops
from segframe.normalisation import Normalisation
from segframe.step import Steps
from segframe_unet.norm_layer import BatchNormalization

CHANNELS = 6
SETTINGS = {"momentum": 0.8, "epsilon": 1e-3}


def filled(kind=BatchNormalization, seed=0, **settings):
    """A layer whose weights are none of those that it starts with."""
    generator = np.random.default_rng(seed)
    layer = kind(**(SETTINGS | settings))
    layer.build((None, None, None, CHANNELS))
    layer.set_weights([generator.uniform(0.5, 2.0, weight.shape) for weight in layer.weights])
    return layer


def feature_maps(shape=(3, 5, 7, CHANNELS), seed=1):
    generator = np.random.default_rng(seed)
    return generator.normal(loc=2.0, scale=3.0, size=shape), generator.normal(size=shape)


def stepped(layer, image, weight, *, allowed=True, training=True, dtype=tf.float32):
    """Outputs, gradients of sum(outputs * weight) by image and weights, and the graph's operations."""

    def step(image):
        with custom_ops(allowed), tf.GradientTape() as tape:
            tape.watch(image)
            normalised = layer(image, training=training)
            loss = tf.reduce_sum(tf.cast(normalised, tf.float32) * weight)
        return normalised, tape.gradient(
            loss, [image, *(variable.value for variable in layer.trainable_variables)]
        )

    image = tf.cast(image, dtype)
    function = tf.function(step, autograph=False).get_concrete_function(
        tf.TensorSpec(image.shape, image.dtype)
    )
    kinds = {node.type for node in function.graph.get_operations()}
    weight = tf.constant(weight, tf.float32)
    return *function(image), kinds


def formula(layer, image, weight):
    """Outputs, gradients and running statistics in float64."""
    gamma, beta, mean, variance = (np.asarray(each, np.float64) for each in layer.get_weights())
    axes, count = (0, 1, 2), image[..., 0].size
    now_mean, now_variance = image.mean(axes), image.var(axes)
    deviation = np.sqrt(now_variance + SETTINGS["epsilon"])
    centred = (image - now_mean) / deviation
    by_gamma, by_beta = (weight * centred).sum(axes), weight.sum(axes)
    by_image = gamma / deviation * (weight - by_beta / count - centred * by_gamma / count)
    kept = SETTINGS["momentum"]
    running = kept * mean + (1 - kept) * now_mean, kept * variance + (1 - kept) * now_variance
    return centred * gamma + beta, [by_image, by_gamma, by_beta], running


def test_a_training_step_is_the_formula():
    layer, (image, weight) = filled(), feature_maps()
    outputs, gradients, running = formula(layer, image, weight)
    found, found_gradients, kinds = stepped(layer, image, weight)
    assert "FusedBatchNormV3" in kinds
    np.testing.assert_allclose(found, outputs, rtol=2e-5, atol=2e-5)
    for one, other in zip(found_gradients, gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)
    for variable, expected in zip((layer.moving_mean, layer.moving_variance), running, strict=True):
        np.testing.assert_allclose(variable, expected, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}, {"axis": 3}], ids=str)
def test_it_is_keras_layer(settings, training):
    ours, theirs = filled(**settings), filled(keras.layers.BatchNormalization, **settings)
    image, weight = feature_maps()
    found, gradients, kinds = stepped(ours, image, weight, training=training)
    expected, expected_gradients, keras_kinds = stepped(theirs, image, weight, training=training)
    assert "FusedBatchNormV3" in kinds and "FusedBatchNormV3" not in keras_kinds
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_one_pixel_has_no_variance():
    layer, (image, weight) = filled(), feature_maps((1, 1, 1, CHANNELS))
    before = layer.moving_variance.numpy()
    found, _, _ = stepped(layer, image, weight)
    np.testing.assert_allclose(found[0, 0, 0], layer.beta, rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, before * SETTINGS["momentum"], rtol=1e-6)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_computes_in_float32_as_keras_does(precision):
    image, weight = feature_maps()
    ours = filled(dtype=f"mixed_{precision}")
    theirs = filled(keras.layers.BatchNormalization, dtype=f"mixed_{precision}")
    found, _, kinds = stepped(ours, image, weight, dtype=precision)
    expected, _, _ = stepped(theirs, image, weight, dtype=precision)
    assert "FusedBatchNormV3" in kinds and found.dtype == precision
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2}[precision]
    np.testing.assert_allclose(
        tf.cast(found, tf.float32), tf.cast(expected, tf.float32), rtol=tolerance, atol=tolerance
    )
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_it_is_bit_for_bit_keras_layer_where_it_cannot_be_one_operation():
    image, weight = feature_maps()
    theirs, _, _ = stepped(filled(keras.layers.BatchNormalization), image, weight)
    frozen_theirs, _, _ = stepped(filled(keras.layers.BatchNormalization), image, weight, training=False)
    outside, _, kinds = stepped(filled(), image, weight, allowed=False)
    assert "FusedBatchNormV3" not in kinds
    np.testing.assert_array_equal(outside, theirs)
    frozen = filled()
    frozen.trainable = False
    found, _, kinds = stepped(frozen, image, weight)
    assert "FusedBatchNormV3" not in kinds
    np.testing.assert_array_equal(found, frozen_theirs)
    with custom_ops(True):
        exact = filled(dtype="float64")(image, training=True)
        masked = filled()(image, training=True, mask=np.ones(image.shape[:3], bool))
        renormed = filled(renorm=True)(image, training=True)
        flat = BatchNormalization(**SETTINGS)(image[:, 0, 0], training=True)
    assert exact.dtype == tf.float64 and masked.shape == renormed.shape == image.shape
    assert flat.shape == (3, CHANNELS)


def test_files_of_weights_go_from_keras_layer_to_it_and_back(tmp_path):
    def network(kind):
        given = keras.Input((None, None, CHANNELS))
        return keras.Model(given, kind(**SETTINGS, name="norm")(kind(**SETTINGS)(given)))

    theirs, ours = network(keras.layers.BatchNormalization), network(BatchNormalization)
    theirs.set_weights([np.random.default_rng(0).uniform(0.5, 2, w.shape) for w in theirs.weights])
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours.load_weights(tmp_path / "theirs.weights.h5")
    image = feature_maps()[0].astype(np.float32)
    np.testing.assert_array_equal(ours(image), theirs(image))
    ours.save(tmp_path / "ours.keras")
    again = keras.saving.load_model(tmp_path / "ours.keras")
    assert isinstance(again.get_layer("norm"), BatchNormalization)
    np.testing.assert_array_equal(again(image), theirs(image))


def test_statistics_are_taken_anew_as_with_keras_layer():
    """segframe.norm_statistics gives the layers a tensor for their momentum."""
    found = []
    for kind in (BatchNormalization, keras.layers.BatchNormalization):
        given = keras.Input((None, None, CHANNELS))
        layer = kind(**SETTINGS)
        model = keras.Model(given, keras.layers.Dropout(0.5)(layer(given)))
        layer.set_weights([np.random.default_rng(0).uniform(0.5, 2, each.shape) for each in layer.weights])
        steps = Steps(
            model, None, None, Normalisation(1.0, (0.0,) * CHANNELS, (1.0,) * CHANNELS),
            num_classes=CHANNELS, scaled=False, xla=False, norm_statistics=True,
        )  # fmt: skip
        images = [tf.constant(feature_maps((batch, 8, 8, CHANNELS), seed)[0], tf.float32)
                  for seed, batch in enumerate((4, 4, 1))]  # fmt: skip
        steps.norm_statistics.recompute(images)
        found.append((layer.moving_mean.numpy(), layer.moving_variance.numpy()))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    every = np.concatenate([image.numpy() for image in images])
    np.testing.assert_allclose(found[0][0], every.mean((0, 1, 2)), rtol=1e-5)
