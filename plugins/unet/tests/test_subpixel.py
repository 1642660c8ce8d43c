"""segframe_unet.subpixel: which channel becomes which pixel, and that it starts without a checkerboard."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe_unet.subpixel import DepthToSpace2D
from segframe_unet.upsample import upsample_double


def random_values(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def subpixel(channels, filters):
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, channels))
    return keras.Model(image, upsample_double(image, filters, "subpixel", name="up"))


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("height, width", [(1, 1), (3, 5)])
def test_channels_become_pixels_as_tensorflows_op_says(jit_compile, dtype, height, width):
    features = tf.cast(random_values(2, height, width, 12), dtype)
    call = tf.function(
        DepthToSpace2D(dtype=dtype),
        jit_compile=jit_compile,
        input_signature=[tf.TensorSpec((None, None, None, 12), dtype)],
    )
    np.testing.assert_array_equal(call(features), tf.nn.depth_to_space(features, 2))
    assert call(features).dtype == dtype


def test_convolution_and_gradients_are_pytorchs_with_pixel_shuffle(torch):
    model, images = subpixel(3, 5), random_values(2, 4, 7, 3)
    kernel = random_values(3, 3, 3, 20)
    model.get_layer("up").kernel.assign(kernel)
    with tf.GradientTape() as tape:
        inputs = tf.constant(images)
        tape.watch(inputs)
        result = model(inputs)
        value = tf.reduce_sum(result**3)
    of_images, of_kernel = tape.gradient(value, [inputs, model.get_layer("up").kernel.value])

    # PyTorch's pixel_shuffle takes the four pixels of a channel side by side, TensorFlow's order all channels
    # of a pixel.
    order = np.arange(20).reshape(4, 5).T.ravel()
    theirs = torch.tensor(images.astype(np.float64).transpose(0, 3, 1, 2), requires_grad=True)
    weights = torch.tensor(kernel[..., order].astype(np.float64).transpose(3, 2, 0, 1), requires_grad=True)
    wanted = torch.nn.functional.pixel_shuffle(torch.nn.functional.conv2d(theirs, weights, padding=1), 2)
    (wanted**3).sum().backward()
    np.testing.assert_allclose(result, wanted.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-4)
    scale = np.abs(of_kernel).max()
    np.testing.assert_allclose(of_images, theirs.grad.numpy().transpose(0, 2, 3, 1), atol=1e-5 * scale)
    unordered = weights.grad.numpy().transpose(2, 3, 1, 0)[..., np.argsort(order)]
    np.testing.assert_allclose(of_kernel, unordered, atol=1e-5 * scale)


def test_starts_as_nearest_neighbours_of_a_convolution():
    model, images = subpixel(3, 5), random_values(2, 4, 7, 3)
    kernel = model.get_layer("up").kernel.numpy()
    convolved = tf.nn.conv2d(images, kernel[..., :5], 1, "SAME").numpy()
    np.testing.assert_allclose(model(images), convolved.repeat(2, axis=1).repeat(2, axis=2), atol=1e-6)


def test_starts_within_glorots_bound_of_one_sub_kernel():
    kernel = subpixel(30, 50).get_layer("up").kernel.numpy()
    bound = np.sqrt(6 / (9 * 30 + 9 * 50))
    assert 0.99 * bound < np.abs(kernel).max() <= bound
    assert abs(kernel.std() / (bound / np.sqrt(3)) - 1) < 0.02  # 13,500 draws


def test_the_same_after_saving(tmp_path):
    model, images = subpixel(3, 5), random_values(2, 4, 7, 3)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(images), model(images))
