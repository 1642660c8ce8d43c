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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from segframe.batch import padded_size
from segframe.batch_graph import BatchGraph, moving_pixels
from segframe.batch_reading import BatchReader, Group
from segframe.batch_stream import AHEAD_BYTES, BatchMaker, batches_ahead, made_ahead
from segframe.dataset import Dataset
from segframe.errors import SegframeError
from segframe.normalisation import Normalisation, measure
from segframe.order import blocks_of, shuffled
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
        self._makers: dict[tuple[str, bool], BatchMaker] = {}  # whether of patches
        self.normalisation: Normalisation = normalisation or measure(dataset, self.parts["train"])
        if self.augmentations and not 0 <= self.normalisation.low <= self.normalisation.high <= 1:
            raise SegframeError(
                "augment",
                expected="images in [0, 1], or uint8 ones (augmentations work in [0, 1])",
                got=f"values from {self.normalisation.low:g} to {self.normalisation.high:g} in train",
                remedy="Scale the float images in the file to [0, 1], or choose augment=none.",
            )
        some = next(iter(self.parts.values()))
        blocks = blocks_of(dataset, train or some)
        # More that is read ahead would be of chunks that are not held any more when they are asked for.
        self._ahead_bytes = min(AHEAD_BYTES, blocks.window_bytes) if blocks else AHEAD_BYTES
        if blocks and patches:
            blocks = blocks._replace(of=np.repeat(blocks.of, patches.per_image))
        self._blocks = blocks
        first = dataset.read(some.split, some.indices[:1])[0]
        self._image_dtype = tf.as_dtype(first.image.dtype)

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

        An epoch is one pass over the data. While an epoch is validated, the next one's batches are read.
        """
        return self._training(map(self._groups, self._passes(epoch, start_step * self.batch_size)))

    def full_batches(self, start_step: int = 0) -> Iterator[dict[str, tf.Tensor]]:
        """Training batches from this step of the run on, pass after pass without end, all of `batch_size`.

        Where a pass over the data ends, a batch goes on with the next one: for train.steps_per_epoch.
        """

        def full() -> Iterator[list[Group]]:
            passes = self._passes(*divmod(start_step * self.batch_size, self.pass_length))
            left = next(passes)
            while True:
                many = len(left.positions) // self.batch_size * self.batch_size
                yield self._groups(left.part(0, many))
                left = left.part(many).followed_by(next(passes))

        return self._training(full())

    def _passes(self, first: int, offset: int) -> Iterator[Group]:
        """Pass after pass over the training part; the first one begins at `offset`."""
        per_image = self.pass_length // len(self.parts["train"].ids)
        for number in itertools.count(first):
            order = self.order(number)
            seeds = self._random(number, 1).integers(2**31 - 1, size=(len(order), 2), dtype=np.int32)
            if self.patches:
                cuts = self.patches.cuts(number * len(order), len(order))
            else:
                cuts = np.full(len(order), Cut.WHOLE, np.int32)
            whole = Group(order.astype(np.int64) // per_image, seeds[order], cuts)
            yield whole.part(offset if number == first else 0)

    def _groups(self, of: Group) -> list[Group]:
        """Its batches; the last one may be smaller."""
        starts = range(0, len(of.positions), self.batch_size)
        return [of.part(start, start + self.batch_size) for start in starts]

    def train(self, epoch: int, start_step: int = 0) -> Iterator[dict[str, tf.Tensor]]:
        """The batches of one epoch, from `start_step` of it on: what a resumed run continues with."""
        return itertools.islice(self.stream(epoch, start_step), self.steps("train") - start_step)

    def evaluate(self, part: str, positions: Sequence[int] | None = None) -> Iterator[dict[str, tf.Tensor]]:
        """One pass over a part (or some positions in it), in its order, without augmentation."""
        if positions is None:
            positions = range(len(self.parts[part].ids))
        return self._as_read(part, self._groups(Group.whole(positions)))

    def _random(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch, stream])))

    def _training(self, passes: Iterator[list[Group]]) -> Iterator[dict[str, tf.Tensor]]:
        if not self.augmentations:
            return self._as_read("train", itertools.chain.from_iterable(passes), self.patches)
        ahead = self._ahead(self.patches)
        graph = BatchGraph(
            BatchReader(self.dataset, self.parts["train"], self.maps, self.patches, at_once=ahead + 2),
            self.augmentations,
            batch_size=self.batch_size,
            size_multiple=self.size_multiple,
            image_dtype=self._image_dtype,
            scale=self.normalisation.scale,
            ahead=ahead,
        )
        return graph.iterate(passes)

    def _as_read(
        self, part: str, groups: Iterable[Group], patches: Patches | None = None
    ) -> Iterator[dict[str, tf.Tensor]]:
        """Batches that nothing is done to."""
        key, ahead = (part, bool(patches)), self._ahead(patches)
        if key not in self._makers:
            reader = BatchReader(self.dataset, self.parts[part], self.maps, patches, at_once=ahead + 2)
            self._makers[key] = BatchMaker(reader, self.size_multiple)
        return made_ahead(self._makers[key], groups, ahead)

    def _ahead(self, patches: Patches | None) -> int:
        """How many batches are read ahead, of patches or of whole samples as large as the largest."""
        pixel = self._image_dtype.size * self.dataset.image_shape[2] + 1
        pixel += sum(np.dtype(maker.dtype).itemsize * maker.channels for maker in self.maps.values())
        whole = math.prod(self.dataset.image_shape[:2]) * pixel
        held = self.batch_size * whole
        if patches:
            held = self.batch_size * math.prod(patches.size) * pixel
            if patches.of_whole(self.dataset, self.parts["train"], self.maps):
                held = max(held, whole)  # in each thread one, while its patch is taken
        return batches_ahead(held, self._ahead_bytes)
