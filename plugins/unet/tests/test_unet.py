"""segframe_unet.unet: its shape, its numbers and what it refuses."""

import inspect
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe import SegframeError
from segframe_unet import build_unet, segframe_models
from segframe_unet.settings import auto_depth

FACTS = {"image_shape": (20, 28, 3), "num_classes": 3}
TINY = FACTS | {"depth": 2, "filters": 2}


def random_images(height=20, width=28, channels=3):
    return np.random.default_rng(0).normal(size=(2, height, width, channels)).astype(np.float32)


def parameters_by_definition(depth, filters, decoder_filters, channels, outputs):
    """Weights of each convolution, and four numbers a channel for each batch normalisation."""
    count = 0
    for level in range(depth + 1):
        width = filters * 2**level
        count += 9 * channels * width + 4 * width + 9 * width * width + 4 * width
        channels = width
    for level in range(depth - 1, -1, -1):
        width = filters * 2**level
        if decoder_filters == "double":
            count += 9 * channels * 2 * width + (9 * 2 * width * width + width)
        else:
            count += 9 * channels * width
        count += 9 * (width + width) * width + 4 * width + 9 * width * width + 4 * width
        channels = width
    return count + channels * outputs + outputs


@pytest.mark.parametrize("decoder_filters", ["double", "same"])
@pytest.mark.parametrize("depth, filters", [(1, 3), (2, 4), (4, 2), (4, 16)])
def test_number_of_parameters_follows_from_the_shapes(depth, filters, decoder_filters):
    model = build_unet(**FACTS, depth=depth, filters=filters, decoder_filters=decoder_filters)
    assert model.count_params() == parameters_by_definition(depth, filters, decoder_filters, 3, 3)


def sources(layer):
    """The layers whose outputs a layer takes."""
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    return [each._keras_history.operation for each in inputs]


@pytest.mark.parametrize("decoder_filters", ["double", "same"])
def test_layers_follow_the_drawing(decoder_filters):
    model = build_unet(**FACTS, depth=1, filters=2, dropout=0.1, decoder_filters=decoder_filters)
    path = [model.get_layer("logits")]
    while not isinstance(path[-1], keras.layers.InputLayer):
        path.append(sources(path[-1])[0])  # at a concatenation: the upsampled, not the skip
    block = 2 * ["PartsConv2D", "BatchNormalization", "ReLU"]
    up = ["TransposedConv2D", "Conv2D"] if decoder_filters == "double" else ["TransposedConv2D"]
    drawing = ["InputLayer", *block, "Dropout", "MaxPooling2D", *block, "Dropout"]
    drawing += [*up, "Concat", *block, "Conv2D"]
    assert [type(layer).__name__ for layer in reversed(path)] == drawing
    assert sources(model.get_layer("decoder0_concat"))[1].name == "encoder0_dropout"


def test_only_convolutions_before_a_normalisation_lack_a_bias():
    model = build_unet(**TINY)
    with_bias = [
        each.name for each in model.layers if isinstance(each, keras.layers.Conv2D) and each.use_bias
    ]
    assert with_bias == ["decoder1_halve", "decoder0_halve", "logits"]


def test_any_multiple_of_size_multiple_works():
    model = build_unet(**TINY)
    assert model.size_multiple == 4
    for height, width in [(4, 4), (4, 8), (20, 12)]:
        assert model(random_images(height, width)).shape == (2, height, width, 3)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"decoder_filters": "same", "dropout": 0.2, "norm_momentum": 0.99},
        {"upsample": "bilinear"},
        {"upsample": "subpixel"},
        {"upsample": "nearest", "decoder_filters": "same"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())) or "default",
)
def test_gradient_is_finite_and_reaches_every_weight(settings, jit_compile):
    keras.utils.set_random_seed(0)
    model = build_unet(**TINY | {"depth": 1}, **settings)
    images = random_images()

    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec((None, None, None, 3))])
    def gradients(images):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(tf.square(model(images, training=True) - 1.0))
        return tape.gradient(value, [weight.value for weight in model.trainable_weights])

    for weight, gradient in zip(model.trainable_weights, gradients(images), strict=True):
        assert np.isfinite(gradient).all() and np.any(gradient), weight.path


def test_compiled_by_xla_gives_the_same_logits():
    model, images = build_unet(**TINY | {"depth": 1}), random_images()
    compiled = tf.function(model, jit_compile=True)
    np.testing.assert_allclose(compiled(images), model(images), rtol=1e-4, atol=1e-5)  # float32, other order


def test_same_seed_gives_the_same_weights():
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        models.append(build_unet(**TINY))
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


def test_sigmoid_head_gives_one_logit():
    model = build_unet(**TINY | {"num_classes": 2}, head="sigmoid")
    assert model(random_images()).shape == (2, 20, 28, 1)


@pytest.mark.parametrize("upsample", ["transpose", "bilinear", "nearest", "subpixel"])
def test_saved_model_gives_the_same_logits(tmp_path, upsample):
    model, images = build_unet(**TINY, upsample=upsample), random_images()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(images), model(images))


def test_bfloat16_gives_float32_logits():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_unet(**TINY)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("decoder0_up").compute_dtype == "bfloat16"
    assert model(random_images()).dtype == tf.float32


@pytest.mark.parametrize(
    "height, width, depth",
    [
        (1, 1, 1),
        (8, 8, 1),
        (31, 999, 1),
        (32, 40, 2),
        (64, 64, 3),
        (127, 128, 3),
        (128, 128, 4),
        (999, 999, 4),
    ],
)
def test_auto_depth_leaves_8_pixels_at_the_deepest_level(height, width, depth):
    assert auto_depth((height, width, 3)) == auto_depth((width, height, 3)) == depth
    assert depth == 1 or min(height, width) / 2**depth >= 8


def test_auto_depth_is_what_the_model_is_built_with():
    assert build_unet(**TINY | {"image_shape": (70, 50, 3), "depth": "auto"}).size_multiple == 4


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"depth": 0}, 'model.depth: expected a number from 1 to 10 or "auto", got 0'),
        ({"filters": 0}, "model.filters: expected a number from 1 to 4096, got 0"),
        ({"dropout": 1.0}, "model.dropout: expected a share, 0 <= dropout < 1, got 1.0"),
        ({"norm_momentum": 1.0}, "model.norm_momentum: expected a share .* got 1.0"),
        ({"norm_epsilon": 0.0}, "model.norm_epsilon: expected a number above 0, got 0.0"),
        ({"head": "sigmoid"}, "model.head: expected softmax for 3 classes, got 'sigmoid'"),
        (
            {"upsample": "cubic"},
            "model.upsample: expected one of transpose, bilinear, nearest, subpixel, got 'cubic'",
        ),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SegframeError, match=message):
        build_unet(**FACTS, **settings)


def test_settings_are_checked_without_tensorflow():
    program = (
        "import sys, segframe, segframe_unet\n"
        "try: segframe_unet.build_unet(image_shape=(8, 8, 1), num_classes=2, depth=0)\n"
        "except segframe.SegframeError: print({'keras', 'tensorflow', 'numpy'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert shown.strip() == "set()"


def test_hook_offers_a_builder_whose_annotations_can_be_read_and_that_takes_no_block():
    builder = segframe_models()["unet"]
    parameters = inspect.signature(builder).parameters
    for each in parameters.values():
        eval(each.annotation, builder.__globals__)
    assert "block" not in parameters
