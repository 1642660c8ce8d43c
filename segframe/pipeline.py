"""Data set -> batches: order, augmentation, padding, prefetch. The same batches for a seed, always.

A batch is {"image": (batch, height, width, channels) uint8 or float32 raw, or float32 scaled
(Pipeline.scaled), "mask": (batch, height, width) uint8 class ids with IGNORED on padding, "index": (batch,)
int64 positions in the part, "size": (batch, 2) int32 height and width before padding}, and (batch, height,
width, channels) of each map that the loss asks for, by its name. Height and width are the largest of the
batch, rounded up to the model's size multiple; images are continued by their edge pixels, below and right. In
a run on patches (segframe.patches) a training batch has those, all padded to one size, and "size" is each
patch's own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from segframe.batch import padded_size
from segframe.batch_graph import BatchGraph, as_it_is, moving_pixels
from segframe.dataset import Dataset
from segframe.errors import SegframeError
from segframe.normalisation import Normalisation, measure
from segframe.order import StoredBlocks, blocks_of, shuffled
from segframe.patches import Cut, Patches
from segframe.split import Part


class Pipeline:
    """Batches of the parts of a run.

    Args:
        parts: from segframe.split.
        augmentations: applied to training samples in this order.
        seed: of the run; with the epoch it fixes order and augmentation.
        maps: {name: maker} of the maps that each sample gets (segframe.loss_maps).
        patches: what is trained on, where that is not the whole images.
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
        patches: Patches | None = None,
        normalisation: Normalisation | None = None,
    ):
        self.dataset, self.parts = dataset, dict(parts)
        self.batch_size, self.seed, self.size_multiple = batch_size, seed, size_multiple
        self.augmentations = tuple(augmentations)
        self.scaled = moving_pixels(self.augmentations) < len(self.augmentations)
        """Whether training images are raw * normalisation.scale, float32: some augmentation took them so."""
        self.maps, self.patches = dict(maps or {}), patches
        self.full_size = padded_size(patches.size if patches else dataset.image_shape[:2], size_multiple)
        """(height, width) of a batch of patches, or of one that has the data's largest image."""
        train = self.parts.get("train")
        self.pass_length = len(train.ids) * (patches.per_image if patches else 1) if train else 0
        """Samples of one pass over the training part: its images, or their patches."""
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
        self._blocks = blocks_of(dataset, train) if train else None
        if self._blocks and patches:
            of = np.repeat(self._blocks.of, patches.per_image)
            self._blocks = StoredBlocks(of, self._blocks.together)
        first = dataset.read(some.split, some.indices[:1])[0]
        self._graph = BatchGraph(
            dataset,
            batch_size=batch_size,
            size_multiple=size_multiple,
            image_dtype=tf.as_dtype(first.image.dtype),
            scale=self.normalisation.scale,
            maps=self.maps,
        )

    def steps(self, part: str) -> int:
        """Batches of one pass over a part; the last one may be smaller."""
        return math.ceil(
            (self.pass_length if part == "train" else len(self.parts[part].ids)) / self.batch_size
        )

    def order(self, epoch: int) -> np.ndarray:
        """(pass_length,) 0, 1, ... shuffled by seed and epoch: positions in the training part, or patches."""
        return shuffled(self._random(epoch, 0), self.pass_length, self._blocks)

    def stream(self, epoch: int, start_step: int = 0) -> Iterator[dict[str, tf.Tensor]]:
        """Training batches from this step of this epoch on, epoch after epoch without end.

        An epoch is one pass over the data. One tf.data graph for all of them: while an epoch is validated,
        the next one's batches are read.
        """
        passes = self._passes(epoch, start_step * self.batch_size)
        if self.augmentations or self.patches:
            batches = passes.flat_map(as_it_is(self._training))
        else:  # so that the next pass is begun while this one ends
            groups = passes.flat_map(as_it_is(lambda one: one.batch(self.batch_size)))
            batches = self._graph.stored(self.parts["train"], groups)
        return self._graph.iterate(batches)

    def full_batches(self, start_step: int = 0) -> Iterator[dict[str, tf.Tensor]]:
        """Training batches from this step of the run on, pass after pass without end, all of `batch_size`.

        Where a pass over the data ends, a batch goes on with the next one: for train.steps_per_epoch.
        """
        first, offset = divmod(start_step * self.batch_size, self.pass_length)
        samples = self._passes(first, offset).flat_map(as_it_is(lambda one: one))
        return self._graph.iterate(self._training(samples))

    def _passes(self, first: int, offset: int) -> tf.data.Dataset:
        """Pass after pass, each a data set of (position, seed, cut); the first one begins at `offset`."""

        def samples(number: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            order = self.order(int(number))
            seeds = self._random(int(number), 1).integers(2**31 - 1, size=(len(order), 2), dtype=np.int32)
            cuts = np.full(len(order), Cut.WHOLE, np.int32)
            if self.patches:
                cuts = self.patches.cuts(int(number) * len(order), len(order))
            rest = slice(offset if number == first else 0, None)
            order = order[rest]
            per_image = self.pass_length // len(self.parts["train"].ids)
            return order.astype(np.int64) // per_image, seeds[order], cuts[rest]

        def one(number: tf.Tensor) -> tf.data.Dataset:
            found = tf.numpy_function(samples, [number], [tf.int64, tf.int32, tf.int32], stateful=False)
            shapes = (None,), (None, 2), (None,)
            return tf.data.Dataset.from_tensor_slices(tuple(map(tf.ensure_shape, found, shapes)))

        return tf.data.Dataset.range(first, np.iinfo(np.int64).max).map(as_it_is(one))

    def train(self, epoch: int, start_step: int = 0) -> Iterator[dict[str, tf.Tensor]]:
        """The batches of one epoch, from `start_step` of it on: what a resumed run continues with."""
        return itertools.islice(self.stream(epoch, start_step), self.steps("train") - start_step)

    def evaluate(self, part: str, positions: Sequence[int] | None = None) -> Iterator[dict[str, tf.Tensor]]:
        """One pass over a part (or some positions in it), in its order, without augmentation."""
        if positions is not None:
            return self._graph.iterate(self._in_order(part, np.asarray(positions)))
        if part not in self._whole:
            everything = np.arange(len(self.parts[part].ids))
            self._whole[part] = self._in_order(part, everything)
        return self._graph.iterate(self._whole[part])

    def _in_order(self, part: str, positions: np.ndarray) -> tf.data.Dataset:
        count = len(positions)
        whole = np.zeros((count, 2), np.int32), np.full(count, Cut.WHOLE, np.int32)
        samples = tf.data.Dataset.from_tensor_slices((positions.astype(np.int64), *whole))
        return self._graph.batches(self.parts[part], samples)

    def _random(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch, stream])))

    def _training(self, samples: tf.data.Dataset) -> tf.data.Dataset:
        return self._graph.batches(self.parts["train"], samples, self.augmentations, self.patches)
