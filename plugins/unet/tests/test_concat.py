"""segframe_unet.concat against tf.concat, bit for bit: values, derivatives, choice, messages."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from segframe import SegframeError
from segframe.custom_ops import custom_ops
from segframe_unet import concat as module
from segframe_unet import ops_build
from segframe_unet.concat import concat, faster

DEVICE = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
FORMATS = pytest.mark.parametrize("data_format, axis", [("NHWC", 3), ("NCHW", 1)])
DTYPES = pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
CHANNELS = pytest.mark.parametrize(
    "channels", [(3, 5), (16, 16), (64, 64), (128, 1), (0, 4), (4, 0, 3), (1, 2, 3, 4, 5, 6, 7, 8)], ids=str
)


@pytest.fixture(scope="session", autouse=True)
def op():
    """The op of this machine; where there is no compiler, there is none to test."""
    if ops_build.build().problem == "no C++ compiler is installed":
        pytest.skip("no C++ compiler is installed")
    return ops_build.operations()


def distinct(axis, channels, dtype, size=(2, 13, 21)):
    """Parts in which every element of all of them is another number, as far as the dtype has so many."""
    first, parts = 0, []
    for number in channels:
        shape = [*size]
        shape.insert(axis, number)
        count = int(np.prod(shape))
        values = np.arange(first, first + count, dtype=np.uint64).reshape(shape)
        first += count
        if dtype in ("float16", "bfloat16"):  # all their finite bit patterns in turn
            bits = (values % 0x7C00 if dtype == "float16" else values % 0x7F80).astype(np.uint16)
            parts.append(tf.bitcast(tf.constant(bits), dtype))
        else:
            parts.append(tf.constant(values.astype(dtype)))
    return parts


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    assert np.asarray(actual).tobytes() == np.asarray(expected).tobytes()


@FORMATS
@DTYPES
@CHANNELS
@pytest.mark.parametrize("traced", [False, True], ids=["eager", "graph"])
def test_value_and_gradients_are_tf_concats(data_format, axis, dtype, channels, traced):
    parts = distinct(axis, channels, dtype)
    upstream = distinct(axis, [sum(channels)], dtype)[0]

    def value_and_gradients(parts, upstream, join):
        with tf.GradientTape() as tape:
            tape.watch(parts)
            whole = join(parts)
        return whole, tape.gradient(whole, parts, output_gradients=upstream)

    ours = value_and_gradients
    if traced:
        ours = tf.function(value_and_gradients)
    whole, gradients = ours(
        parts, upstream, lambda parts: concat(parts, data_format=data_format, implementation="compiled")
    )
    expected = value_and_gradients(parts, upstream, lambda parts: tf.concat(parts, axis))
    assert_same_bits(whole, expected[0])
    for actual, wanted in zip(gradients, expected[1], strict=True):
        assert_same_bits(actual, wanted)


def test_every_large_thread_share_ends_in_the_right_place():
    """Some MB, so that the thread pool deals it out; rows that no block is a multiple of."""
    for data_format, axis in (("NHWC", 3), ("NCHW", 1)):
        parts = distinct(axis, (7, 13), "float32", size=(1, 509, 127))
        whole = concat(parts, data_format=data_format, implementation="compiled")
        assert_same_bits(whole, tf.concat(parts, axis))


@pytest.mark.parametrize("channels", [(4, 4), (16, 16), (64, 64), (12, 20), (9, 23)], ids=str)
def test_maps_that_are_stored_past_the_cache(channels):
    """16 MiB and more; rows of multiples of 16 bytes, of sizes that the compiler knew or not, and others."""
    side = 1 + int((2**24 / sum(channels) / 4) ** 0.5)
    parts = distinct(3, channels, "float32", size=(1, side, side + 3))
    with tf.GradientTape() as tape:
        tape.watch(parts)
        whole = concat(parts, implementation="compiled")
    assert_same_bits(whole, tf.concat(parts, 3))
    for found, part in zip(tape.gradient(whole, parts, output_gradients=whole), parts, strict=True):
        assert_same_bits(found, part)


@FORMATS
def test_numeric_gradient(data_format, axis):
    parts = distinct(axis, (2, 3), "float64", size=(1, 3, 2))
    numeric, theoretical = tf.test.compute_gradient(
        lambda *parts: tf.sin(concat(parts, data_format=data_format, implementation="compiled")),
        [part / 10 for part in parts],
    )[::-1]
    for one, other in zip(numeric, theoretical, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)  # central differences of sin, step 1e-3
        assert np.abs(one).max() > 0.5


def test_second_derivatives_are_tf_concats():
    parts = [
        tf.random.stateless_normal((2, 3, 5, number), (number, 7), dtype=tf.float64) for number in (2, 3)
    ]

    def second(join):
        with tf.GradientTape() as outer:
            outer.watch(parts)
            with tf.GradientTape() as inner:
                inner.watch(parts)
                value = tf.reduce_sum(tf.sin(join(parts)) ** 2)
            penalty = tf.add_n([tf.reduce_sum(tf.sin(each)) for each in inner.gradient(value, parts)])
        return outer.gradient(penalty, parts)

    expected = second(lambda parts: tf.concat(parts, 3))
    actual = second(lambda parts: concat(parts, implementation="compiled"))
    for one, other in zip(actual, expected, strict=True):
        assert_same_bits(one, other)
        assert np.abs(one).max() > 0.1


@pytest.mark.parametrize("spec", [(None, None, None, 3), (None, None, None, None)], ids=["sizes", "channels"])
def test_sizes_may_be_unknown_while_a_graph_is_traced(spec):
    @tf.function(input_signature=[tf.TensorSpec(spec)] * 2)
    def value_and_gradients(a, b):
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            whole = concat([a, b], implementation="compiled")
        return whole, *tape.gradient(whole, [a, b])

    parts = distinct(3, (3, 3), "float32")
    whole, *gradients = value_and_gradients(*parts)
    assert_same_bits(whole, tf.concat(parts, 3))
    for gradient in gradients:
        assert_same_bits(gradient, tf.ones_like(parts[0]))


def test_slices_that_start_anywhere():
    large = distinct(3, (17,), "float32")[0]
    parts = [large[..., 1:4], large[..., 5:], large[..., :1]]
    assert_same_bits(concat(parts, implementation="compiled"), tf.concat(parts, 3))


def test_empty_images():
    parts = [tf.zeros((0, 5, 3, 2)), tf.zeros((0, 5, 3, 4))]
    assert concat(parts, implementation="compiled").shape == (0, 5, 3, 6)


def test_two_threads_at_once():
    parts = {seed: distinct(3, (16, 17 + seed), "float32", size=(2, 64, 65)) for seed in range(2)}
    wrong = []

    def work(seed):
        expected = tf.concat(parts[seed], 3).numpy()
        for _ in range(50):
            if not np.array_equal(concat(parts[seed], implementation="compiled"), expected):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def ops_of(function, *arguments):
    graph = tf.function(function).get_concrete_function(*arguments).graph
    return {op.type for op in graph.get_operations()}


@pytest.mark.parametrize(
    "ratio, expected", [(0.5, {"SegframeConcat", "SegframeSplit"}), (1.5, {"ConcatV2", "Slice"})]
)
def test_auto_takes_it_where_it_was_measured_to_be_faster(monkeypatch, ratio, expected):
    ratios = {DEVICE: {"float32": {name: [(1000, ratio)] for name in module.PASSES}}}
    monkeypatch.setattr(ops_build, "build", lambda: ops_build.Build(ratios=ratios))

    def step(a, b):
        with tf.GradientTape() as tape:
            tape.watch(a)
            value = concat([a, b])
        return tape.gradient(value, a)

    parts = distinct(3, (8, 4), "float32")
    with custom_ops(True):
        assert expected <= ops_of(step, *parts)
    assert {"ConcatV2", "Slice"} <= ops_of(step, *parts)  # outside a run's steps


@pytest.mark.parametrize("forward", [True, False])
def test_forward_and_gradient_are_chosen_one_by_one(monkeypatch, forward):
    ratios = {"concat": [(1000, 0.9 if forward else 1.1)], "split": [(1000, 1.1 if forward else 0.9)]}
    build = ops_build.Build(ratios={DEVICE: {"float32": ratios}})
    monkeypatch.setattr(ops_build, "build", lambda: build)
    parts = distinct(3, (8, 4), "float32")
    with custom_ops(True), tf.GradientTape() as tape:
        tape.watch(parts)
        whole = concat(parts)
    assert_same_bits(whole, tf.concat(parts, 3))
    upstream = 2 * whole
    for gradient, part in zip(tape.gradient(whole, parts, output_gradients=upstream), parts, strict=True):
        assert_same_bits(gradient, 2 * part)


@pytest.mark.parametrize(
    "channels, dtype, uneven",
    [((8, 4), "float32", False), ((8, 4), "float16", True), ((17, 16), "float32", True)],
    ids=str,
)
def test_uneven_parts_are_joined_by_tensorflow_on_a_cpu(monkeypatch, caplog, channels, dtype, uneven):
    ratios = {DEVICE: {dtype: {name: [(1000, 0.5)] for name in module.PASSES}}}
    monkeypatch.setattr(ops_build, "build", lambda: ops_build.Build(ratios=ratios))
    module._say.cache_clear()
    with caplog.at_level("INFO"):
        passes = module.compiled_passes(distinct(3, channels, dtype))
    assert passes == (("split",) if uneven and DEVICE == "CPU" else module.PASSES)
    assert ("uneven parts" in caplog.text) == uneven
    assert module.compiled_passes(distinct(1, channels, dtype), "NCHW") == module.PASSES


def test_without_an_op_it_is_tf_concat_and_says_why_once(monkeypatch, caplog):
    monkeypatch.setattr(ops_build, "build", lambda: ops_build.Build(problem="no compiler at all"))
    module._say.cache_clear()
    parts = distinct(3, (2, 3), "float32")
    with caplog.at_level("INFO"), custom_ops(True):
        for _ in range(3):
            assert_same_bits(concat(parts), tf.concat(parts, 3))
    assert caplog.text.count("tf.concat (no compiled op: no compiler at all") == 1


def test_faster_looks_at_the_nearest_size_and_wants_all_where_it_is_unknown():
    measured = [(1_000, 0.5), (1_000_000, 1.2), (50_000_000, 1.0)]
    assert [faster(measured, size) for size in (10, 3_000, 900_000, 90_000_000)] == [True, True, False, True]
    assert not faster(measured, None) and not faster([], 10)
    assert faster(measured[::2], None)


def zeros(*shape, dtype="float32"):
    return tf.zeros(shape, dtype)


@pytest.mark.parametrize(
    "parts, message",
    [
        ([zeros(1, 2, 3, 4)], "two to eight parts, got 1"),
        ([zeros(1, 2, 3, 4)] * 9, "two to eight parts, got 9"),
        ([zeros(1, 2, 3)] * 2, r"rank 4 \(NHWC\), got .*\(1, 2, 3\)"),
        ([zeros(1, 2, 3, 4), zeros(1, 2, 5, 4)], r"differ in channels alone .*\(1, 2, 5, 4\)"),
        ([zeros(1, 2, 3, 4), zeros(1, 2, 3, 4, dtype="float64")], "one floating point dtype, got .*float64"),
        ([zeros(1, 2, 3, 4, dtype="int32")] * 2, "one floating point dtype, got .*int32"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, message):
    for implementation in ("tensorflow", "compiled"):
        with pytest.raises(SegframeError, match=f"(?s){message}"):
            concat(parts, implementation=implementation)


def test_the_op_itself_refuses_what_it_meets_at_run_time(op):
    @tf.function(input_signature=[tf.TensorSpec(None)] * 2)
    def join(a, b):
        return op.segframe_concat(parts=[a, b])

    with pytest.raises(tf.errors.InvalidArgumentError, match=r"rank 4 \(NHWC\), got \[2\] for part 0"):
        join(zeros(2), zeros(2))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"channels alone .*\[1,2,3,4\] and \[1,9,3,4\]"):
        join(zeros(1, 2, 3, 4), zeros(1, 9, 3, 4))
    for sizes in ([3, 2], [-1, 5], [5, 5]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="sizes >= 0"):
            op.segframe_split(whole=zeros(1, 2, 3, 4), sizes=sizes, N=2)
