"""segframe_unet.parts_conv_layer against Conv2D of the concatenation, and the networks that it joins."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe_unet.parts_conv_layer import PartsConv2D
from segframe_unet.unet import build_unet
from segframe_uresnet.uresnet import build_uresnet


def random_parts(channels=(3, 1, 4), dtype=np.float64):
    generator = np.random.default_rng(0)
    return [generator.normal(size=(2, 7, 5, number)).astype(dtype) for number in channels]


@pytest.mark.parametrize("channels", [(8,), (3, 5), (3, 1, 4)], ids=str)
@pytest.mark.parametrize(
    "settings", [{}, {"strides": 2, "padding": "same"}, {"dilation_rate": 2, "activation": "relu"}], ids=str
)
def test_it_is_conv2d_of_the_concatenation(channels, settings):
    settings = {"filters": 6, "kernel_size": (3, 2), "bias_initializer": "glorot_uniform"} | settings
    keras.utils.set_random_seed(0)
    ours = PartsConv2D(**settings, dtype="float64")
    parts = [tf.constant(part) for part in random_parts(channels)]
    ours(parts)
    theirs = keras.layers.Conv2D(**settings, dtype="float64")
    whole = tf.concat(parts, -1)
    theirs(whole)
    theirs.set_weights(ours.get_weights())

    def value_and_gradients(layer, inputs):
        with tf.GradientTape() as tape:
            tape.watch(parts)
            joined = inputs()
            out = layer(joined)
            value = tf.reduce_sum(tf.sin(out))
        return out, *tape.gradient(value, [*parts, *[weight.value for weight in layer.trainable_weights]])

    expected = value_and_gradients(theirs, lambda: tf.concat(parts, -1))
    for one, other in zip(value_and_gradients(ours, lambda: parts), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)  # sums of some 100 terms in float64
    assert ours.compute_output_shape([part.shape for part in parts]) == expected[0].shape


@pytest.mark.parametrize("build", [build_unet, build_uresnet])
def test_a_network_that_splits_has_the_same_weights_and_results(build, tmp_path):
    facts = {"image_shape": (16, 24, 3), "num_classes": 3, "depth": 2, "filters": 4}
    joined, split = build(**facts), build(**facts, skip="split")
    assert [weight.shape for weight in joined.weights] == [weight.shape for weight in split.weights]
    assert not any(layer.name.endswith("_concat") for layer in split.layers)
    joined.save_weights(tmp_path / "x.weights.h5")
    split.load_weights(tmp_path / "x.weights.h5")
    images = np.random.default_rng(0).normal(size=(2, 16, 24, 3)).astype(np.float32)
    for training in (False, True):
        one, other = joined(images, training=training), split(images, training=training)
        np.testing.assert_allclose(one, other, atol=1e-4)  # float32, logits of size 1
        assert np.std(one) > 0.1


def test_it_is_made_again_from_a_file(tmp_path):
    parts = [keras.Input((None, None, number)) for number in (3, 5)]
    model = keras.Model(parts, PartsConv2D(2, 3, padding="same")(parts))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    images = random_parts((3, 5), np.float32)
    np.testing.assert_array_equal(again(images), model(images))
