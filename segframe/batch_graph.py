"""The tf.data graph of batches: samples read, augmented, padded; what each is, segframe.pipeline says."""

from __future__ import annotations

import atexit
import contextlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from segframe.batch import MASK_PADDING, pad_edges
from segframe.batch_reading import BatchReader
from segframe.dataset import Dataset
from segframe.errors import SegframeError
from segframe.patches import Patches
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


def moving_pixels(augmentations: Sequence[Any]) -> int:
    """How many of the first do no more than move pixels: they take images and masks as they are stored.

    A quarter of the bytes for uint8 images, and if it is all of them, the device scales the images.
    """
    return next(
        (n for n, augment in enumerate(augmentations) if not getattr(augment, "moves_only", False)),
        len(augmentations),
    )


class BatchGraph:
    """Makes batches of samples of a data set, (position in a part, seed, segframe.patches.Cut) each.

    Args:
        image_dtype: of the samples' images.
        scale: what raw images are multiplied by before they are augmented.
        maps, size_multiple: of segframe.pipeline.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        size_multiple: int,
        image_dtype: tf.DType,
        scale: float,
        maps: Mapping[str, Any],
    ):
        self.dataset, self.batch_size, self.size_multiple = dataset, batch_size, size_multiple
        self.image_dtype, self.scale, self.maps = image_dtype, scale, maps
        self._faults: list[SegframeError] = []

    def iterate(self, batches: tf.data.Dataset) -> Iterator[dict[str, tf.Tensor]]:
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

    def batches(
        self,
        part: Part,
        samples: tf.data.Dataset,
        augmentations: Sequence[Any] = (),
        patches: Patches | None = None,
    ) -> tf.data.Dataset:
        """Batches of `samples`, (position, seed, cut) each: patches of them, or whole ones."""
        if not patches:
            read = self._read(part, samples.batch(self.batch_size))
            if not augmentations:
                return self._padded(read)
            # Read a batch at a time and then taken apart: one call of Python, not one for each sample.
            each = read.unbatch()
        else:
            each = self._read_patches(part, samples, patches)
        as_stored = moving_pixels(augmentations)

        def augmented(sample: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            size, index, seed = (sample.pop(name) for name in ("size", "index", "seed"))
            target = {name: entry[: size[0], : size[1]] for name, entry in sample.items()}
            image = target.pop("image")
            for number, augment in enumerate(augmentations):
                if number == as_stored:
                    image = tf.cast(image, tf.float32) * self.scale
                    target["mask"] = tf.cast(target["mask"], tf.int32)
                own = tf.random.experimental.stateless_fold_in(seed, number)
                image, target = augment(image, target, own)
            target["mask"] = tf.cast(target["mask"], tf.uint8)
            return {"image": image, **target, "size": tf.shape(image)[:2], "index": index}

        batches = each.map(as_it_is(augmented), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        padding = {"image": tf.zeros((), batches.element_spec["image"].dtype), **self._padding()}
        shapes = {name: spec.shape for name, spec in batches.element_spec.items()}
        if patches:
            shapes |= {name: (*patches.size, *shapes[name][2:]) for name in padding}
        padding |= {"size": tf.zeros((), tf.int32), "index": tf.zeros((), tf.int64)}
        return self._padded(
            batches.padded_batch(self.batch_size, padded_shapes=shapes, padding_values=padding)
        )

    def stored(self, part: Part, groups: tf.data.Dataset) -> tf.data.Dataset:
        """Batches of `groups`, (positions, seeds, cuts) of a batch each, as they are stored."""
        return self._padded(self._read(part, groups))

    def _read(self, part: Part, groups: tf.data.Dataset) -> tf.data.Dataset:
        """Whole samples, stacked: image, mask, maps, size, index and seed."""
        reader = BatchReader(self.dataset, part, self.maps, on_fault=self._faults.append)

        def load(positions: tf.Tensor, seeds: tf.Tensor, cuts: tf.Tensor) -> dict[str, tf.Tensor]:
            dtypes = [*self._dtypes(), tf.int32]
            *read, sizes = tf.numpy_function(reader.batch, [positions], dtypes, stateful=False)
            size = tf.ensure_shape(sizes, (None, 2))
            return {**self._named(read, (None,)), "size": size, "index": positions, "seed": seeds}

        return groups.map(as_it_is(load), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _read_patches(self, part: Part, samples: tf.data.Dataset, patches: Patches) -> tf.data.Dataset:
        """Patches, one by one: image, mask, maps, size, index and seed."""
        reader = BatchReader(self.dataset, part, self.maps, patches, self._faults.append)

        def load(position: tf.Tensor, seed: tf.Tensor, cut: tf.Tensor) -> dict[str, tf.Tensor]:
            read = tf.numpy_function(reader.patch, [position, cut, seed], self._dtypes(), stateful=False)
            size = tf.shape(read[1])[:2]
            return {**self._named(read, ()), "size": size, "index": position, "seed": seed}

        return samples.map(as_it_is(load), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _dtypes(self) -> list[tf.DType]:
        return [self.image_dtype, tf.uint8, *(tf.as_dtype(maker.dtype) for maker in self.maps.values())]

    def _named(self, read: Sequence[tf.Tensor], lead: tuple[None, ...]) -> dict[str, tf.Tensor]:
        """What a BatchReader read, with what is known of the shapes."""
        image, mask, *maps = read
        named = {
            "image": tf.ensure_shape(image, (*lead, None, None, self.dataset.image_shape[2])),
            "mask": tf.ensure_shape(mask, (*lead, None, None)),
        }
        for (name, maker), values in zip(self.maps.items(), maps, strict=True):
            named[name] = tf.ensure_shape(values, (*lead, None, None, maker.channels))
        return named

    def _padding(self) -> dict[str, tf.Tensor]:
        padding = {"mask": tf.constant(MASK_PADDING["mask"], tf.uint8)}
        return padding | {name: tf.constant(maker.padding, maker.dtype) for name, maker in self.maps.items()}

    def _padded(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        padding = self._padding()

        def padded(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            batch.pop("seed", None)
            return pad_edges(batch, self.size_multiple, padding)

        return batches.map(as_it_is(padded))
