"""segframe_unet.transposed_conv against PyTorch and Keras: values, gradients, second derivatives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe_unet.transposed_conv import conv2d_transpose


def random_settings(count: int):
    """(images, kernel, settings) with an output of at least one pixel, always the same ones."""
    generator = np.random.default_rng(7)

    def pair(low, high):
        return tuple(generator.integers(low, high, 2).tolist())

    while count:
        size, kernel, strides, padding, dilation = pair(1, 8), pair(1, 6), pair(1, 5), pair(0, 5), pair(1, 4)
        limits = np.maximum(strides, dilation)
        # Half of them as large as allowed, since those above the stride are the rare and hard ones.
        output_padding = limits - 1 if generator.random() < 0.5 else generator.integers(0, limits)
        full = (np.array(size) - 1) * strides + np.array(dilation) * (np.array(kernel) - 1) + 1
        if (full - 2 * np.array(padding) + output_padding).min() < 1:
            continue
        count -= 1
        yield {
            "size": size,
            "kernel": kernel,
            "strides": strides,
            "padding": padding,
            "output_padding": tuple(output_padding.tolist()),
            "dilation": dilation,
            "use_cross_correlation": bool(generator.random() < 0.8),
            "data_format": "NHWC" if generator.random() < 0.8 else "NCHW",
        }


SETTINGS = list(random_settings(320))


def test_the_rare_settings_are_among_the_random_ones():
    def some(key, low):
        return sum(any(low(each)[axis] <= each[key][axis] for axis in (0, 1)) for each in SETTINGS)

    assert some("output_padding", lambda each: each["strides"]) >= 80
    assert some("output_padding", lambda each: [1 + padding for padding in each["padding"]]) >= 80
    assert some("dilation", lambda each: (2, 2)) >= 200


def near(actual, wanted):
    """Within 1e-12 of the largest number: float64, sums of at most a few thousand terms."""
    actual, wanted = np.asarray(actual), np.asarray(wanted)
    assert actual.shape == wanted.shape
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("case", SETTINGS, ids=[str(number) for number in range(len(SETTINGS))])
def test_pytorch_has_the_same_values_and_derivatives(torch, case):
    settings = dict(case)
    size, kernel_size = settings.pop("size"), settings.pop("kernel")
    generator = np.random.default_rng(0)
    images = generator.normal(size=(2, *size, 3))
    kernel = generator.normal(size=(*kernel_size, 2, 3))

    their_images, their_kernel = torch.tensor(images.transpose(0, 3, 1, 2)), torch.tensor(kernel)
    their_images.requires_grad_(), their_kernel.requires_grad_()
    seen = their_kernel if settings["use_cross_correlation"] else their_kernel.flip((0, 1))
    keys = ("padding", "output_padding", "dilation")
    out = torch.nn.functional.conv_transpose2d(
        their_images,
        seen.permute(3, 2, 0, 1),
        stride=settings["strides"],
        **{key: settings[key] for key in keys},
    )
    both = (their_images, their_kernel)
    first = torch.autograd.grad(out.sin().sum(), both, create_graph=True)
    second = torch.autograd.grad(sum(each.sin().sum() for each in first), both)

    images = images if settings["data_format"] == "NHWC" else images.transpose(0, 3, 1, 2)
    both = tf.constant(images), tf.constant(kernel)
    for cropped in (True, False):
        with tf.GradientTape() as outer:
            outer.watch(both)
            with tf.GradientTape() as inner:
                inner.watch(both)
                our_out = conv2d_transpose(*both, **settings, cropped=cropped)
                value = tf.reduce_sum(tf.sin(our_out))
            our_first = inner.gradient(value, both)
            value = sum(tf.reduce_sum(tf.sin(each)) for each in our_first)
        our_second = outer.gradient(value, both)
        turn = (0, 3, 1, 2) if settings["data_format"] == "NHWC" else (0, 1, 2, 3)
        near(np.transpose(our_out, turn), out.detach())
        for ours, theirs in ((our_first, first), (our_second, second)):
            near(np.transpose(ours[0], turn), theirs[0].detach())
            near(ours[1], theirs[1].detach())


@pytest.mark.parametrize("cropped", [True, False], ids=["cropped", "explicit"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [(1, 2), (2, 3), (4, 1)], ids=str)
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_and_valid_are_those_of_keras(padding, stride, dilation, cropped):
    generator = np.random.default_rng(0)
    images = tf.constant(generator.normal(size=(2, 4, 7, 3)))
    for size in ((1, 2), (3, 3), (2, 5), (4, 4), (5, 1)):  # with strides above the kernel's size among them
        kernel = tf.constant(generator.normal(size=(*size, 2, 3)))
        # TensorFlow's CPU kernels know no dilation: Keras is given the kernel with its zeros.
        dilated = np.zeros([dilation * (side - 1) + 1 for side in size] + [2, 3])
        dilated[::dilation, ::dilation] = kernel
        with tf.GradientTape() as tape:
            tape.watch(images)
            ours = conv2d_transpose(
                images, kernel, strides=stride, padding=padding, dilation=dilation, cropped=cropped
            )
            value = tf.reduce_sum(tf.sin(ours))
        of_ours = tape.gradient(value, images)
        with tf.GradientTape() as tape:
            tape.watch(images)
            theirs = keras.ops.conv_transpose(
                images, dilated, strides=stride, padding=padding, data_format="channels_last"
            )
            value = tf.reduce_sum(tf.sin(theirs))
        near(ours, theirs)
        near(of_ours, tape.gradient(value, images))
