"""segframe_unet.upsample: sizes, channels, and what interpolation is."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe_unet.upsample import BilinearUpsampling2D, upsample_double

WEIGHTS = {"transpose": 9 * 3 * 5, "bilinear": 9 * 3 * 5, "nearest": 9 * 3 * 5, "subpixel": 9 * 3 * 4 * 5}


@pytest.mark.parametrize("how", WEIGHTS)
def test_every_way_doubles_sizes_and_has_one_kernel(how):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, upsample_double(image, 5, how, name="up"))
    assert model.output.shape == (None, None, None, 5)
    assert model(np.zeros((2, 4, 7, 3), np.float32)).shape == (2, 8, 14, 5)
    assert model.count_params() == WEIGHTS[how]
    assert [weight.path for weight in model.weights] == ["up/kernel"]


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("height, width", [(1, 1), (4, 7)])
def test_bilinear_has_half_pixel_centres_and_repeats_edges(jit_compile, height, width):
    images = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    wanted = images.astype(np.float64)
    for axis in (1, 2):
        pads = [(1, 1) if each == axis else (0, 0) for each in range(4)]
        padded = np.pad(wanted, pads, mode="edge")
        before, after = (np.take(padded, np.arange(wanted.shape[axis]) + shift, axis) for shift in (0, 2))
        pair = np.stack([(before + 3 * wanted) / 4, (3 * wanted + after) / 4], axis + 1)
        wanted = pair.reshape([n * 2 if i == axis else n for i, n in enumerate(wanted.shape)])
    call = tf.function(
        BilinearUpsampling2D(),
        jit_compile=jit_compile,
        input_signature=[tf.TensorSpec((None, None, None, 3))],
    )
    np.testing.assert_allclose(call(images), wanted, atol=1e-6)  # float32


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_bilinear_by_a_factor_is_linear_between_pixel_centres(factor):
    images = np.random.default_rng(0).normal(size=(1, 3, 5, 2)).astype(np.float32)
    wanted = images.astype(np.float64)
    for axis in (1, 2):
        sources = np.arange(wanted.shape[axis])
        centres = (np.arange(factor * len(sources)) + 0.5) / factor - 0.5  # np.interp repeats the edges
        wanted = np.apply_along_axis(partial(np.interp, centres, sources), axis, wanted)
    np.testing.assert_allclose(BilinearUpsampling2D(factor)(images), wanted, atol=1e-6)  # float32


def test_bilinear_keeps_the_policys_dtype():
    assert BilinearUpsampling2D(dtype="mixed_bfloat16")(np.ones((1, 2, 3, 1))).dtype == tf.bfloat16
