"""segframe_uresnet.resnet_unet: how encoder and decoder are joined, and what it refuses."""

import subprocess
import sys
from typing import get_args

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe import SegframeError
from segframe_uresnet import build_resnet_unet
from segframe_uresnet.encoders import Name, build_encoder

FACTS = {"image_shape": (64, 96, 3), "num_classes": 3}
NORM = {"momentum": 0.9, "epsilon": 1e-3}


def random_images(height=64, width=96, channels=3):
    return np.random.default_rng(0).normal(size=(2, height, width, channels)).astype(np.float32)


def built(**settings):
    keras.utils.set_random_seed(0)
    return build_resnet_unet(**FACTS | settings)


@pytest.mark.parametrize("decoder_filters", ["double", "same"])
@pytest.mark.parametrize("filters, attention, heads", [(4, False, 0), (3, True, 4)])
def test_parameters_are_the_encoders_and_the_decoders(decoder_filters, filters, attention, heads):
    skips, before, count = (0, 64, 64, 128, 256), 512, build_encoder("resnet18", 3, NORM).count_params()
    for level in reversed(range(5)):
        width = filters * 2**level
        if decoder_filters == "double":
            count += 9 * before * 2 * width + 9 * 2 * width * width + width
        else:
            count += 9 * before * width
        if attention and skips[level]:
            inner = skips[level] // 2
            count += (width + skips[level]) * inner + 4 * inner + inner + 1
        count += 9 * (width + skips[level]) * width + 9 * width * width + 2 * 4 * width
        count += 3 * width + 3 if level <= heads else 0
        before = width
    model = built(
        filters=filters, decoder_filters=decoder_filters, attention=attention, deep_supervision=heads
    )
    assert model.count_params() == count


def test_skips_are_the_encoders_maps_and_the_finest_level_has_none():
    model = built(filters=4)
    assert model.size_multiple == 32
    names = {layer.name for layer in model.layers}
    assert "decoder0_concat" not in names
    for level, name in enumerate(["encoder_stem_relu", "encoder1_block1_relu2", "encoder2_block1_relu2"], 1):
        sources = [
            each._keras_history.operation.name for each in model.get_layer(f"decoder{level}_concat").input
        ]
        assert sources == [f"decoder{level}_halve", name]
    assert model.get_layer("decoder4_up").input._keras_history.operation.name == "encoder4_block1_relu2"


def test_a_file_gives_the_encoder_its_weights(tmp_path):
    keras.utils.set_random_seed(9)
    encoder = build_encoder("resnet18", 3, NORM)
    encoder.save_weights(tmp_path / "a.weights.h5")
    model = built(filters=4, encoder_weights=str(tmp_path / "a.weights.h5"))
    own = {weight.path: weight for weight in model.weights}
    for weight in encoder.weights:
        np.testing.assert_array_equal(own[weight.path], weight)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", get_args(Name))
def test_every_encoder_trains_is_saved_and_compiles(encoder, tmp_path):
    settings = {"encoder": encoder, "filters": 4, "deep_supervision": 1}
    model, images = built(**settings), random_images()
    many = np.concatenate(
        [images + shift for shift in range(4)]
    )  # stochastic depth leaves a block out of some
    with tf.GradientTape() as tape:
        value = tf.add_n([tf.reduce_mean(tf.square(each - 1.0)) for each in model(many, training=True)])
    gradients = tape.gradient(value, [variable.value for variable in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None and np.isfinite(gradient).all() and np.any(gradient), variable.path
    wanted = model(images, training=False)
    compiled = tf.function(lambda images: model(images, training=False), jit_compile=True)(images)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")(images, training=False)
    for one, other, third in zip(wanted, compiled, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * np.abs(one).max())  # float32
        np.testing.assert_array_equal(one, third)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = built(**settings)
    finally:
        keras.config.set_dtype_policy("float32")
    for training in (False, True):
        for logits in half(images, training=training):
            assert logits.dtype == tf.float32 and np.isfinite(logits).all()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"encoder": "resnet19"}, "model.encoder: expected one of resnet18, .*, got 'resnet19'"),
        ({"deep_supervision": 5}, "model.deep_supervision: expected a number from 0 to 4, .* got 5"),
        ({"filters": 0}, "model.filters: expected a number from 1 to 4096, got 0"),
        ({"head": "sigmoid"}, "model.head: expected softmax for 3 classes, got 'sigmoid'"),
        (
            {"encoder_weights": "none.h5"},
            "model.encoder_weights: expected a file .* got 'none.h5', which is not",
        ),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SegframeError, match=message):
        build_resnet_unet(**FACTS, **settings)


def test_settings_and_the_file_are_checked_without_tensorflow():
    program = (
        "import sys, segframe, segframe_uresnet\n"
        "build = segframe_uresnet.build_resnet_unet\n"
        "try: build(image_shape=(8, 8, 1), num_classes=2, encoder_weights='none.h5')\n"
        "except segframe.SegframeError: print({'keras', 'tensorflow', 'numpy'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert shown.strip() == "set()"
