"""segframe_unet.transposed_conv: the slides' example, numeric gradients, sizes, XLA, forms and refusals."""

import numpy as np
import pytest
import tensorflow as tf

from segframe import SegframeError
from segframe_unet.transposed_conv import conv2d_transpose

FORMS = pytest.mark.parametrize("cropped", [True, False], ids=["cropped", "explicit"])
EACH_SETTING = pytest.mark.parametrize(
    "kernel_size, settings",
    [
        ((3, 3), {}),
        ((2, 2), {"padding": 0, "output_padding": 0}),
        ((4, 3), {"strides": (2, 3), "padding": (1, 2), "output_padding": (0, 1)}),
        ((3, 1), {"strides": (1, 3), "padding": 0, "output_padding": (1, 2), "dilation": (2, 1)}),
        ((3, 2), {"strides": 1, "output_padding": 2, "dilation": 3, "use_cross_correlation": False}),
        ((5, 3), {"padding": "same", "data_format": "NCHW"}),
        ((3, 3), {"data_format": "NCHW"}),
        ((2, 3), {"padding": "valid", "strides": 3}),
    ],
    ids=str,
)


def random_inputs(kernel_size=(3, 3), dtype=np.float64, data_format="NHWC", **_):
    generator = np.random.default_rng(0)
    images = generator.normal(size=(2, 4, 7, 3)).astype(dtype)
    images = images if data_format == "NHWC" else images.transpose(0, 3, 1, 2)
    return images, generator.normal(size=(*kernel_size, 2, 3)).astype(dtype)


@FORMS
def test_example_of_the_slides(cropped):
    images = tf.reshape([1.0, 2.0, 3.0, 4.0], (1, 2, 2, 1))
    settings = {"strides": 2, "padding": 0, "output_padding": 1}
    out = conv2d_transpose(images, tf.ones((1, 1, 1, 1)), **settings, cropped=cropped)
    np.testing.assert_array_equal(out[0, :, :, 0], [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]])


def test_a_flipped_kernel_is_seen_from_its_other_corner():
    kernel = np.arange(6.0).reshape(2, 3, 1, 1)
    settings = {"padding": 0, "output_padding": 0, "use_cross_correlation": False}
    out = conv2d_transpose(np.ones((1, 1, 1, 1)), kernel, **settings)
    np.testing.assert_array_equal(out[0, :, :, 0], [[5, 4, 3], [2, 1, 0]])


@FORMS
@EACH_SETTING
def test_gradients_are_the_numeric_ones(cropped, kernel_size, settings):
    generator = np.random.default_rng(1)
    images, kernel = random_inputs(kernel_size, **settings)
    upstream = generator.normal(size=conv2d_transpose(images, kernel, **settings).shape)

    def value(images, kernel):
        return tf.reduce_sum(upstream * conv2d_transpose(images, kernel, **settings, cropped=cropped))

    inputs = tf.constant(images), tf.constant(kernel)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        out = value(*inputs)
    for place, gradient in enumerate(tape.gradient(out, inputs)):
        direction = generator.normal(size=inputs[place].shape)

        def moved(by, place=place, direction=direction):
            return value(*(each + by * direction if n == place else each for n, each in enumerate(inputs)))

        difference = moved(0.5) - moved(-0.5)
        # Linear in each of the two, so that a central difference of any width is exact but for rounding.
        np.testing.assert_allclose(difference, tf.reduce_sum(direction * gradient), rtol=1e-11, atol=1e-11)


@EACH_SETTING
@pytest.mark.parametrize("known", [True, False], ids=["static", "dynamic"])
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_graphs_have_the_values_and_gradients_of_eager(kernel_size, settings, known, jit_compile):
    def values_and_gradients(images, kernel):
        results = []
        for cropped in (True, False):
            with tf.GradientTape() as tape:
                tape.watch([images, kernel])
                out = conv2d_transpose(images, kernel, **settings, cropped=cropped)
                value = tf.reduce_sum(tf.sin(out))
            results += [out, *tape.gradient(value, [images, kernel])]
        return results

    images, kernel = map(tf.constant, random_inputs(kernel_size, **settings))
    channels_last = settings.get("data_format", "NHWC") == "NHWC"
    unknown = (None, None, None, 3) if channels_last else (None, 3, None, None)
    signature = [tf.TensorSpec(images.shape if known else unknown, tf.float64)]
    signature.append(tf.TensorSpec(kernel.shape, tf.float64))
    graph = tf.function(values_and_gradients, jit_compile=jit_compile, input_signature=signature)
    expected = values_and_gradients(images, kernel)
    if known:
        assert graph.get_concrete_function().outputs[0].shape == expected[0].shape
    for actual, wanted in zip(graph(images, kernel), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-12)  # sums of some 100 terms in float64


@pytest.mark.parametrize("gpus, scope, padding", [
    ([], "", b"VALID"),
    (["GPU:0"], "", b"EXPLICIT"),
    (["GPU:0"], "/device:CPU:0", b"VALID"),
], ids=["cpu", "gpu", "gpu_but_on_cpu"])  # fmt: skip
def test_form_follows_the_device(monkeypatch, gpus, scope, padding):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)

    def placed(images, kernel):
        with tf.device(scope):
            return conv2d_transpose(images, kernel)

    graph = tf.function(placed).get_concrete_function(*map(tf.constant, random_inputs())).graph
    ops = [op for op in graph.get_operations() if op.type == "Conv2DBackpropInput"]
    assert [op.get_attr("padding") for op in ops] == [padding]


@pytest.mark.parametrize("gpus, data_format", [([], b"NHWC"), (["GPU:0"], b"NCHW")], ids=["cpu", "gpu"])
def test_nchw_is_transposed_where_the_device_has_no_kernel(monkeypatch, gpus, data_format):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    call = tf.function(lambda *inputs: conv2d_transpose(*inputs, data_format="NCHW"))
    graph = call.get_concrete_function(*map(tf.constant, random_inputs(data_format="NCHW"))).graph
    types = [op.type for op in graph.get_operations()]
    op = graph.get_operations()[types.index("Conv2DBackpropInput")]
    assert op.get_attr("data_format") == data_format
    assert types.count("Transpose") == (2 if data_format == b"NHWC" else 0)


@pytest.mark.parametrize("padding", [1, "same", "valid"])
def test_pads_that_tensorflow_has_a_name_for_need_no_crop(padding):
    settings = {"padding": padding, "output_padding": 0 if padding == 1 else None}
    call = tf.function(lambda *inputs: conv2d_transpose(*inputs, **settings, cropped=True))
    graph = call.get_concrete_function(*map(tf.constant, random_inputs())).graph
    assert "Slice" not in [op.type for op in graph.get_operations()]


@FORMS
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("size", [1, 2, 3])  # outputs of -4, -2 and 0 pixels
def test_sizes_unknown_while_tracing_are_checked_when_the_graph_runs(cropped, jit_compile, size):
    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec((None, None, None, 3), tf.float64)])
    def call(images):
        return conv2d_transpose(images, random_inputs()[1], padding=4, cropped=cropped)

    assert call(np.ones((1, 4, 5, 3))).shape == (1, 2, 4, 2)
    message = None if jit_compile else r"\(in - 1\) \* 2 - 2 \* 4 \+ 1 \* \(3 - 1\) \+ 1 \+ 1"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(np.ones((1, 5, size, 3)))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"output_padding": 2}, r"output_padding .* in 0\.\.1, below max\(stride, dilation\), got 2"),
        ({"output_padding": (0, 3), "dilation": (4, 3)}, r"in 0\.\.2, below max\(stride, dilation\), got 3"),
        ({"output_padding": 1, "padding": "same"}, 'None with padding="same", which sets the size, got 1'),
        ({"strides": 0}, "strides .* >= 1, or two of them .*, got 0"),
        ({"strides": (2, 2, 2)}, r"strides .* two of them .*, got \(2, 2, 2\)"),
        ({"dilation": 1.5}, "dilation .* got 1.5"),
        ({"padding": (0, -1)}, r"padding .* >= 0.*, got \(0, -1\)"),
        ({"padding": "full"}, '"same" or "valid", got \'full\''),
        ({"data_format": "CHWN"}, "data_format .* NHWC or NCHW, got 'CHWN'"),
        ({"data_format": "NCHW"}, "channels .* 4 in the kernel's last axis"),
        ({"padding": 5}, r"output height .* \(4 - 1\) \* 2 - 2 \* 5 \+ 1 \* \(3 - 1\) \+ 1 \+ 1 = 0"),
        (
            {"padding": (0, 18), "dilation": (1, 4), "output_padding": 3, "strides": 4},
            r"output width .* \(7 - 1\) \* 4 - 2 \* 18 \+ 4 \* \(3 - 1\) \+ 1 \+ 3 = 0",
        ),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SegframeError, match=message):
        conv2d_transpose(*random_inputs(), **settings)


@pytest.mark.parametrize(
    "image_shape, kernel_shape, message",
    [
        ((4, 7, 3), (3, 3, 2, 3), r"images .* four axes, NHWC, got shape \(4, 7, 3\)"),
        ((1, 4, 7, 3), (3, 3, 2), r"kernel .* \(kernel_height, .*, channels\), got \(3, 3, 2\)"),
        ((1, 4, 7, 3), (3, 3, 3, 2), r"channels .* 3 in the kernel's last axis, .* got \(3, 3, 3, 2\)"),
    ],
)
def test_images_and_kernels_that_do_not_fit_are_refused(image_shape, kernel_shape, message):
    with pytest.raises(SegframeError, match=message):
        conv2d_transpose(np.ones(image_shape), np.ones(kernel_shape))
