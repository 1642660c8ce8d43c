"""Batches read ahead by threads of Python's.

Reading and undoing filters let go of Python's lock. tf.data around them, whose threads hand each batch from
one to the next, takes longer than the reading itself where a file is in memory (benchmarks/pipeline.py).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from segframe.batch import pad_edges, padded_size, paddings
from segframe.batch_reading import BatchReader, Group
from segframe.buffers import ALIGNMENT, aligned
from segframe.runtime import cores

AHEAD_BYTES = 2**29
"""No more than so many bytes of batches are read ahead, but two batches always."""

MOST_THREADS = 8
"""All need Python's lock at times. Best on 16 cores: 4 threads for uncompressed samples, 12 for gzip."""

Made = TypeVar("Made")


def made_ahead(
    make: Callable[[Group], Made], groups: Iterable[Group], ahead: int
) -> Generator[Made, None, None]:
    """What `make` makes of each group, in their order. It begins with the first one that is asked for.

    Args:
        ahead: so many are begun or ready while one is used.
    """
    pool = ThreadPoolExecutor(min(_threads(), ahead), thread_name_prefix="segframe-read")
    try:
        jobs = _submitted(pool, make, groups)
        begun = deque(itertools.islice(jobs, ahead))
        while begun:
            made = begun.popleft().result()
            begun.extend(itertools.islice(jobs, 1))
            yield made
    finally:  # a batch that is being read is still finished, by a thread that nobody waits for
        pool.shutdown(wait=False, cancel_futures=True)


def _submitted(
    pool: ThreadPoolExecutor, make: Callable[[Group], Made], groups: Iterable[Group]
) -> Iterator[Future[Made]]:
    for group in groups:
        try:
            yield pool.submit(make, group)
        except RuntimeError as error:
            if "cannot schedule new futures" in str(error):  # Python ends; tf.data may still be asking
                return
            raise


def batches_ahead(batch_bytes: int, limit: int = AHEAD_BYTES) -> int:
    """How many batches of so many bytes `made_ahead` should begin, of at most `limit` bytes in all."""
    return max(2, min(_threads() + 2, limit // batch_bytes))


def _threads() -> int:
    """Twice as many as TensorFlow's (device.threads, or all cores): while some of them wait for a disk."""
    of_tensorflow = tf.config.threading.get_inter_op_parallelism_threads() or cores()
    return min(2 * of_tensorflow, MOST_THREADS)


class BatchMaker:
    """Makes batches of what a reader has read: tensors, padded to the model's size multiple.

    Args:
        size_multiple: of segframe.pipeline.
    """

    def __init__(self, reader: BatchReader, size_multiple: int):
        self.reader, self.size_multiple = reader, size_multiple
        self._pad: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]] | None = None

    def __call__(self, group: Group) -> dict[str, tf.Tensor]:
        read = self.reader.batch(group)
        batch = {name: as_tensor(array) for name, array in read.items()}
        if (read["size"] == padded_size(read["mask"].shape[1:], self.size_multiple)).all():
            return batch
        with tf.device("CPU:0"):
            if self._pad is None:
                self._pad = self._padding_of(batch)
            return self._pad(batch)

    def _padding_of(self, batch: dict[str, tf.Tensor]) -> Any:
        """segframe.batch.pad_edges, compiled once for all sizes."""
        padding = paddings(self.reader.makers)
        specs = {
            name: tf.TensorSpec([None, None, None, *entry.shape[3:]], entry.dtype)
            for name, entry in batch.items()
        }
        specs |= {"size": tf.TensorSpec((None, 2), tf.int32), "index": tf.TensorSpec((None,), tf.int64)}
        return tf.function(
            lambda batch: pad_edges(batch, self.size_multiple, padding),
            input_signature=[specs],
            autograph=False,
        )


def as_tensor(array: np.ndarray) -> tf.Tensor:
    """The array as a tensor on the CPU: the same memory if TensorFlow can use it, else a copy.

    It must not be written to any more.
    """
    plain = array.flags.c_contiguous and array.flags.writeable and array.dtype.isnative
    if not plain or array.ctypes.data % ALIGNMENT:  # memory that is not aligned would end the process
        own = aligned(array.shape, array.dtype.newbyteorder("="))
        own[...] = array
        array = own
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
