"""Data set -> batches: order, augmentation, padding, prefetch. The same batches for a seed, always.

A batch is {"image": (batch, height, width, channels) uint8 raw, or float32 raw or augmented,
"mask": (batch, height, width) int32 class ids with IGNORED on padding, "index": (batch,) int64 positions in
the part, "size": (batch, 2) int32 height and width before padding}, and (batch, height, width, channels) of
each map that the loss asks for, by its name. Height and width are the largest of the batch, rounded up to the
model's size multiple; images are continued by their edge pixels, below and right.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from segframe.batch import MASK_PADDING, pad_edges, padded_size
from segframe.dataset import Dataset
from segframe.errors import SegframeError
from segframe.normalisation import Normalisation, measure
from segframe.split import Part

as_it_is = tf.autograph.experimental.do_not_convert
"""AutoGraph reads the source again when it traces: an edit during a run would mix functions."""


class Pipeline:
    """Batches of the parts of a run.

    Args:
        parts: from segframe.split.
        augmentations: applied to training samples in this order.
        seed: of the run; with the epoch it fixes order and augmentation.
        maps: {name: maker} of the maps that each sample gets (segframe.loss_maps).
        normalisation: measured on the part train if None.
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
        normalisation: Normalisation | None = None,
    ):
        self.dataset, self.parts = dataset, dict(parts)
        self.batch_size, self.seed, self.size_multiple = batch_size, seed, size_multiple
        self.augmentations = tuple(augmentations)
        self.maps = dict(maps or {})
        self.full_size = padded_size(dataset.image_shape[:2], size_multiple)
        """(height, width) of a batch that has the data's largest image."""
        self._whole: dict[str, tf.data.Dataset] = {}
        self.normalisation: Normalisation = normalisation or measure(dataset, self.parts["train"])
        if self.augmentations and not 0 <= self.normalisation.low <= self.normalisation.high <= 1:
            raise SegframeError(
                "augment",
                expected="images in [0, 1], or uint8 ones (augmentations work in [0, 1])",
                got=f"values from {self.normalisation.low:g} to {self.normalisation.high:g} in train",
                remedy="Scale the float images in the file to [0, 1], or choose augment=none.",
            )
        some = next(iter(self.parts.values()))
        first = dataset.read(some.split, some.indices[:1])[0]
        self.image_dtype = tf.as_dtype(first.image.dtype)

    def steps(self, part: str) -> int:
        """Batches of one pass over a part; the last one may be smaller."""
        return math.ceil(len(self.parts[part].ids) / self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """(samples,) positions in the training part, shuffled by seed and epoch."""
        return self._random(epoch, 0).permutation(len(self.parts["train"].ids))

    def stream(self, epoch: int, start_step: int = 0) -> Iterator[dict[str, tf.Tensor]]:
        """Training batches from this step of this epoch on, epoch after epoch without end.

        An epoch is one pass over the data. One tf.data graph for all of them: while an epoch is validated,
        the next one's batches are read.
        """
        passes = self._passes(epoch, start_step * self.batch_size)
        return iter(
            passes.flat_map(as_it_is(lambda one: self._batches("train", one, self.augmentations))).prefetch(2)
        )

    def full_batches(self, start_step: int = 0) -> Iterator[dict[str, tf.Tensor]]:
        """Training batches from this step of the run on, pass after pass without end, all of `batch_size`.

        Where a pass over the data ends, a batch goes on with the next one: for train.steps_per_epoch.
        """
        first, offset = divmod(start_step * self.batch_size, len(self.parts["train"].ids))
        samples = self._passes(first, offset).flat_map(as_it_is(lambda one: one))
        return iter(self._batches("train", samples, self.augmentations).prefetch(2))

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
            return iter(self._in_order(part, np.asarray(positions)).prefetch(2))
        if part not in self._whole:
            everything = np.arange(len(self.parts[part].ids))
            self._whole[part] = self._in_order(part, everything).prefetch(2)
        return iter(self._whole[part])

    def _in_order(self, part: str, positions: np.ndarray) -> tf.data.Dataset:
        both = positions.astype(np.int64), np.zeros((len(positions), 2), np.int32)
        return self._batches(part, tf.data.Dataset.from_tensor_slices(both), ())

    def _random(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch, stream])))

    def _batches(self, part: str, samples: tf.data.Dataset, augmentations: Sequence[Any]) -> tf.data.Dataset:
        """Batches of `samples`, (position, seed) each."""
        channels = self.dataset.image_shape[2]
        chosen = self.parts[part]

        def read(position: np.ndarray) -> tuple[np.ndarray, ...]:
            sample = self.dataset.read(chosen.split, [chosen.indices[int(position)]])[0]
            return sample.image, sample.mask, *(maker.make(sample.mask) for maker in self.maps.values())

        def load(position: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
            dtypes = [self.image_dtype, tf.uint8, *(tf.as_dtype(maker.dtype) for maker in self.maps.values())]
            image, mask, *maps = tf.numpy_function(read, [position], dtypes, stateful=False)
            image = tf.ensure_shape(image, (None, None, channels))
            target = {"mask": tf.cast(tf.ensure_shape(mask, (None, None)), tf.int32)}
            for (name, maker), values in zip(self.maps.items(), maps, strict=True):
                target[name] = tf.ensure_shape(values, (None, None, maker.channels))
            if augmentations:
                image = tf.cast(image, tf.float32) * self.normalisation.scale
                for number, augment in enumerate(augmentations):
                    own = tf.random.experimental.stateless_fold_in(seed, number)
                    image, target = augment(image, target, own)
            return {"image": image, **target, "size": tf.shape(image)[:2], "index": position}

        batches = samples.map(as_it_is(load), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        padding = {"mask": tf.constant(MASK_PADDING["mask"], tf.int32)}
        padding |= {name: tf.constant(maker.padding, maker.dtype) for name, maker in self.maps.items()}
        batches = batches.padded_batch(
            self.batch_size,
            padding_values={
                "image": tf.zeros((), batches.element_spec["image"].dtype),
                **padding,
                "size": tf.zeros((), tf.int32),
                "index": tf.zeros((), tf.int64),
            },
        )
        return batches.map(as_it_is(lambda batch: pad_edges(batch, self.size_multiple, padding)))
