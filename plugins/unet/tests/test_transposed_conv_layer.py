"""segframe_unet.transposed_conv_layer: what the layer adds to the function."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe import SegframeError
from segframe_unet.transposed_conv import conv2d_transpose
from segframe_unet.transposed_conv_layer import TransposedConv2D

EVERY_SETTING = {
    "kernel_size": (4, 3),
    "strides": (1, 3),
    "padding": (2, 1),
    "output_padding": (1, 2),
    "dilation": (2, 1),
    "use_bias": True,
    "use_cross_correlation": False,
    "data_format": "channels_first",
    "kernel_initializer": "magmadnn_normal",
    "bias_initializer": "ones",
    "kernel_regularizer": keras.regularizers.L2(0.5),
    "kernel_constraint": keras.constraints.NonNeg(),
}


def random_images(*shape):
    return np.random.default_rng(0).normal(size=shape or (2, 4, 7, 3)).astype(np.float32)


def assert_same_pixels(found, wanted):
    """Bit for bit on a CPU. A GPU picks its algorithm anew in each process, and may multiply in TF32."""
    if tf.config.list_physical_devices("GPU"):
        np.testing.assert_allclose(found, wanted, atol=2e-3)
    else:
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("use_bias, weights", [(False, 1), (True, 2)])
def test_layer_doubles_sizes_and_has_a_bias_when_asked(use_bias, weights):
    layer = TransposedConv2D(5, use_bias=use_bias)
    assert layer(random_images()).shape == (2, 8, 14, 5)
    assert layer.compute_output_shape((None, None, 7, 3)) == (None, None, 14, 5)
    assert len(layer.weights) == weights and layer.kernel.shape == (3, 3, 5, 3)


def test_defaults_are_magmadnns():
    config = TransposedConv2D(5).get_config()
    wanted = {"kernel_size": 3, "strides": 2, "padding": 1, "output_padding": 1, "dilation": 1}
    assert {key: config[key] for key in wanted} == wanted and not config["use_bias"]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_layer_is_the_function_plus_the_bias(data_format):
    layer = TransposedConv2D(5, **EVERY_SETTING | {"data_format": data_format})
    images = random_images(2, 3, 6, 3)
    out = layer(images)
    function = {key: EVERY_SETTING[key] for key in ("strides", "padding", "output_padding", "dilation")}
    function |= {"data_format": "NHWC" if data_format == "channels_last" else "NCHW"}
    wanted = conv2d_transpose(images, layer.kernel, use_cross_correlation=False, **function) + 1
    np.testing.assert_array_equal(out, wanted)
    assert layer.compute_output_shape(images.shape) == out.shape
    assert layer.kernel.shape == (4, 3, 5, 3) and len(layer.losses) == 1


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_layer_with_the_padding_of_keras_and_its_kernel_is_its_layer(padding):
    ours = TransposedConv2D(5, (2, 3), strides=(3, 2), padding=padding)
    theirs = keras.layers.Conv2DTranspose(5, (2, 3), strides=(3, 2), padding=padding, use_bias=False)
    ours(random_images()), theirs(random_images())
    assert ours.kernel.shape == theirs.kernel.shape  # the same layout, and so the same Glorot fans
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(random_images()), theirs(random_images()), atol=1e-6)  # float32


def test_magmadnns_initialiser_is_normal_with_deviation_0_2():
    values = keras.initializers.get("magmadnn_normal")((100, 100))
    # Standard errors of 10,000 numbers: 0.002 for the mean, 0.0014 for the deviation; five of each.
    assert abs(np.mean(values)) < 0.01 and abs(np.std(values) - 0.2) < 0.007


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_mixed_precision_computes_in_half_and_keeps_float32_weights(policy, jit_compile):
    layer, exact = TransposedConv2D(5, use_bias=True, dtype=policy), TransposedConv2D(5, use_bias=True)
    layer.build((None, None, None, 3)), exact.build((None, None, None, 3))
    exact.set_weights(layer.get_weights())

    @tf.function(jit_compile=jit_compile)
    def step(images):
        with tf.GradientTape() as tape:
            out = layer(images)
            value = tf.reduce_sum(tf.cast(out, tf.float32))
        return out, tape.gradient(value, [each.value for each in layer.trainable_variables])

    out, gradients = step(random_images())
    assert out.dtype == layer.compute_dtype
    assert [each.dtype for each in gradients] == [tf.float32] * 2
    # bfloat16 keeps 8 bits: each of some 12 terms of size one is off by up to 2 ** -9, the sum once more.
    np.testing.assert_allclose(tf.cast(out, tf.float32), exact(random_images()), atol=0.03)


def test_layer_made_again_from_its_config_has_the_same_one():
    layer = TransposedConv2D(5, **EVERY_SETTING)
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()


def test_model_loads_in_another_process_and_gives_the_same_pixels(tmp_path):
    image = keras.Input((None, None, 3))
    settings = EVERY_SETTING | {"data_format": "channels_last"}
    model = keras.Model(image, TransposedConv2D(5, **settings)(TransposedConv2D(3, padding="same")(image)))
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", random_images())
    load = """
import sys, keras, numpy as np
import segframe_unet.transposed_conv_layer
model = keras.saving.load_model(sys.argv[1] + "/model.keras")
assert model.layers[-1].kernel_initializer.stddev == 0.2
np.save(sys.argv[1] + "/out.npy", model(np.load(sys.argv[1] + "/images.npy")))
"""
    subprocess.run([sys.executable, "-c", load, str(tmp_path)], check=True)
    assert_same_pixels(np.load(tmp_path / "out.npy"), model(random_images()))


@pytest.mark.parametrize("settings", [{}, {"padding": 4}, {"dilation": 2, "padding": "valid"}], ids=str)
def test_exported_layer_gives_the_same_pixels_at_sizes_not_seen_before(tmp_path, settings):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, TransposedConv2D(5, **settings)(image))
    model.export(tmp_path / "saved", verbose=False)
    again = tf.saved_model.load(tmp_path / "saved")
    for shape in ((2, 4, 7, 3), (1, 9, 5, 3)):
        assert_same_pixels(again.serve(random_images(*shape)), model(random_images(*shape)))


def test_layer_trains_in_a_model_compiled_with_xla():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, TransposedConv2D(1)(image))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=True)
    masks = np.ones((2, 8, 14, 1), np.float32)
    losses = model.fit(random_images(), masks, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"filters": 0}, "filters .* >= 1, got 0"),
        ({"kernel_size": (3, 0)}, r"kernel_size .* >= 1, .* got \(3, 0\)"),
        ({"output_padding": 2}, "output_padding .* below max"),
        ({"data_format": "NHWC"}, "data_format .* channels_last or channels_first, got 'NHWC'"),
    ],
)
def test_settings_out_of_range_are_refused_when_the_layer_is_made(settings, message):
    with pytest.raises(SegframeError, match=message):
        TransposedConv2D(**{"filters": 5} | settings)


def test_images_that_do_not_fit_are_refused():
    layer = TransposedConv2D(5, padding=4)
    with pytest.raises(ValueError, match="expected ndim=4, found ndim=3"):
        layer(random_images(4, 7, 3))
    layer(random_images(1, 4, 7, 3))
    with pytest.raises(ValueError, match="expected axis 3 of input shape to have value 3"):
        layer(random_images(1, 4, 7, 2))
    with pytest.raises(RuntimeError, match=r"output height .* \(3 - 1\) \* 2 - 2 \* 4 .* = 0"):
        layer(random_images(1, 3, 7, 3))
