"""segframe_unet.conv_fusion: what a compiled convolution takes in, against one operation for each thing."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from segframe.custom_ops import custom_ops
from segframe_unet import conv, conv_fusion, ops_build
from segframe_unet.norm_layer import BatchNormalization
from segframe_unet.parts_conv_layer import PartsConv2D
from segframe_unet.relu_layer import ReLU
from segframe_unet.transposed_conv import conv2d_transpose
from segframe_unet.unet import build_unet

ON_GPU = bool(tf.config.list_physical_devices("GPU"))
pytestmark = pytest.mark.skipif(ON_GPU, reason="the op is for CPUs")

# batch, height, width, channels, between, filters: those whose filters are composed, and smaller ones
COMPOSED = [
    (1, 40, 52, 16, 16, 16),
    (2, 37, 26, 32, 48, 16),
    (1, 20, 31, 16, 32, 80),
    (1, 13, 300, 16, 16, 16),
]
APART = [(1, 1, 1, 16, 16, 16), (2, 3, 5, 96, 64, 32), (1, 1, 40, 16, 32, 16)]


@pytest.fixture(scope="module", autouse=True)
def operations():
    if ops_build.build().problem == "no C++ compiler is installed":
        pytest.skip("no C++ compiler is installed")
    return ops_build.operations()


@pytest.fixture
def in_use(monkeypatch):
    """The op is taken wherever it can be, whatever its trial has measured."""
    build = ops_build.build()
    measured = {kind: [[[], 0.5, 0.5, 0.5]] for kind in conv.NAMES}
    monkeypatch.setattr(ops_build, "build", lambda: replace(build, conv={"code": "any", **measured}))


def numbers(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def both(batch, height, width, channels, between, filters):
    """Images, the filters that double and those after them."""
    return (
        numbers(batch, height, width, channels),
        numbers(3, 3, between, channels, seed=1),
        numbers(3, 3, between, filters, seed=2),
    )


def in_one(images, doubling, kernel, *more):
    return conv.operation([images], [doubling, kernel], "double_same", *more)


def one_after_the_other(images, doubling, kernel):
    return conv.convolve(conv.convolve(images, doubling, "double"), kernel, "same")


def assert_close(found, exact, error=1e-4):
    found, exact = np.asarray(found), np.asarray(exact)
    assert found.shape == exact.shape
    assert np.abs(found - exact).max() <= error * np.sqrt(np.mean(np.square(exact)))


@pytest.mark.parametrize("sizes", COMPOSED + APART, ids=str)
def test_transposed_and_next_convolution_are_tensorflows(sizes):
    given = both(*sizes)
    images, doubling, kernel = (tf.cast(each, tf.float64) for each in given)
    exact = tf.nn.conv2d(conv2d_transpose(images, doubling), kernel, 1, "SAME")
    assert_close(in_one(*given), exact)
    subtract, multiply, add = (numbers(sizes[-1], seed=seed) for seed in (3, 4, 5))
    exact = (exact - tf.cast(subtract, tf.float64)) * tf.cast(multiply, tf.float64) + tf.cast(add, tf.float64)
    assert_close(in_one(*given, [subtract, multiply, add], True), tf.nn.relu(exact), 3e-4)


def test_they_are_composed_where_that_is_less_and_else_have_the_bits_of_one_after_the_other():
    for sizes in COMPOSED + APART:
        given = both(*sizes)
        same = np.asarray(in_one(*given)).tobytes() == np.asarray(one_after_the_other(*given)).tobytes()
        assert same == (sizes in APART), sizes


def test_derivatives_of_what_is_joined_are_those_of_one_thing_after_another():
    images, doubling, kernel = both(1, 20, 24, 16, 16, 32)
    finish = [numbers(32, seed=seed) for seed in (3, 4, 5)]
    inputs = [images, doubling, kernel, *finish]

    def joined(images, doubling, kernel, *finish):
        return in_one(images, doubling, kernel, finish, True)

    def apart(images, doubling, kernel, subtract, multiply, add):
        return tf.nn.relu((one_after_the_other(images, doubling, kernel) - subtract) * multiply + add)

    gradients = []
    for way in (joined, apart):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            value = tf.reduce_sum(tf.sin(way(*inputs) / 40))
        gradients.append(tape.gradient(value, inputs))
    for one, other in zip(*gradients, strict=True):
        assert_close(one, other, 1e-3)


def test_derivatives_with_parts_and_a_bias():
    a, b, kernel, bias = (
        numbers(2, 7, 5, 16),
        numbers(2, 7, 5, 32, seed=1),
        numbers(3, 3, 48, 16),
        numbers(16),
    )
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([a, b, kernel, bias])
        joined = tf.reduce_sum(conv.operation([a, b], [kernel], "same", [bias], False) ** 2)
        apart = tf.reduce_sum((conv.convolve(tf.concat([a, b], -1), kernel, "same") + bias) ** 2)
    for one, other in zip(
        *(tape.gradient(value, [a, b, kernel, bias]) for value in (joined, apart)), strict=True
    ):
        assert_close(one, other, 1e-5)


@pytest.mark.parametrize("channels", [(16, 16), (48, 16, 32), (16,) * 8], ids=str)
def test_parts_have_the_bits_of_their_concatenation(channels):
    parts = [numbers(2, 11, 9, number, seed=number + k) for k, number in enumerate(channels)]
    kernel = numbers(3, 3, sum(channels), 48)
    found = conv.operation(parts, [kernel], "same")
    assert np.array_equal(found, conv.convolve(tf.concat(parts, -1), kernel, "same"))


@pytest.mark.parametrize("kind, last", [("same", (16, 48)), ("double", (48, 16))])
def test_what_comes_after_is_taken_in(kind, last):
    images, kernel = numbers(2, 9, 7, 16), numbers(3, 3, *last)
    plain = conv.convolve(images, kernel, kind)
    subtract, multiply, add = (numbers(48, seed=seed) for seed in (3, 4, 5))

    def finished(*finish, relu=False):
        return conv.operation([images], [kernel], kind, finish, relu)

    assert np.array_equal(finished(add), plain + add)
    assert np.array_equal(finished(relu=True), tf.nn.relu(plain))
    assert np.array_equal(finished(add, relu=True), tf.nn.relu(plain + add))
    assert_close(finished(subtract, multiply, add), (plain - subtract) * multiply + add, 1e-5)
    spoilt = tf.tensor_scatter_nd_update(images, [[0, 3, 3, 0]], [np.nan])
    assert np.isnan(conv.operation([spoilt], [kernel], kind, [add], True)).any()


def test_composed_filters_follow_the_weights():
    given = both(*COMPOSED[0])
    variables = [tf.Variable(each) for each in given[1:]]
    graph = tf.function(lambda: in_one(given[0], *(variable.value() for variable in variables)))
    for turn in range(3):
        variables[turn % 2].assign(tf.reverse(variables[turn % 2], [turn]))
        assert_close(graph(), one_after_the_other(given[0], *variables))
    variables[0].scatter_nd_update([[1, 2, 3, 4]], [1000.0])
    assert_close(graph(), one_after_the_other(given[0], *variables))


def test_an_image_has_the_same_bits_in_every_batch():
    images, *kernels = both(9, 12, 16, 32, 32, 16)
    whole = in_one(images, *kernels)
    alone = tf.concat([in_one(images[n : n + 1], *kernels) for n in range(9)], 0)
    assert np.asarray(whole).tobytes() == np.asarray(alone).tobytes()


def test_several_threads_at_once():
    given = [both(*sizes) for sizes in COMPOSED]
    one_by_one = [np.asarray(in_one(*each)).tobytes() for each in given]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert list(pool.map(lambda each: np.asarray(in_one(*each)).tobytes(), given)) == one_by_one


WITH_THREADS = """
import hashlib, sys
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
sys.path.insert(0, sys.argv[2])
from test_conv_fusion import COMPOSED, both, in_one
for sizes in COMPOSED:
    print(hashlib.sha256(in_one(*both(*sizes)).numpy().tobytes()).hexdigest())
"""


def test_the_bits_do_not_depend_on_the_number_of_threads():
    told = [
        subprocess.run(
            [sys.executable, "-c", WITH_THREADS, threads, Path(__file__).parent],
            capture_output=True, text=True, check=True,
        ).stdout
        for threads in ("1", "3")
    ]  # fmt: skip
    assert told[0] == told[1] and len(told[0].split()) == len(COMPOSED)


def test_empty_batches():
    images, *kernels = both(0, 40, 52, 16, 16, 32)
    assert in_one(images, *kernels, [numbers(32)], True).shape == (0, 80, 104, 32)


@pytest.mark.parametrize(
    "parts, kernels, kind, finish, words",
    [
        ([(1, 4, 4, 16)] * 2, [(3, 3, 32, 16)], "double", [], "one image"),
        ([(1, 4, 4, 16)] * 9, [(3, 3, 144, 16)], "same", [], "up to 8"),
        ([(1, 4, 4, 16), (1, 4, 5, 16)], [(3, 3, 32, 16)], "same", [], "differ in channels alone"),
        ([(1, 4, 4, 16), (1, 4, 4, 8)], [(3, 3, 24, 16)], "same", [], "multiples of 16"),
        ([(1, 4, 4, 16)], [(3, 3, 16, 16)], "double_same", [], "filters for each layer"),
        ([(1, 4, 4, 16)], [(3, 3, 16, 16)] * 2, "same", [], "filters for each layer"),
        ([(1, 4, 4, 16)], [(3, 3, 32, 16), (3, 3, 16, 16)], "double_same", [], "for the images' channels"),
        ([(1, 4, 4, 16)], [(3, 3, 0, 16)] * 2, "double_same", [], "for the images' channels"),
        ([(1, 4, 4, 16)], [(3, 3, 16, 32)], "same", [32, 32], "0, 1 or 3"),
        ([(1, 4, 4, 16)], [(3, 3, 16, 32)], "same", [16], "each of 32 channels"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(parts, kernels, kind, finish, words):
    given = (list(map(tf.ones, parts)), list(map(tf.ones, kernels)), kind, [tf.ones(n) for n in finish])
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        conv.operation(*given)


def convolutions(graph):
    """(kind, parts, tensors to finish with, relu) of compiled convolutions that the graph's result needs."""
    needed, left = set(), [output.op for output in graph.outputs]
    while left:
        op = left.pop()
        if op not in needed:
            needed.add(op)
            left += [each.op for each in op.inputs] + list(op.control_inputs)
    kinds = [op for op in graph.get_operations() if op in needed]
    found = [
        (op.get_attr("kind").decode(), op.get_attr("parts"), op.get_attr("steps"), op.get_attr("relu"))
        for op in kinds
        if op.type == "SegframeConv"
    ]
    return found, {op.type for op in kinds}


def test_a_network_that_predicts_joins_what_it_can(in_use):
    with custom_ops(True):
        network = build_unet(image_shape=(64, 64, 3), num_classes=2, filters=16, depth=2)
    images = numbers(1, 64, 64, 3)
    # Statistics and biases that would be missed.
    for variable in network.variables:
        if variable.path.endswith(("moving_mean", "beta", "bias")):
            variable.assign(numbers(*variable.shape, seed=7))

    def graph_of(training, allowed=True):
        with custom_ops(allowed):
            return tf.function(lambda: network(images, training=training)).get_concrete_function()

    graph = graph_of(False)
    found, types = convolutions(graph.graph)
    block = [("same", 1, 3, True)] * 2
    up = [("double_same", 1, 1, False), ("same", 2, 3, True), ("same", 1, 3, True)]
    assert found == block[:1] + block * 2 + up * 2
    assert types.isdisjoint({"ConcatV2", "SegframeConcat"})
    assert_close(graph(), graph_of(False, allowed=False)(), 1e-3)
    found, _ = convolutions(graph_of(True).graph)
    assert {each[1:] for each in found} == {(1, 0, False)} and "double_same" not in {
        each[0] for each in found
    }


def test_a_joined_prediction_has_the_gradient_of_the_network(in_use):
    with custom_ops(True):
        network = build_unet(image_shape=(32, 32, 3), num_classes=2, filters=16, depth=1)
    images = numbers(1, 32, 32, 3)
    variables = [variable.value for variable in network.trainable_variables]

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(images)
            value = tf.reduce_sum(tf.sin(network(images, training=False)))
        return tape.gradient(value, [images, *variables])

    theirs = tf.function(gradients)()
    with custom_ops(True):
        ours = tf.function(gradients)()
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4 * max(np.abs(other).max(), 1e-3))


def test_what_two_layers_use_is_whole_for_both(in_use):
    """The normalisation takes the convolution in; others still see the convolution as it was."""
    layer, norm = PartsConv2D(16, 3, padding="same"), BatchNormalization()
    images = numbers(1, 8, 8, 16)
    norm.build((None, None, None, 16))
    norm.moving_mean.assign(numbers(16, seed=3))

    def uses():
        maps = layer([images], training=False)
        return maps, norm(maps, training=False), ReLU()(maps, training=False)

    theirs = uses()
    with custom_ops(True):
        ours = tf.function(uses)()
    for one, other in zip(ours, theirs, strict=True):
        assert_close(one, other)


def test_a_relu_ends_what_is_taken_in(in_use):
    layer, norm = PartsConv2D(16, 3, padding="same", bias_initializer="ones"), BatchNormalization()
    images = numbers(1, 8, 8, 16)

    def uses():
        maps = ReLU()(layer([images], training=False), training=False)
        return norm(ReLU()(maps, training=False), training=False)

    theirs = uses()
    with custom_ops(True):
        graph = tf.function(uses).get_concrete_function()
    found, types = convolutions(graph.graph)
    assert found == [("same", 1, 1, True)] and "FusedBatchNormV3" in types
    assert_close(graph(), theirs)


@pytest.mark.parametrize("axis, channels", [(1, (16, 16)), (-1, (16, 8)), (-1, (16, 0))])
def test_other_concatenations_stay(in_use, axis, channels):
    parts = [numbers(1, 8, 8, number) for number in channels]
    layer = PartsConv2D(16, 3, padding="same", use_bias=False)
    layer([tf.concat(parts, axis)])
    with custom_ops(True):
        graph = tf.function(lambda: layer([tf.concat(parts, axis)], training=False)).get_concrete_function()
    found, _ = convolutions(graph.graph)
    assert found == ([] if channels == (16, 8) else [("same", 1, 0, False)])
    assert_close(graph(), layer([tf.concat(parts, axis)]))


def test_nothing_is_taken_into_another_graph(in_use):
    """What is computed before a loop stays there."""
    layer, images = PartsConv2D(16, 3, padding="same", use_bias=False), numbers(1, 8, 8, 16)
    theirs = 3 * ReLU()(layer([images]))

    def thrice():
        maps = layer([images], training=False)

        def once_more(turn, total):
            return turn + 1, total + ReLU()(maps, training=False)

        return tf.while_loop(lambda turn, _: turn < 3, once_more, (0, tf.zeros_like(maps)))[1]

    with custom_ops(True):
        graph = tf.function(thrice).get_concrete_function()
    assert convolutions(graph.graph)[0] == [("same", 1, 0, False)]
    assert_close(graph(), theirs)


def test_outside_of_graphs_nothing_is_taken_in():
    assert not conv_fusion.can_finish(conv.convolve(numbers(1, 2, 2, 16), numbers(3, 3, 16, 16), "same"))


def test_relu_is_keras_relu():
    images = numbers(2, 3, 4, 5)
    assert np.array_equal(ReLU()(images), keras.layers.ReLU()(images))
    network = keras.Sequential([keras.Input((3, 4, 5)), ReLU()])
    assert network.output_shape == (None, 3, 4, 5)
    again = keras.Sequential.from_config(network.get_config())
    assert np.array_equal(again(images), network(images))
