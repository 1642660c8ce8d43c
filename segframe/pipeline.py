"""Data set -> batches: order, augmentation, padding, prefetch. The same batches for a seed, always.

A batch is {"image": (batch, height, width, channels) uint8 raw, or float32 raw or augmented,
"mask": (batch, height, width) uint8 class ids with IGNORED on padding, "index": (batch,) int64 positions in
the part, "size": (batch, 2) int32 height and width before padding}, and (batch, height, width, channels) of
each map that the loss asks for, by its name. Height and width are the largest of the batch, rounded up to the
model's size multiple; images are continued by their edge pixels, below and right.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from segframe.batch import MASK_PADDING, pad_edges, padded_size
from segframe.batch_reading import BatchReader
from segframe.dataset import Dataset
from segframe.errors import SegframeError
from segframe.normalisation import Normalisation, measure
from segframe.order import blocks_of, shuffled
from segframe.split import Part

as_it_is = tf.autograph.experimental.do_not_convert
"""AutoGraph reads the source again when it traces: an edit during a run would mix functions."""

OPEN: weakref.WeakSet[Any] = weakref.WeakSet()
"""Streams that somebody holds."""


@atexit.register
def _close_all() -> None:
    """One that is still read when Python ends would wait for ever for threads that Python has stopped."""
    for stream in list(OPEN):
        with contextlib.suppress(ValueError):  # a thread is in it
            stream.close()


class Pipeline:
    """Batches of the parts of a run.

    Args:
        parts: from segframe.split.
        augmentations: applied to training samples in this order.
        seed: of the run; with the epoch it fixes order and augmentation.
        maps: {name: maker} of the maps that each sample gets (segframe.loss_maps).
    """

    def __init__(
        self,
        dataset: Dataset,
        parts: Mapping[str, Part],
        *,
        batch_size: int,
        seed: int,
        augmentations: Sequence[Any] = (),
        size_multiple: int = 1,
        maps: Mapping[str, Any] | None = None,
    ):
        self.dataset, self.parts = dataset, dict(parts)
        self.batch_size, self.seed, self.size_multiple = batch_size, seed, size_multiple
        self.augmentations = tuple(augmentations)
        self.maps = dict(maps or {})
        self.full_size = padded_size(dataset.image_shape[:2], size_multiple)
        """(height, width) of a batch that has the data's largest image."""
        self._whole: dict[str, tf.data.Dataset] = {}
        self._faults: list[SegframeError] = []
        self.normalisation: Normalisation = measure(dataset, self.parts["train"])
        if self.augmentations and not 0 <= self.normalisation.low <= self.normalisation.high <= 1:
            raise SegframeError(
                "augment",
                expected="images in [0, 1], or uint8 ones (augmentations work in [0, 1])",
                got=f"values from {self.normalisation.low:g} to {self.normalisation.high:g} in train",
                remedy="Scale the float images in the file to [0, 1], or choose augment=none.",
            )
        self._blocks = blocks_of(dataset, self.parts["train"])
        first = dataset.read(self.parts["train"].split, self.parts["train"].indices[:1])[0]
        self.image_dtype = tf.as_dtype(first.image.dtype)

    def steps(self, part: str) -> int:
        """Batches of one pass over a part; the last one may be smaller."""
        return math.ceil(len(self.parts[part].ids) / self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """(samples,) positions in the training part, shuffled by seed and epoch."""
        return shuffled(self._random(epoch, 0), len(self.parts["train"].ids), self._blocks)

    def stream(self, epoch: int, start_step: int = 0) -> Iterator[dict[str, tf.Tensor]]:
        """Training batches from this step of this epoch on, epoch after epoch without end.

        An epoch is one pass over the data. One tf.data graph for all of them: while an epoch is validated,
        the next one's batches are read.
        """
        passes = self._passes(epoch, start_step * self.batch_size)
        if self.augmentations:
            batches = passes.flat_map(as_it_is(lambda one: self._batches("train", one, self.augmentations)))
        else:  # so that the next pass is begun while this one ends
            groups = passes.flat_map(as_it_is(lambda one: one.batch(self.batch_size)))
            batches = self._read("train", groups)
        return self._iterate(batches)

    def full_batches(self, start_step: int = 0) -> Iterator[dict[str, tf.Tensor]]:
        """Training batches from this step of the run on, pass after pass without end, all of `batch_size`.

        Where a pass over the data ends, a batch goes on with the next one: for train.steps_per_epoch.
        """
        first, offset = divmod(start_step * self.batch_size, len(self.parts["train"].ids))
        samples = self._passes(first, offset).flat_map(as_it_is(lambda one: one))
        return self._iterate(self._batches("train", samples, self.augmentations))

    def _passes(self, first: int, offset: int) -> tf.data.Dataset:
        """Pass after pass, each a data set of (position, seed); the first one begins at `offset`."""

        def samples(number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            order = self.order(int(number))
            seeds = self._random(int(number), 1).integers(2**31 - 1, size=(len(order), 2), dtype=np.int32)
            order = order[offset if number == first else 0 :]
            return order.astype(np.int64), seeds[order]

        def one(number: tf.Tensor) -> tf.data.Dataset:
            positions, seeds = tf.numpy_function(samples, [number], [tf.int64, tf.int32], stateful=False)
            both = tf.ensure_shape(positions, (None,)), tf.ensure_shape(seeds, (None, 2))
            return tf.data.Dataset.from_tensor_slices(both)

        return tf.data.Dataset.range(first, np.iinfo(np.int64).max).map(as_it_is(one))

    def train(self, epoch: int, start_step: int = 0) -> Iterator[dict[str, tf.Tensor]]:
        """The batches of one epoch, from `start_step` of it on: what a resumed run continues with."""
        return itertools.islice(self.stream(epoch, start_step), self.steps("train") - start_step)

    def evaluate(self, part: str, positions: Sequence[int] | None = None) -> Iterator[dict[str, tf.Tensor]]:
        """One pass over a part (or some positions in it), in its order, without augmentation."""
        if positions is not None:
            return self._iterate(self._in_order(part, np.asarray(positions)))
        if part not in self._whole:
            everything = np.arange(len(self.parts[part].ids))
            self._whole[part] = self._in_order(part, everything)
        return self._iterate(self._whole[part])

    def _iterate(self, batches: tf.data.Dataset) -> Iterator[dict[str, tf.Tensor]]:
        """The batches, two of them read ahead; what a reader found wrong is raised as it was."""

        def each(begun: Any) -> Iterator[dict[str, tf.Tensor]]:
            try:
                yield from begun
            except tf.errors.OpError:
                if self._faults:
                    raise self._faults[0] from None
                raise

        stream = each(iter(batches.prefetch(2)))
        OPEN.add(stream)
        return stream

    def _in_order(self, part: str, positions: np.ndarray) -> tf.data.Dataset:
        both = positions.astype(np.int64), np.zeros((len(positions), 2), np.int32)
        return self._batches(part, tf.data.Dataset.from_tensor_slices(both), ())

    def _random(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch, stream])))

    def _batches(self, part: str, samples: tf.data.Dataset, augmentations: Sequence[Any]) -> tf.data.Dataset:
        """Batches of `samples`, (position, seed) each."""
        if not augmentations:
            return self._read(part, samples.batch(self.batch_size))
        reader = BatchReader(self.dataset, self.parts[part], self.maps, self._faults.append)

        def load(position: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
            read = tf.numpy_function(reader.sample, [position], self._dtypes(), stateful=False)
            image, target = self._named(read, ())
            target["mask"] = tf.cast(target["mask"], tf.int32)
            image = tf.cast(image, tf.float32) * self.normalisation.scale
            for number, augment in enumerate(augmentations):
                own = tf.random.experimental.stateless_fold_in(seed, number)
                image, target = augment(image, target, own)
            target["mask"] = tf.cast(target["mask"], tf.uint8)
            return {"image": image, **target, "size": tf.shape(image)[:2], "index": position}

        batches = samples.map(as_it_is(load), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        padding = {"image": tf.zeros((), tf.float32), **self._padding()}
        padding |= {"size": tf.zeros((), tf.int32), "index": tf.zeros((), tf.int64)}
        return self._padded(batches.padded_batch(self.batch_size, padding_values=padding))

    def _read(self, part: str, groups: tf.data.Dataset) -> tf.data.Dataset:
        """Batches of `groups`, (positions, seeds) of a batch each, as they are stored."""
        reader = BatchReader(self.dataset, self.parts[part], self.maps, self._faults.append)

        def load(positions: tf.Tensor, seeds: tf.Tensor) -> dict[str, tf.Tensor]:
            dtypes = [*self._dtypes(), tf.int32]
            *read, sizes = tf.numpy_function(reader.batch, [positions], dtypes, stateful=False)
            image, target = self._named(read, (None,))
            return {"image": image, **target, "size": tf.ensure_shape(sizes, (None, 2)), "index": positions}

        batches = groups.map(as_it_is(load), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return self._padded(batches)

    def _dtypes(self) -> list[tf.DType]:
        return [self.image_dtype, tf.uint8, *(tf.as_dtype(maker.dtype) for maker in self.maps.values())]

    def _named(
        self, read: Sequence[tf.Tensor], lead: tuple[None, ...]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """What a BatchReader read as image and target, with what is known of their shapes."""
        image, mask, *maps = read
        image = tf.ensure_shape(image, (*lead, None, None, self.dataset.image_shape[2]))
        target = {"mask": tf.ensure_shape(mask, (*lead, None, None))}
        for (name, maker), values in zip(self.maps.items(), maps, strict=True):
            target[name] = tf.ensure_shape(values, (*lead, None, None, maker.channels))
        return image, target

    def _padding(self) -> dict[str, tf.Tensor]:
        padding = {"mask": tf.constant(MASK_PADDING["mask"], tf.uint8)}
        return padding | {name: tf.constant(maker.padding, maker.dtype) for name, maker in self.maps.items()}

    def _padded(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        padding = self._padding()
        return batches.map(as_it_is(lambda batch: pad_edges(batch, self.size_multiple, padding)))
