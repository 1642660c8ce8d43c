"""segframe_uresnet.uresnet: the residual block, and that the rest is the U-Net's."""

import inspect
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe import SegframeError
from segframe_unet import build_unet
from segframe_uresnet import build_uresnet
from segframe_uresnet.residual import residual_block

NORM = {"momentum": 0.9, "epsilon": 1e-3}

TINY = {"image_shape": (20, 28, 3), "num_classes": 3, "depth": 2, "filters": 2}


def random_images(height=20, width=28, channels=3):
    return np.random.default_rng(0).normal(size=(2, height, width, channels)).astype(np.float32)


def test_takes_the_unets_settings_with_the_same_defaults():
    own, unets = (inspect.signature(each).parameters for each in (build_uresnet, build_unet))
    assert {key: own[key] for key in unets} == dict(unets)
    assert set(own) - set(unets) == {"block", "activation_order", "downsample"}


def parameters_by_definition(depth, filters, channels, outputs, block, order, downsample):
    """Weights of each convolution, and four numbers a channel for each normalisation; decoder "same"."""

    def unit(before, width, *, decoder=False, activated=False, strides=False):
        inner = width // 4
        if block == "basic":
            count, inside = 9 * before * width + 9 * width * width, [width]
        else:
            count = before * inner + 9 * inner * inner + inner * width
            inside = [inner, inner]
        normalised = [*inside, width] if order == "post" else [*inside, 0 if activated else before]
        if decoder or before != width or strides:
            count += before * width + (4 * width if order == "post" else 0)
        return count + 4 * sum(normalised)

    count, before = 0, channels
    if order == "pre":
        count, before = 9 * channels * filters + 4 * filters, filters
    for level in range(depth + 1):
        width = filters * 2**level
        strides = downsample == "stride" and level > 0
        count += unit(before, width, activated=level == 0, strides=strides)
        before = width
    for level in reversed(range(depth)):
        width = filters * 2**level
        count += 9 * 2 * width * width + unit(2 * width, width, decoder=True)
    return count + (4 * filters if order == "pre" else 0) + filters * outputs + outputs


@pytest.mark.parametrize("downsample", ["pool", "stride"])
@pytest.mark.parametrize("order", ["post", "pre"])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("depth, filters, channels", [(1, 4, 1), (2, 4, 4), (3, 8, 3)])
def test_number_of_parameters_follows_from_the_shapes(depth, filters, channels, block, order, downsample):
    facts = {"image_shape": (32, 32, channels), "num_classes": 3}
    settings = {"block": block, "activation_order": order, "downsample": downsample}
    model = build_uresnet(**facts, **settings, depth=depth, filters=filters, decoder_filters="same")
    wanted = parameters_by_definition(depth, filters, channels, 3, block, order, downsample)
    assert model.count_params() == wanted


@pytest.mark.parametrize("block, halving", [("basic", "conv1"), ("bottleneck", "conv2")])
@pytest.mark.parametrize("order", ["post", "pre"])
def test_stride_stands_in_for_pooling(order, block, halving):
    settings = TINY | {"filters": 4, "block": block, "activation_order": order}
    pooled = build_uresnet(**settings)
    strided = build_uresnet(**settings, downsample="stride")
    assert {layer.name for layer in pooled.layers if "_pool" in layer.name} == {
        "encoder0_pool",
        "encoder1_pool",
    }
    assert not any("_pool" in layer.name for layer in strided.layers)
    halves = {layer.name for layer in strided.layers if getattr(layer, "strides", 1) == (2, 2)}
    downs = {f"encoder{level}_{name}" for level in (1, 2) for name in (halving, "shortcut_pick")}
    assert halves - {"decoder0_up", "decoder1_up"} == downs


@pytest.mark.slow
def test_compiled_gradients_with_strides_are_those_of_eager():
    # In a process of its own: strided 1x1 convolutions ended it by corrupting its memory.
    program = """
import numpy as np, tensorflow as tf, keras
from segframe_uresnet import build_uresnet
keras.utils.set_random_seed(0)
model = build_uresnet(image_shape=(64, 64, 3), num_classes=2, filters=8, depth=2, downsample="stride")
weights = [weight.value for weight in model.trainable_weights]
def gradients(images):
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(tf.square(model(images, training=True) - 1.0))
    return tape.gradient(value, weights)
compiled = tf.function(gradients, reduce_retracing=True)
for batch in (4, 4, 2, 4):
    images = tf.random.normal((batch, 64, 64, 3))
    for one, other in zip(compiled(images), gradients(images), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-4)  # float32 sums in another order
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_preactivation_has_an_activated_stem_and_activates_before_each_head():
    model = build_uresnet(**TINY | {"depth": 3}, activation_order="pre", deep_supervision=2)
    head = {"logits": "decoder0_add", "logits_aux1": "decoder1_add", "logits_aux2": "decoder2_add"}
    for name, level in head.items():
        for layer in (f"{name}_relu", f"{name}_norm", level):
            source = model.get_layer(name).input._keras_history.operation
            assert source.name == layer
            name = layer
    first = model.get_layer("encoder0_add").input
    assert first[1]._keras_history.operation.name == "stem_relu"
    assert model.get_layer("encoder0_conv1").input._keras_history.operation.name == "stem_relu"
    assert model.get_layer("stem").input._keras_history.operation.name == "image"


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"block": "bottleneck", "filters": 6},
            "model.filters: expected a multiple of 4 for bottlenecks, got 6",
        ),
        ({"block": "deep"}, "model.block: expected one of basic, bottleneck, got 'deep'"),
        ({"activation_order": "both"}, "model.activation_order: expected one of post, pre, got 'both'"),
        ({"downsample": "none"}, "model.downsample: expected one of pool, stride, got 'none'"),
        ({"deep_supervision": 2}, "model.deep_supervision: expected a number from 0 to 1, .* got 2"),
    ],
)
def test_options_out_of_range_are_refused(settings, message):
    with pytest.raises(SegframeError, match=message):
        build_uresnet(**TINY | settings)


@pytest.mark.parametrize("decoder_filters", ["double", "same"])
@pytest.mark.parametrize("depth, filters, channels", [(1, 3, 1), (3, 2, 2), (4, 16, 3)])
def test_has_the_unets_parameters_and_those_of_its_projections(depth, filters, channels, decoder_filters):
    settings = {"depth": depth, "filters": filters, "decoder_filters": decoder_filters}
    facts = {"image_shape": (32, 32, channels), "num_classes": 3}
    projections, before = 0, channels
    for level in range(depth + 1):
        width = filters * 2**level
        projections += (before * width + 4 * width) * (before != width)
        before = width
    for level in range(depth):
        width = filters * 2**level
        projections += 2 * width * width + 4 * width  # after a concatenation there are twice the channels
    more = build_uresnet(**facts, **settings).count_params() - build_unet(**facts, **settings).count_params()
    assert more == projections


@pytest.mark.parametrize("channels", [4, 3], ids=["identity", "projection"])
def test_block_adds_its_input_before_the_last_relu(channels):
    image = keras.Input((None, None, channels))
    model = keras.Model(image, residual_block([image], 4, norm=NORM, name="block"))
    for number in (1, 2):
        model.get_layer(f"block_conv{number}").kernel.assign(
            np.zeros_like(model.get_layer(f"block_conv{number}").kernel)
        )
    images = random_images(5, 7, channels)
    through = images
    if channels != 4:
        kernel = model.get_layer("block_shortcut").kernel.numpy()[0, 0]
        through = images @ kernel / np.sqrt(1 + 1e-3)  # a fresh batch normalisation: mean 0, variance 1
    np.testing.assert_allclose(model(images), np.maximum(through, 0), rtol=1e-5, atol=1e-6)


def test_branch_is_two_normalised_convolutions_with_one_relu_between():
    image = keras.Input((None, None, 4))
    model = keras.Model(image, residual_block([image], 4, norm=NORM, name="block"))
    names = [type(layer).__name__ for layer in model.layers]
    convolution = ["PartsConv2D", "BatchNormalization"]
    assert names == ["InputLayer", *convolution, "ReLU", *convolution, "Add", "ReLU"]


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_gradient_is_finite_and_reaches_every_weight(jit_compile):
    keras.utils.set_random_seed(0)
    model, images = build_uresnet(**TINY | {"depth": 1}), random_images()

    @tf.function(jit_compile=jit_compile)
    def gradients(images):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(tf.square(model(images, training=True) - 1.0))
        return tape.gradient(value, [weight.value for weight in model.trainable_weights])

    for weight, gradient in zip(model.trainable_weights, gradients(images), strict=True):
        assert np.isfinite(gradient).all() and np.any(gradient), weight.path


def test_saved_model_gives_the_same_logits(tmp_path):
    model, images = build_uresnet(**TINY), random_images()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(images), model(images))


def test_settings_out_of_range_are_refused():
    with pytest.raises(SegframeError, match="model.dropout: expected a share"):
        build_uresnet(**TINY, dropout=-0.1)
