"""segframe_unet.transposed_conv against a direct reading of its formula, and its two forms compared."""

import numpy as np
import pytest
import tensorflow as tf

from segframe import SegframeError
from segframe_unet.transposed_conv import conv2d_transpose

# kernel, stride, padding, output_padding; the last two have output_padding above padding
SETTINGS = [
    (3, 2, 1, 1),
    (3, 2, 1, 0),
    (2, 2, 0, 0),
    (4, 2, 1, 0),
    (5, 3, 2, 1),
    (3, 1, 1, 0),
    (1, 2, 0, 1),
    (3, 3, 1, 2),
]
FORMS = pytest.mark.parametrize("cropped", [True, False], ids=["cropped", "explicit"])
EACH_SETTING = pytest.mark.parametrize("kernel_size, stride, padding, output_padding", SETTINGS)


def random_inputs(kernel_size, dtype=np.float64):
    generator = np.random.default_rng(0)
    images = generator.normal(size=(2, 4, 7, 3)).astype(dtype)
    return images, generator.normal(size=(kernel_size, kernel_size, 2, 3)).astype(dtype)


def by_definition(images, kernel, upstream, stride, padding, output_padding):
    """(out, gradient of sum(upstream * out) to images, to kernel); upstream=None is ones."""
    size = len(kernel)
    sides = [
        (side - 1) * stride - 2 * padding + (size - 1) + 1 + output_padding for side in images.shape[1:3]
    ]
    out = np.zeros((len(images), *sides, kernel.shape[2]))
    upstream = np.ones_like(out) if upstream is None else upstream
    of_images, of_kernel = np.zeros_like(images), np.zeros_like(kernel)
    for i, j in np.ndindex(*images.shape[1:3]):
        for k, m in np.ndindex(size, size):
            row, column = i * stride - padding + k, j * stride - padding + m
            if 0 <= row < sides[0] and 0 <= column < sides[1]:
                out[:, row, column] += images[:, i, j] @ kernel[k, m].T
                of_images[:, i, j] += upstream[:, row, column] @ kernel[k, m]
                of_kernel[k, m] += upstream[:, row, column].T @ images[:, i, j]
    return out, of_images, of_kernel


@FORMS
@EACH_SETTING
def test_value_and_gradients_are_the_definitions(cropped, kernel_size, stride, padding, output_padding):
    settings = {"stride": stride, "padding": padding, "output_padding": output_padding}
    images, kernel = map(tf.constant, random_inputs(kernel_size))
    with tf.GradientTape() as tape:
        tape.watch([images, kernel])
        out = conv2d_transpose(images, kernel, **settings, cropped=cropped)
        upstream = np.random.default_rng(1).normal(size=out.shape)
        value = tf.reduce_sum(upstream * out)
    of_images, of_kernel = tape.gradient(value, [images, kernel])
    expected = by_definition(images.numpy(), kernel.numpy(), upstream, **settings)
    for actual, wanted in zip((out, of_images, of_kernel), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-12)  # sums of some 100 terms in float64


@EACH_SETTING
@pytest.mark.parametrize("traced", [False, True], ids=["eager", "graph"])
def test_second_derivatives_of_the_two_forms_agree(kernel_size, stride, padding, output_padding, traced):
    settings = {"stride": stride, "padding": padding, "output_padding": output_padding}
    images, kernel = map(tf.constant, random_inputs(kernel_size))

    def second(images, kernel, cropped):
        with tf.GradientTape() as outer:
            outer.watch([images, kernel])
            with tf.GradientTape() as inner:
                inner.watch([images, kernel])
                value = tf.reduce_sum(tf.sin(conv2d_transpose(images, kernel, **settings, cropped=cropped)))
            first = inner.gradient(value, [images, kernel])
            penalty = sum(tf.reduce_sum(tf.sin(each)) for each in first)
        return outer.gradient(penalty, [images, kernel])

    second = tf.function(second) if traced else second
    for actual, wanted in zip(second(images, kernel, True), second(images, kernel, False), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-11)
        assert np.abs(wanted).max() > 0.1


@FORMS
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("output_padding", [0, 1])
def test_sizes_may_be_unknown(cropped, jit_compile, output_padding):
    images, kernel = random_inputs(3, np.float32)

    @tf.function(
        jit_compile=jit_compile,
        input_signature=[tf.TensorSpec((None, None, None, 3)), tf.TensorSpec(kernel.shape)],
    )
    def value_and_gradients(images, kernel):
        with tf.GradientTape() as tape:
            tape.watch([images, kernel])
            out = conv2d_transpose(images, kernel, output_padding=output_padding, cropped=cropped)
            value = tf.reduce_sum(out)
        return out, *tape.gradient(value, [images, kernel])

    expected = by_definition(images, kernel, None, 2, 1, output_padding)
    for actual, wanted in zip(value_and_gradients(images, kernel), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-4)


@FORMS
def test_example_of_the_slides(cropped):
    images = tf.reshape([1.0, 2.0, 3.0, 4.0], (1, 2, 2, 1))
    out = conv2d_transpose(
        images, tf.ones((1, 1, 1, 1)), stride=2, padding=0, output_padding=1, cropped=cropped
    )
    np.testing.assert_array_equal(out[0, :, :, 0], [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("gpus, padding", [([], b"VALID"), (["GPU:0"], b"EXPLICIT")], ids=["cpu", "gpu"])
def test_form_follows_the_device(monkeypatch, gpus, padding):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    graph = tf.function(conv2d_transpose).get_concrete_function(*map(tf.constant, random_inputs(3))).graph
    ops = [op for op in graph.get_operations() if op.type == "Conv2DBackpropInput"]
    assert [op.get_attr("padding") for op in ops] == [padding]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"output_padding": 2}, r"output_padding .* in 0\.\.1, below stride, got 2"),
        ({"stride": 0}, "stride .* >= 1, got 0"),
        ({"padding": -1}, "padding .* >= 0, got -1"),
        ({"padding": 5}, r"\(4 - 1\) \* 2 - 2 \* 5 \+ \(3 - 1\) \+ 1 \+ 1 = 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SegframeError, match=message):
        conv2d_transpose(*random_inputs(3), **settings)
