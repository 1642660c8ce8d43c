"""Samples of tensorflow-datasets as segframe wants them; satisfies segframe's contract of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segframe import IGNORED, Sample, SegframeError
from segframe_tfds.scan import Facts, facts_of


class Reading(NamedTuple):
    """How a record becomes a sample."""

    image: str
    """Its feature with the image."""
    mask: str
    """Its feature with the mask."""
    ids: str | None
    """Its feature with the sample's name."""
    size: tuple[int, int] | None
    """(height, width) to which samples are resized."""
    new_ids: dict[int, int]
    """{id in the stored mask: class id, or IGNORED}."""


class TfdsDataset:
    """Random access to prepared data; each sample is looked at once when it is opened (scan.py).

    Args:
        name: NAME/VERSION, for messages and as part of what is remembered.
        folder: of the prepared files.
        sources: split -> tensorflow-datasets' data source: source[index] is a record {feature: value}.
    """

    ignore_index = IGNORED
    spacing = None

    def __init__(
        self,
        name: str,
        folder: Path,
        sources: Mapping[str, Sequence[Any]],
        class_names: tuple[str, ...],
        reading: Reading,
    ):
        self.name, self.class_names, self.num_classes = name, class_names, len(class_names)
        self._sources, self._reading = dict(sources), reading
        self._new_ids = np.zeros(256, np.uint8)
        self._known = np.zeros(256, bool)
        for old, new in reading.new_ids.items():
            self._new_ids[old], self._known[old] = new, True
        self._facts: Facts = facts_of(self, folder, [class_names, reading._asdict()])

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._sources)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self._facts.image_shape

    @property
    def content_hash(self) -> str:
        return self._facts.content_hash

    def ids(self, split: str) -> Sequence[str]:
        return self._facts.ids[split]

    def groups(self, split: str) -> Sequence[str]:
        return self.ids(split)

    def count(self, split: str) -> int:
        """Samples of a split, before they have been looked at."""
        return len(self._sources[split])

    def read(self, split: str, indices: Sequence[int]) -> list[Sample]:
        return [self.named(split, int(index))[1] for index in indices]

    def named(self, split: str, index: int) -> tuple[str, Sample]:
        """One sample, checked, with its name.

        Raises:
            SegframeError: image and mask do not fit each other, or the mask has an id without a meaning.
        """
        if not 0 <= index < self.count(split):
            raise IndexError(f"{split} has {self.count(split)} samples, there is no index {index}")
        reading, record = self._reading, self._sources[split][index]
        name = _text(record[reading.ids]) if reading.ids else f"{split}/{index}"
        image, mask = np.asarray(record[reading.image]), np.asarray(record[reading.mask])
        where = f"data set {self.name}, {split} sample {name!r}"
        if mask.ndim == 3 and mask.shape[2] == 1:
            mask = mask[..., 0]
        if image.ndim == 2:
            image = image[..., None]
        fits = image.ndim == 3 and image.shape[:2] == mask.shape
        if not fits or image.dtype != np.uint8 or mask.dtype != np.uint8:
            raise SegframeError(
                where,
                expected="an image (height, width, channels) and a mask (height, width), uint8",
                got=f"{image.shape} {image.dtype} and {mask.shape} {mask.dtype}",
                remedy="Name other features by dataset.image and dataset.mask, or leave the sample out.",
            )
        if not self._known[mask].all():
            outside = [int(old) for old in np.unique(mask) if not self._known[old]]
            raise SegframeError(
                f"{where}, mask",
                expected=f"ids of dataset.class_ids and dataset.ignore_ids ({sorted(reading.new_ids)})",
                got=", ".join(map(str, outside[:10])) + ", ..." * (len(outside) > 10),
                remedy="Say in dataset.class_ids or dataset.ignore_ids what they mean.",
            )
        return name, _resized(Sample(image, self._new_ids[mask]), reading.size)


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _resized(sample: Sample, size: tuple[int, int] | None) -> Sample:
    """Of another size, channel by channel: Pillow knows no images of two or five channels."""
    if size is None or sample.mask.shape == size:
        return sample
    from PIL import Image

    height, width = size
    channels = [
        Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR)
        for channel in np.moveaxis(sample.image, -1, 0)
    ]
    mask = Image.fromarray(sample.mask).resize((width, height), Image.Resampling.NEAREST)
    return Sample(np.stack([np.asarray(channel) for channel in channels], axis=-1), np.asarray(mask))
