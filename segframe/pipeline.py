"""Data set -> batches: order, augmentation, padding, prefetch. The same batches for a seed, always.

A batch is {"image": (batch, height, width, channels) uint8 raw, or float32 raw or augmented,
"mask": (batch, height, width) uint8 class ids with IGNORED on padding, "index": (batch,) int64 positions in
the part, "size": (batch, 2) int32 height and width before padding}, and (batch, height, width, channels) of
each map that the loss asks for, by its name. Height and width are the largest of the batch, rounded up to the
model's size multiple; images are continued by their edge pixels, below and right. In a run on patches
(segframe.patches) a training batch has those, all padded to one size, and "size" is each patch's own.
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
from segframe.order import StoredBlocks, blocks_of, shuffled
from segframe.patches import Cut, Patches
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
        self.maps, self.patches = dict(maps or {}), patches
        self.full_size = padded_size(patches.size if patches else dataset.image_shape[:2], size_multiple)
        """(height, width) of a batch of patches, or of one that has the data's largest image."""
        train = self.parts.get("train")
        self.pass_length = len(train.ids) * (patches.per_image if patches else 1) if train else 0
        """Samples of one pass over the training part: its images, or their patches."""
        self._whole: dict[str, tf.data.Dataset] = {}
        self._faults: list[SegframeError] = []
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
        self.image_dtype = tf.as_dtype(first.image.dtype)

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
            batches = self._read("train", groups)
        return self._iterate(batches)

    def full_batches(self, start_step: int = 0) -> Iterator[dict[str, tf.Tensor]]:
        """Training batches from this step of the run on, pass after pass without end, all of `batch_size`.

        Where a pass over the data ends, a batch goes on with the next one: for train.steps_per_epoch.
        """
        first, offset = divmod(start_step * self.batch_size, self.pass_length)
        samples = self._passes(first, offset).flat_map(as_it_is(lambda one: one))
        return self._iterate(self._training(samples))

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
        count = len(positions)
        whole = np.zeros((count, 2), np.int32), np.full(count, Cut.WHOLE, np.int32)
        return self._batches(
            part, tf.data.Dataset.from_tensor_slices((positions.astype(np.int64), *whole)), ()
        )

    def _random(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch, stream])))

    def _training(self, samples: tf.data.Dataset) -> tf.data.Dataset:
        return self._batches("train", samples, self.augmentations, self.patches)

    def _batches(
        self,
        part: str,
        samples: tf.data.Dataset,
        augmentations: Sequence[Any] = (),
        patches: Patches | None = None,
    ) -> tf.data.Dataset:
        """Batches of `samples`, (position, seed, cut) each: patches of them, or whole ones."""
        if not augmentations and not patches:
            return self._read(part, samples.batch(self.batch_size))
        reader = BatchReader(self.dataset, self.parts[part], self.maps, patches, self._faults.append)

        def load(position: tf.Tensor, seed: tf.Tensor, cut: tf.Tensor) -> dict[str, tf.Tensor]:
            read = tf.numpy_function(reader.sample, [position, cut, seed], self._dtypes(), stateful=False)
            image, target = self._named(read, ())
            if augmentations:
                target["mask"] = tf.cast(target["mask"], tf.int32)
                image = tf.cast(image, tf.float32) * self.normalisation.scale
                for number, augment in enumerate(augmentations):
                    own = tf.random.experimental.stateless_fold_in(seed, number)
                    image, target = augment(image, target, own)
                target["mask"] = tf.cast(target["mask"], tf.uint8)
            return {"image": image, **target, "size": tf.shape(image)[:2], "index": position}

        batches = samples.map(as_it_is(load), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        padding = {"image": tf.zeros((), batches.element_spec["image"].dtype), **self._padding()}
        shapes = {name: spec.shape for name, spec in batches.element_spec.items()}
        if patches:
            shapes |= {name: (*patches.size, *shapes[name][2:]) for name in padding}
        padding |= {"size": tf.zeros((), tf.int32), "index": tf.zeros((), tf.int64)}
        return self._padded(
            batches.padded_batch(self.batch_size, padded_shapes=shapes, padding_values=padding)
        )

    def _read(self, part: str, groups: tf.data.Dataset) -> tf.data.Dataset:
        """Batches of `groups`, (positions, seeds, cuts) of a batch each, as they are stored."""
        reader = BatchReader(self.dataset, self.parts[part], self.maps, on_fault=self._faults.append)

        def load(positions: tf.Tensor, seeds: tf.Tensor, cuts: tf.Tensor) -> dict[str, tf.Tensor]:
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
