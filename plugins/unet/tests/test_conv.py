"""segframe_unet.conv against TensorFlow in float64, and where it is taken."""

import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe import SegframeError
from segframe.custom_ops import custom_ops
from segframe_unet import compiler, conv, conv_trial, ops_build, ops_trial
from segframe_unet.parts_conv_layer import PartsConv2D
from segframe_unet.transposed_conv import conv2d_transpose
from segframe_unet.transposed_conv_layer import TransposedConv2D
from segframe_unet.unet import build_unet

# batch, height, width, channels, filters
SHAPES = [(1, 1, 1, 16, 16), (2, 5, 3, 16, 48), (1, 9, 14, 48, 80), (3, 8, 8, 144, 32), (1, 33, 70, 32, 16)]
KINDS = ["same", "double"]
ON_GPU = bool(tf.config.list_physical_devices("GPU"))


@pytest.fixture(scope="module", autouse=True)
def operations():
    if ops_build.build().problem == "no C++ compiler is installed":
        pytest.skip("no C++ compiler is installed")
    with tf.device("CPU"):
        yield ops_build.operations()


@pytest.fixture
def in_use(monkeypatch):
    """The op is taken wherever it can be, whatever its trial has measured."""
    build = ops_build.build()
    measured = {kind: [[[], 0.5, 0.5, 0.5]] for kind in KINDS}
    monkeypatch.setattr(ops_build, "build", lambda: replace(build, conv={"code": "any", **measured}))


def tensors(kind, batch, height, width, channels, filters):
    """images, kernel and a gradient to the result, float32."""
    generator = np.random.default_rng(0)
    last = (channels, filters) if kind == "same" else (filters, channels)
    times = 2 if kind == "double" else 1
    shapes = [
        (batch, height, width, channels),
        (3, 3, *last),
        (batch, times * height, times * width, filters),
    ]
    return [tf.constant(generator.normal(size=shape), tf.float32) for shape in shapes]


def tensorflows(kind, images, kernel):
    return tf.nn.conv2d(images, kernel, 1, "SAME") if kind == "same" else conv2d_transpose(images, kernel)


def ours(kind, images, kernel):
    return conv.convolve(images, kernel, kind)


def value_and_derivatives(way, kind, images, kernel, upstream):
    """The value; its gradients; the gradients of a function of those, to everything that goes in."""
    with tf.GradientTape() as outer:
        outer.watch([images, kernel, upstream])
        with tf.GradientTape() as inner:
            inner.watch([images, kernel])
            out = way(kind, images, kernel)
        first = inner.gradient(out, [images, kernel], upstream)
        bent = sum(tf.reduce_sum(each**2) for each in first)
    return [out, *first, *outer.gradient(bent, [images, kernel, upstream])]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_first_and_second_derivatives_are_tensorflows(kind, shape):
    given = tensors(kind, *shape)
    found = value_and_derivatives(ours, kind, *given)
    exact = value_and_derivatives(tensorflows, kind, *(tf.cast(each, tf.float64) for each in given))
    for one, other in zip(found, exact, strict=True):
        one, other = one.numpy(), other.numpy()
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= 1e-4 * np.sqrt(np.mean(np.square(other)))


def test_every_instruction_sets_code_is_right_and_writes_nowhere_else(tmp_path):
    cxx, _ = compiler.toolchain().cxx
    flags = [
        "-O1",
        "-std=c++17",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover",
        "-I",
        compiler.SOURCES,
    ]
    if platform.system() != "Linux":
        pytest.skip("the sanitizers' options are those of Linux")
    objects = []
    for isa, more in compiler.instruction_sets():
        objects.append(tmp_path / f"{isa}.o")
        source = compiler.SOURCES / "conv_cpu.cc"
        subprocess.run(
            [cxx, *flags, *more, f"-DSEGFRAME_ISA={isa}", "-c", source, "-o", objects[-1]], check=True
        )
    check = Path(__file__).with_name("conv_check.cc")
    subprocess.run([cxx, *flags, check, *objects, "-o", tmp_path / "check"], check=True)
    told = subprocess.run([tmp_path / "check"], capture_output=True, text=True)
    assert told.returncode == 0 and told.stdout.startswith("right"), told.stdout + told.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_has_the_same_bits_in_every_batch(kind):
    images, kernel, upstream = tensors(kind, 7, 12, 9, 32, 48)
    whole = ours(kind, images, kernel)
    alone = tf.concat([ours(kind, images[n : n + 1], kernel) for n in range(7)], 0)
    assert np.asarray(whole).tobytes() == np.asarray(alone).tobytes()


WITH_THREADS = """
import hashlib, sys
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
sys.path.insert(0, sys.argv[2])
from test_conv import KINDS, ops_build, ours, tensors, value_and_derivatives
ops_build.operations()
with tf.device("CPU"):
    for kind in KINDS:
        for result in value_and_derivatives(ours, kind, *tensors(kind, 2, 40, 52, 32, 160)):
            print(hashlib.sha256(result.numpy().tobytes()).hexdigest())
"""


def test_the_bits_do_not_depend_on_the_number_of_threads():
    told = [
        subprocess.run(
            [sys.executable, "-c", WITH_THREADS, threads, Path(__file__).parent],
            capture_output=True, text=True, check=True,
        ).stdout
        for threads in ("1", "3")
    ]  # fmt: skip
    assert told[0] == told[1] and len(told[0].split()) == 12


def test_two_threads_at_once():
    given = [(kind, *tensors(kind, *shape)) for kind in KINDS for shape in SHAPES]

    def compute(each):
        with tf.device("CPU"):  # threads do not inherit it
            return [np.asarray(one).tobytes() for one in value_and_derivatives(ours, *each)]

    one_by_one = [compute(each) for each in given]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(compute, given)) == one_by_one


@pytest.mark.parametrize("kind", KINDS)
def test_empty_batches(kind):
    images, kernel, upstream = tensors(kind, 0, 6, 4, 16, 32)
    out, to_images, to_kernel, *_ = value_and_derivatives(ours, kind, images, kernel, upstream)
    assert out.shape == upstream.shape and to_images.shape == images.shape
    assert not np.any(to_kernel) and to_kernel.shape == kernel.shape


def test_maps_that_are_stored_past_the_cache():
    images, kernel, _ = tensors("double", 1, 259, 262, 16, 16)
    found = ours("double", images, kernel)
    assert found.shape.num_elements() * 4 > 2**24
    np.testing.assert_allclose(found, conv2d_transpose(images, kernel), atol=1e-3)


def test_infinity_and_nan_are_not_lost():
    images, kernel, _ = tensors("same", 1, 8, 8, 16, 16)
    for bad in (np.nan, np.inf):
        assert not np.isfinite(
            ours("same", tf.tensor_scatter_nd_update(images, [[0, 3, 3, 0]], [bad]), kernel)[0, 3, 3]
        ).all()


@pytest.mark.parametrize(
    "images, kernel, words",
    [
        ((1, 4, 4), (3, 3, 16, 16), "rank 4"),
        ((1, 4, 4, 16), (3, 16, 16), "3x3 filters"),
        ((1, 4, 4, 16), (3, 3, 32, 16), "filters for the images' channels"),
        ((1, 4, 4, 12), (3, 3, 12, 16), "multiples of 16"),
        ((1, 4, 4, 16), (3, 3, 16, 20), "multiples of 16"),
        ((1, 4, 4, 16), (5, 3, 16, 16), "3x3"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(images, kernel, words):
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        conv.convolve(tf.ones(images), tf.ones(kernel), "same")


def test_a_gradient_of_another_size_is_refused(operations):
    with pytest.raises(tf.errors.InvalidArgumentError, match="2 times the images' size"):
        operations.segframe_conv_filters(
            images=tf.ones((1, 4, 4, 16)), upstream=tf.ones((1, 4, 4, 16)), kind="double"
        )
    with pytest.raises(tf.errors.InvalidArgumentError, match="even height and width"):
        conv.convolve(tf.ones((1, 5, 4, 16)), tf.ones((3, 3, 16, 16)), "double_back")


@pytest.mark.parametrize("kind, size", [("same", (2, None, 7, 32)), ("double", (2, None, 14, 32))])
def test_shapes_are_known_as_far_as_they_can_be(kind, size):
    last = (16, 32) if kind == "same" else (32, 16)

    @tf.function(input_signature=[tf.TensorSpec((2, None, 7, 16))])
    def graph(images):
        out = conv.convolve(images, tf.ones((3, 3, *last)), kind)
        assert out.shape.as_list() == list(size)
        return out

    assert graph(tf.ones((2, 3, 7, 16))).shape[1] == (3 if kind == "same" else 6)


class WrongPlace:
    """Convolves by filters that are turned round, for some kinds."""

    def __init__(self, operations, *kinds):
        self.kinds = kinds
        self.segframe_conv_filters = operations.segframe_conv_filters
        self.real = operations.segframe_conv

    def segframe_conv(self, images, filters, finish, kind, relu=False):
        turned = [tf.reverse(filters[-1], [0])] if kind in self.kinds else filters[-1:]
        return self.real(images=images, filters=[*filters[:-1], *turned], finish=finish, kind=kind, relu=relu)


def test_a_trial_finds_an_op_that_is_wrong(operations):
    conv_trial.check(operations)
    with pytest.raises(ops_trial.WrongError, match="convolution, same .*: values"):
        conv_trial.check(WrongPlace(operations, "same"))
    with pytest.raises(ops_trial.WrongError, match="convolution, joined, composed"):
        conv_trial.check(WrongPlace(operations, "double_same"))


LAYERS = {
    "same": lambda: PartsConv2D(
        32, 3, padding="same", use_bias=True, bias_initializer="ones", activation="relu"
    ),
    "double": lambda: TransposedConv2D(32, use_bias=True, bias_initializer="ones"),
}


def kinds_in(function, *given):
    graph = tf.function(function).get_concrete_function(*given).graph
    return [op.type for op in graph.get_operations() if op.type.startswith("Segframe")]


@pytest.mark.skipif(ON_GPU, reason="the op is for CPUs")
@pytest.mark.parametrize("kind", KINDS)
def test_layers_take_it_in_a_runs_own_graphs_alone(in_use, kind):
    keras.utils.set_random_seed(0)
    layer, images = LAYERS[kind](), tensors("same", 2, 9, 7, 16, 16)[0]
    given = images if kind == "double" else [images]
    theirs = layer(given)
    assert kinds_in(layer, given) == []
    with custom_ops(True) as told:
        assert kinds_in(layer, given) == ["SegframeConv"]
        np.testing.assert_allclose(layer(given), theirs, atol=1e-5)
    assert told == {conv.NAMES[kind]: "compiled, any"}


@pytest.mark.skipif(ON_GPU, reason="the op is for CPUs")
@pytest.mark.parametrize(
    "layer, channels",
    [
        (PartsConv2D(32, 3, padding="valid"), 16),
        (PartsConv2D(32, 3, strides=2, padding="same"), 16),
        (PartsConv2D(32, 3, dilation_rate=2, padding="same"), 16),
        (PartsConv2D(32, (3, 1), padding="same"), 16),
        (PartsConv2D(24, 3, padding="same"), 16),
        (PartsConv2D(32, 3, padding="same"), 3),
        (PartsConv2D(32, 3, padding="same", dtype="float64"), 16),
        (PartsConv2D(32, 3, padding="same", dtype="mixed_bfloat16"), 16),
        (TransposedConv2D(32, padding="same"), 16),
        (TransposedConv2D(32, kernel_size=2, padding=0, output_padding=0), 16),
        (TransposedConv2D(20), 16),
    ],
    ids=lambda each: each.name if isinstance(each, keras.layers.Layer) else str(each),
)
def test_other_settings_are_tensorflows(in_use, layer, channels):
    images = tf.ones((1, 8, 8, channels))
    with custom_ops(True):
        given = [images] if isinstance(layer, PartsConv2D) else images
        layer(given)
        assert kinds_in(layer, given) == []


@pytest.mark.skipif(ON_GPU, reason="the op is for CPUs")
def test_an_op_that_was_measured_to_be_slower_is_not_taken(monkeypatch, caplog):
    slower = {kind: [[[], 0.9, 1.6, 1.1]] for kind in KINDS}
    monkeypatch.setattr(ops_build, "build", lambda: ops_build.Build(conv={"code": "Base", **slower}))
    conv._say.cache_clear()
    with custom_ops(True) as told, caplog.at_level("INFO"):
        assert not conv.takes("float32", 16, 32, "same")
    assert "the compiled op takes 1.17 of its time" in caplog.text and told == {"convolution": "TensorFlow"}


@pytest.mark.skipif(ON_GPU, reason="the op is for CPUs")
def test_without_the_op_tensorflow_computes_and_it_is_said_why(monkeypatch, caplog):
    monkeypatch.setattr(ops_build, "build", lambda: ops_build.Build(problem="no compiler at all"))
    conv._say.cache_clear()
    layer = LAYERS["same"]()
    with custom_ops(True), caplog.at_level("INFO"):
        assert layer([tf.ones((1, 8, 8, 16))]).shape == (1, 8, 8, 32)
    assert "Convolution 3x3, float32 on the CPU: TensorFlow (no compiler at all)." in caplog.text
    ops_build.operations.cache_clear()
    with pytest.raises(SegframeError, match="no compiler at all"):
        conv.convolve(tf.ones((1, 8, 8, 16)), tf.ones((3, 3, 16, 16)), "same")
    ops_build.operations.cache_clear()


@pytest.mark.skipif(ON_GPU, reason="the op is for CPUs")
def test_a_network_and_its_gradient_are_tensorflows(in_use):
    keras.utils.set_random_seed(0)
    with custom_ops(True):
        network = build_unet(image_shape=(32, 48, 3), num_classes=3, filters=16, depth=2)
    images = tf.random.stateless_normal((2, 32, 48, 3), (1, 2))
    variables = [variable.value for variable in network.trainable_variables]

    def step():
        with tf.GradientTape() as tape:
            logits = network(images, training=None)
            value = tf.reduce_mean(tf.sin(logits))
        return logits, *tape.gradient(value, variables)

    theirs = tf.function(step)()
    with custom_ops(True):
        graph = tf.function(step).get_concrete_function()
    types = [op.type for op in graph.graph.get_operations()]
    # On the way down 1 + 2 + 2 (the first has three channels); up two of each level's four, and what halves.
    assert types.count("SegframeConvFilters") == 13
    for one, other in zip(graph(), theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4 * max(np.abs(other).max(), 1e-3))
