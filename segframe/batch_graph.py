"""The tf.data graph of augmented batches. What a batch is, segframe.pipeline says."""

from __future__ import annotations

import atexit
import contextlib
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from segframe.batch import pad_edges, paddings
from segframe.batch_reading import BatchReader, Group
from segframe.batch_stream import made_ahead
from segframe.errors import SegframeError

as_it_is = tf.autograph.experimental.do_not_convert
"""AutoGraph reads the source again when it traces: an edit during a run would mix functions."""

Batch = dict[str, tf.Tensor]

OPEN: weakref.WeakSet[Any] = weakref.WeakSet()
"""Streams that somebody holds."""


@atexit.register
def _close_all() -> None:
    """One that is still read when Python ends would wait for ever for threads that Python has stopped."""
    for stream in list(OPEN):
        with contextlib.suppress(ValueError):  # a thread is in it
            stream.close()


def moving_pixels(augmentations: Sequence[Any]) -> int:
    """How many of the first do no more than move pixels: they take images and masks as they are stored.

    A quarter of the bytes for uint8 images, and if it is all of them, the device scales the images.
    """
    return next(
        (n for n, augment in enumerate(augmentations) if not getattr(augment, "moves_only", False)),
        len(augmentations),
    )


class BatchGraph:
    """Augments batches of samples or patches that were read, as segframe.pipeline says.

    Args:
        reader: of the training part; its batches are taken apart and put together again.
        image_dtype: of the samples' images.
        scale: what raw images are multiplied by before they are augmented.
        size_multiple: of segframe.pipeline.
        ahead: so many batches are read ahead.
    """

    def __init__(
        self,
        reader: BatchReader,
        augmentations: Sequence[Any],
        *,
        batch_size: int,
        size_multiple: int,
        image_dtype: tf.DType,
        scale: float,
        ahead: int,
    ):
        self.reader, self.augmentations, self.batch_size = reader, augmentations, batch_size
        self.size_multiple, self.image_dtype = size_multiple, image_dtype
        self.scale, self.ahead = scale, ahead

    def iterate(self, passes: Iterator[list[Group]]) -> Iterator[Batch]:
        """A batch of each group, without end; two of them, and `ahead` that were read, are ready before.

        Raises:
            SegframeError: of the reader, as it was raised.
        """
        faults: list[SegframeError] = []
        lengths: deque[int] = deque()

        def groups() -> Iterator[Group]:
            for one in passes:
                if one:
                    lengths.append(len(one))
                    yield from one

        read = made_ahead(self._with_seeds, groups(), self.ahead)  # the next pass while this one ends
        first: list[dict[str, np.ndarray]] = []

        def begin(_: np.ndarray) -> np.int64:
            """The batches of the next pass."""
            first.append(self._told(read, faults))
            return np.int64(lengths.popleft())

        def batch(_: np.ndarray) -> list[np.ndarray]:
            return list((first.pop() if first else self._told(read, faults)).values())

        def each(begun: Any) -> Iterator[Batch]:
            try:
                yield from begun
            except tf.errors.OpError:
                if faults:
                    raise faults[0] from None
                raise
            finally:
                with contextlib.suppress(ValueError):  # a thread is in it: it ends when nobody refers to it
                    read.close()

        endless = tf.data.Dataset.range(np.iinfo(np.int64).max)
        batches = endless.flat_map(as_it_is(lambda number: self._batches(number, begin, batch)))
        options = tf.data.Options()
        options.experimental_optimization.map_parallelization = False  # `batch` is called in order
        stream = each(iter(batches.prefetch(2).with_options(options)))
        OPEN.add(stream)
        return stream

    @staticmethod
    def _told(read: Iterator[dict[str, np.ndarray]], faults: list[SegframeError]) -> dict[str, np.ndarray]:
        """The next one; TensorFlow makes an error of its own of a reader's."""
        if faults:  # tf.data asks again
            raise faults[0]
        try:
            return next(read)
        except SegframeError as error:
            faults.append(error)
            raise

    def _with_seeds(self, group: Group) -> dict[str, np.ndarray]:
        return self.reader.batch(group) | {"seed": group.seeds}

    def _batches(
        self,
        number: tf.Tensor,
        begin: Callable[[np.ndarray], np.int64],
        batch: Callable[[np.ndarray], list[np.ndarray]],
    ) -> tf.data.Dataset:
        """Those of one pass."""
        specs = self._specs()
        dtypes = [spec.dtype for spec in specs.values()]

        # Both are called one after the other, and called stateless: with functions that have a state, tf.data
        # does nothing ahead and nothing in parallel where TensorFlow is to be deterministic. What they are
        # given keeps them from being taken for constants.
        def read(at: tf.Tensor) -> Batch:
            arrays = tf.numpy_function(batch, [at], dtypes, stateful=False)
            return {
                name: tf.ensure_shape(array, spec.shape)
                for (name, spec), array in zip(specs.items(), arrays, strict=True)
            }

        # Read a batch at a time and then taken apart: a call of Python for each sample takes longer.
        count = tf.numpy_function(begin, [number], tf.int64, stateful=False)
        samples = tf.data.Dataset.range(count).map(as_it_is(read)).unbatch()
        as_stored = moving_pixels(self.augmentations)

        def augmented(sample: Batch) -> Batch:
            size, index, seed = (sample.pop(name) for name in ("size", "index", "seed"))
            target = _cut_to(size, sample)
            image = target.pop("image")
            for number, augment in enumerate(self.augmentations):
                if number == as_stored:
                    image = tf.cast(image, tf.float32) * self.scale
                    target["mask"] = tf.cast(target["mask"], tf.int32)
                own = tf.random.experimental.stateless_fold_in(seed, number)
                image, target = augment(image, target, own)
            target["mask"] = tf.cast(target["mask"], tf.uint8)
            return {"image": image, **target, "size": tf.shape(image)[:2], "index": index}

        batches = samples.map(as_it_is(augmented), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        padding = paddings(self.reader.makers)
        zeros = {name: tf.zeros((), batches.element_spec[name].dtype) for name in ("image", "size", "index")}
        shapes = {name: spec.shape for name, spec in batches.element_spec.items()}
        if self.reader.patches:
            shapes |= {name: (*self.reader.patches.size, *shapes[name][2:]) for name in ("image", *padding)}
        batches = batches.padded_batch(self.batch_size, padded_shapes=shapes, padding_values=padding | zeros)
        return batches.map(as_it_is(lambda batch: pad_edges(batch, self.size_multiple, padding)))

    def _specs(self) -> dict[str, tf.TensorSpec]:
        """Of what `reader` reads, in its order, and the seeds."""
        channels = self.reader.dataset.image_shape[2]
        return {
            "image": tf.TensorSpec((None, None, None, channels), self.image_dtype),
            "mask": tf.TensorSpec((None, None, None), tf.uint8),
            **{
                name: tf.TensorSpec((None, None, None, maker.channels), maker.dtype)
                for name, maker in self.reader.makers.items()
            },
            "size": tf.TensorSpec((None, 2), tf.int32),
            "index": tf.TensorSpec((None,), tf.int64),
            "seed": tf.TensorSpec((None, 2), tf.int32),
        }


def _cut_to(size: tf.Tensor, sample: Batch) -> Batch:
    """What the batch's larger samples had it filled up by is cut off. Most need no cut, which copies."""
    whole = tf.reduce_all(size == tf.shape(sample["mask"]))
    cut = tf.cond(
        whole,
        lambda: sample,
        lambda: {name: entry[: size[0], : size[1]] for name, entry in sample.items()},
    )
    return {name: tf.ensure_shape(entry, sample[name].shape) for name, entry in cut.items()}
