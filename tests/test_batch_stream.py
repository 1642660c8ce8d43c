"""segframe.batch_stream: batches in order, not too many ahead, and tensors that share their memory."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from segframe import SegframeError, batch_stream
from segframe.batch_reading import Group
from segframe.batch_stream import as_tensor, batches_ahead, made_ahead
from segframe.buffers import aligned


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr(batch_stream, "_threads", lambda: 4)


def groups(count):
    return (Group.whole([number]) for number in range(count))


def number(group):
    return int(group.positions[0])


def test_the_order_is_that_of_the_groups_whoever_is_ready_first():
    random = np.random.default_rng(0)

    def make(group):
        time.sleep(random.random() / 100)
        return number(group)

    assert list(made_ahead(make, groups(50), 6)) == list(range(50))
    assert list(made_ahead(make, groups(0), 6)) == []


@pytest.mark.parametrize("size, ahead", [(1, 6), (2**27, 4), (2**30, 2)])
def test_so_many_are_begun_as_fit_into_the_bound(size, ahead):
    begun = []

    def make(group):
        begun.append(number(group))

    assert batches_ahead(size) == ahead
    stream = made_ahead(make, groups(30), ahead)
    assert not begun
    for taken in range(1, 4):
        next(stream)
        until = time.monotonic() + 20
        while len(begun) < ahead + taken and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.05)
        assert sorted(begun) == list(range(ahead + taken))
    stream.close()


def test_what_is_wrong_is_raised_at_its_place_as_it_was():
    fault = SegframeError("sample 3", expected="a mask", got="none", remedy="Give one.")

    def make(group):
        if number(group) == 3:
            raise fault
        return number(group)

    stream = made_ahead(make, groups(9), 6)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SegframeError) as raised:
        next(stream)
    assert raised.value is fault
    assert list(stream) == []


def test_closing_it_begins_nothing_more_and_ends_the_threads():
    begun, before = [], set(threading.enumerate())

    def make(group):
        begun.append(number(group))
        time.sleep(0.02)

    stream = made_ahead(make, groups(1000), 6)
    next(stream)
    stream.close()
    until = time.monotonic() + 20
    while set(threading.enumerate()) - before:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert len(begun) <= 7


def test_python_ends_while_a_stream_is_read():
    code = (
        "import time\n"
        "from segframe.batch_reading import Group\n"
        "from segframe.batch_stream import made_ahead\n"
        "groups = (Group.whole([n]) for n in range(10**9))\n"
        "stream = made_ahead(lambda group: time.sleep(0.01), groups, 6)\n"
        "next(stream); next(stream); print('read')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "read\n")


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<i4", "<i8", "<f4", ">f4", "?"])
def test_a_tensor_has_the_values_of_any_array(dtype):
    values = np.arange(40).reshape(4, 10).astype(dtype)
    read_only = values.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(bytearray(b"x" + values.tobytes()), dtype, offset=1).reshape(4, 10)
    for array in (values, values[:, ::2], values.T, values[:0], read_only, unaligned):
        tensor = as_tensor(array)
        assert tensor.dtype.as_numpy_dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(tf.identity(tensor).numpy(), array)
        assert tf.reduce_sum(tf.cast(tensor, tf.int64)) == array.sum(dtype=np.int64)


def test_aligned_memory_is_shared_and_held_as_long_as_the_tensor():
    array = aligned((3, 5), np.float32)
    array[:] = 1
    free = sys.getrefcount(array)
    tensor = as_tensor(array)
    array[0, 0] = 7  # to see that it is the same memory: nobody else may
    assert tensor[0, 0] == 7
    assert sys.getrefcount(array) > free
    del tensor
    assert sys.getrefcount(array) == free
