"""segframe_unet.transposed_conv_layer: what the layer adds to the function."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe_unet.transposed_conv_layer import TransposedConv2D


@pytest.mark.parametrize("use_bias, weights", [(False, 1), (True, 2)])
def test_layer_doubles_sizes_and_has_a_bias_when_asked(use_bias, weights):
    layer = TransposedConv2D(5, use_bias=use_bias)
    assert layer(np.zeros((2, 4, 7, 3), np.float32)).shape == (2, 8, 14, 5)
    assert layer.compute_output_shape((None, None, 7, 3)) == (None, None, 14, 5)
    assert len(layer.weights) == weights and layer.kernel.shape == (3, 3, 5, 3)


def test_layer_in_bfloat16_has_float32_weights_and_gradients():
    layer = TransposedConv2D(5, dtype="mixed_bfloat16")
    with tf.GradientTape() as tape:
        out = layer(np.ones((2, 4, 7, 3), np.float32))
        value = tf.reduce_sum(tf.cast(out, tf.float32))
    assert out.dtype == tf.bfloat16
    assert tape.gradient(value, layer.kernel.value).dtype == tf.float32


def test_layer_made_again_from_its_config_has_the_same_one():
    layer = TransposedConv2D(
        5, 4, stride=3, padding=2, output_padding=1, use_bias=True, kernel_initializer="ones"
    )
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()


def test_exported_layer_gives_the_same_pixels_at_sizes_not_seen_before(tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, TransposedConv2D(5)(image))
    model.export(tmp_path / "saved", verbose=False)
    again = tf.saved_model.load(tmp_path / "saved")
    images = np.random.default_rng(0).normal(size=(2, 4, 7, 3)).astype(np.float32)
    np.testing.assert_array_equal(again.serve(images), model(images))
