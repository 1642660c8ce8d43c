"""segframe_unet.decoder: levels without a skip, and deep supervision's heads."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe import SegframeError
from segframe_unet import build_unet
from segframe_unet.blocks import double_conv
from segframe_unet.decoder import decode
from segframe_unet.settings import DecoderSettings

TINY = {"image_shape": (24, 40, 3), "num_classes": 3, "depth": 3, "filters": 2}
NORM = {"momentum": 0.9, "epsilon": 1e-3}


def random_images(height=24, width=40):
    return np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)


def built(**settings):
    keras.utils.set_random_seed(0)
    return build_unet(**TINY | settings)


@pytest.mark.parametrize("attention", [False, True])
def test_a_level_without_a_skip_goes_up_alone(attention):
    settings = DecoderSettings(3, 4, "transpose", "same", "softmax", NORM, "concat", attention, 0)
    deep, skip = keras.Input((None, None, 6)), keras.Input((None, None, 5))
    block = partial(double_conv, norm=NORM)
    model = keras.Model([deep, skip], decode(deep, [None, skip], block, settings))
    images = [np.zeros((1, 3, 4, 6), np.float32), np.zeros((1, 6, 8, 5), np.float32)]
    assert [each.shape for each in model(images)] == [(1, 12, 16, 4), (1, 6, 8, 8)]
    names = {layer.name for layer in model.layers}
    assert "decoder1_concat" in names and "decoder0_concat" not in names
    assert ("decoder1_attended" in names) == attention and "decoder0_attended" not in names


def test_one_output_without_deep_supervision():
    model = built()
    assert len(model.outputs) == 1 and not hasattr(model, "output_weights")
    assert isinstance(model(random_images()), tf.Tensor)


@pytest.mark.parametrize("head, classes, channels", [("softmax", 3, 3), ("sigmoid", 2, 1)])
@pytest.mark.parametrize("levels", [1, 2])
def test_every_output_is_of_the_images_size_and_weighs_half_of_the_one_before(
    head, classes, channels, levels
):
    model = built(deep_supervision=levels, head=head, num_classes=classes)
    assert model.output_weights == (1.0, 0.5, 0.25)[: levels + 1]
    for height, width in [(8, 8), (24, 40)]:
        outputs = model(random_images(height, width))
        assert len(outputs) == levels + 1
        for output in outputs:
            assert output.shape == (2, height, width, channels) and output.dtype == tf.float32


def test_heads_change_neither_weights_nor_logits_of_the_network():
    with_heads, plain = built(deep_supervision=2), built()
    np.testing.assert_array_equal(with_heads(random_images())[0], plain(random_images()))
    widths = [TINY["filters"] * 2**level for level in (1, 2)]
    assert with_heads.count_params() - plain.count_params() == sum(width * 3 + 3 for width in widths)


def test_a_head_reads_its_level_and_is_interpolated():
    model, images = built(deep_supervision=2), random_images()
    for level in (1, 2):
        head = model.get_layer(f"logits_aux{level}")
        assert head.input._keras_history.operation.name == f"decoder{level}_relu2"
        coarse = keras.Model(model.input, head.output)(images).numpy().astype(np.float64)
        factor, wanted = 2**level, coarse
        assert coarse.shape == (2, 24 // factor, 40 // factor, 3)
        for axis in (1, 2):  # linear between pixel centres, edges repeated
            sources = np.arange(coarse.shape[axis])
            centres = (np.arange(factor * len(sources)) + 0.5) / factor - 0.5
            lines = partial(np.interp, centres, sources)
            wanted = np.apply_along_axis(lines, axis, wanted)
        np.testing.assert_allclose(model(images)[level], wanted, rtol=1e-4, atol=1e-5)  # float32


def test_a_coarse_head_trains_its_level_and_those_below_but_not_those_above():
    model, images = built(deep_supervision=2), random_images()
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(tf.square(model(images, training=True)[2] - 1.0))
    gradients = tape.gradient(value, [weight.value for weight in model.trainable_weights])
    reached = {
        weight.path.split("/")[0]
        for weight, each in zip(model.trainable_weights, gradients, strict=True)
        if each is not None
    }
    assert {"encoder0_conv1", "decoder2_conv2", "logits_aux2"} <= reached
    assert not any(name.startswith(("decoder1", "decoder0", "logits_aux1")) for name in reached)
    assert "logits" not in reached


@pytest.mark.parametrize("levels", [-1, 3])
def test_more_heads_than_levels_are_refused(levels):
    with pytest.raises(SegframeError, match="model.deep_supervision: expected a number from 0 to 2, .* got"):
        build_unet(**TINY, deep_supervision=levels)


def test_auto_depth_says_how_many_heads_there_can_be():
    settings = TINY | {"depth": "auto", "image_shape": (40, 40, 3)}
    assert len(build_unet(**settings, deep_supervision=1).outputs) == 2
    with pytest.raises(SegframeError, match="expected a number from 0 to 1"):
        build_unet(**settings, deep_supervision=2)
