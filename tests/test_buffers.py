"""segframe.buffers: memory is used again when nothing refers to it, and not before."""

import gc
import threading

import numpy as np
import pytest

from segframe.buffers import ALIGNMENT, Buffers

KEPT = 8


def test_memory_is_used_again_only_when_it_is_free():
    buffers = Buffers(KEPT)
    first = buffers.take((4, 5), np.float32)
    where = first.ctypes.data
    assert first.shape == (4, 5) and first.dtype == np.float32 and first.flags.c_contiguous
    assert where % ALIGNMENT == 0 and first.flags.writeable
    row = first[2, ::2]  # a view of a view
    first[:] = 7
    del first
    second = buffers.take((4, 5), np.float32)
    assert second.ctypes.data != where
    second[:] = 1
    assert (row == 7).all()
    del row
    assert buffers.take((4, 5), np.float32).ctypes.data == where


@pytest.mark.parametrize("shape", [(0, 3), (1,), (3, 1, 7)])
def test_any_shape(shape):
    assert Buffers(KEPT).take(shape, np.uint8).shape == shape


def test_no_more_than_a_few_are_kept():
    buffers = Buffers(KEPT)
    taken = [buffers.take((100,), np.uint8) for _ in range(3 * KEPT)]
    assert len({array.ctypes.data for array in taken}) == 3 * KEPT and len(buffers._kept) == KEPT


def test_memory_that_is_somewhat_larger_serves_and_the_smallest_such():
    buffers = Buffers(KEPT)
    taken = [buffers.take((size,), np.uint8) for size in (1000, 1500, 1900, 5000)]
    where = [array.ctypes.data for array in taken]
    del taken
    assert buffers.take((1400,), np.uint8).ctypes.data == where[1]
    kept = buffers.take((1400,), np.uint8), buffers.take((1400,), np.uint8)
    assert [array.ctypes.data for array in kept] == where[1:3]
    assert buffers.take((2200,), np.uint8).ctypes.data not in where  # 5000 would be a waste


def test_what_is_unused_goes_before_what_is_in_use():
    buffers = Buffers(KEPT)
    live = [buffers.take((100_000,), np.uint8) for _ in range(KEPT - 1)]
    kept = [id(memory) for memory in buffers._kept]
    buffers.take((10,), np.uint8)
    buffers.take((1000,), np.uint8)
    assert [id(memory) for memory in buffers._kept[:-1]] == kept and len(live) == len(kept)


def test_a_tensor_that_tensorflow_made_of_one_keeps_it():
    """TensorFlow takes an aligned array over without a copy: it must stay as it is while the tensor lives."""
    import tensorflow as tf

    buffers = Buffers(KEPT)

    def made(number):
        values = buffers.take((64, 1024), np.uint8)
        values[:] = number
        return values

    data = tf.data.Dataset.range(60).map(
        lambda number: tf.numpy_function(made, [number], tf.uint8), num_parallel_calls=4
    )
    held = []
    for number, tensor in enumerate(data.prefetch(2)):
        held.append((number, tensor))
        if number % 5 == 4:
            del held[0]
            gc.collect()
    for number, tensor in held:
        assert (tensor.numpy() == number).all()


def test_threads_get_memory_of_their_own():
    buffers, wrong = Buffers(KEPT), []

    def work(number):
        for _ in range(300):
            mine = buffers.take((1000,), np.int64)
            mine[:] = number
            if (mine != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
