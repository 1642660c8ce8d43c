"""segframe_unet.concat on a GPU, where tensors are larger than 32-bit indices and alignment matters."""

import numpy as np
import pytest
import tensorflow as tf

from segframe_unet import ops_build
from segframe_unet.concat import concat

pytestmark = pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="no GPU")


def pattern(shape, seed):
    """float16 bits that repeat after a prime number of elements: a wrapped index meets other ones."""
    count = int(np.prod(shape))
    period = ((np.arange(65521, dtype=np.uint32) * 7 + seed) % 0x7C00).astype(np.uint16)
    return np.resize(period, count).reshape(shape).view(np.float16)


def test_the_op_has_a_cuda_part_and_was_tried():
    assert not ops_build.build().problem and not ops_build.build().without_cuda
    assert "GPU" in ops_build.build().ratios


# The second: one row of more than 2**31 elements, an odd number.
@pytest.mark.parametrize(
    "data_format, axis, shapes",
    [
        ("NHWC", 3, [(1, 46341, 46341, 1), (1, 46341, 46341, 2)]),
        ("NCHW", 1, [(1, 1, 46341, 46341), (1, 1, 46341, 46341)]),
    ],
    ids=["NHWC", "NCHW"],
)
def test_more_than_two_to_the_31_elements(data_format, axis, shapes):
    arrays = [pattern(shape, seed) for seed, shape in enumerate(shapes)]
    with tf.device("GPU"):
        parts = [tf.constant(array) for array in arrays]
        whole = concat(parts, data_format=data_format, implementation="compiled")
        sizes = [array.shape[axis] for array in arrays]
        again = ops_build.operations().segframe_split(
            whole=whole, sizes=sizes, N=len(sizes), data_format=data_format
        )
    del parts
    first = 0
    host = whole.numpy().view(np.uint16)
    for array, size, part in zip(arrays, sizes, again, strict=True):
        bits = array.view(np.uint16)
        where = [slice(None)] * 4
        where[axis] = slice(first, first + size)
        assert np.array_equal(host[tuple(where)], bits)
        assert np.array_equal(part.numpy().view(np.uint16), bits)
        first += size


@pytest.mark.parametrize("channels", [(1, 1), (3, 5), (63, 32), (64, 32), (17, 16), (1, 2, 3, 4, 5, 6, 7, 8)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("data_format, axis", [("NHWC", 3), ("NCHW", 1)])
def test_every_alignment_gives_tf_concats_bits(channels, dtype, data_format, axis):
    parts = []
    for number in channels:
        shape = [3, 37, 41]
        shape.insert(axis, number)
        parts.append(tf.constant(np.random.default_rng(number).normal(size=shape).astype(dtype)))
    with tf.device("GPU"), tf.GradientTape() as tape:
        tape.watch(parts)
        whole = concat(parts, data_format=data_format, implementation="compiled")
        upstream = tf.sin(whole)
    assert "GPU" in whole.device
    expected = tf.concat(parts, axis)
    np.testing.assert_array_equal(whole, expected)
    gradients = tape.gradient(whole, parts, output_gradients=upstream)
    for one, other in zip(gradients, tf.split(upstream, channels, axis), strict=True):
        np.testing.assert_array_equal(one, other)
